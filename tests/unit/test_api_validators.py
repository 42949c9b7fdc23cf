"""ETags from parts, and which If-None-Match names one."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime

import pytest
from fastapi import Request

from app.api.validators import etag_of, names, unchanged

NOW = datetime(2026, 1, 5, 3, 0, 0, 123457, tzinfo=UTC)
TAG = etag_of("products", 1)


def asking(*if_none_match: str) -> Request:
    headers = [(b"if-none-match", value.encode()) for value in if_none_match]
    return Request({"type": "http", "method": "GET", "headers": headers})


def test_an_etag_moves_with_each_part_and_with_where_parts_begin() -> None:
    parts: list[tuple[object, ...]] = [
        (), (1,), ("1",), (1, 2), (12,), ([1, 2],), (None,), (True,), ("a", "b"), ("ab",), (["a", "b"],), (NOW,),
        (NOW.replace(microsecond=123456),), ({"a": 1},),
    ]  # fmt: skip
    tags = [etag_of(*part) for part in parts]
    assert all(first != second for first, second in itertools.combinations(tags, 2))
    assert [etag_of(*part) for part in parts] == tags
    assert all(tag.startswith('W/"') and tag.endswith('"') for tag in tags)


@pytest.mark.parametrize(
    ("given", "named"),
    [
        (TAG, True),
        (TAG.removeprefix("W/"), True),
        ("*", True),
        (" * ", True),
        (f'"a,b", {TAG}', True),
        (f'W/"other",{TAG},"third"', True),
        ("", False),
        ('""', False),
        ('W/"other"', False),
        ('"*"', False),
        (TAG.removeprefix("W/").strip('"'), False),
        (f"{TAG[:-2]}\"", False),
        (TAG.replace("W/", "w/"), False),
        (f"x{TAG}", False),
    ],
)  # fmt: skip
def test_tags_are_compared_weakly_and_whole(given: str, named: bool) -> None:
    assert names(given, TAG) is named


def test_a_304_has_the_headers_of_the_answer_and_several_lines_are_one_list() -> None:
    answer = unchanged(asking('"one"', TAG), TAG)
    assert answer is not None
    assert (answer.status_code, answer.body) == (304, b"")
    assert answer.headers["etag"] == TAG
    assert answer.headers["cache-control"] == "private, no-cache"
    assert unchanged(asking(), TAG) is None
    assert unchanged(asking('"one"'), TAG) is None
