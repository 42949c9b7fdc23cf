import json

import pytest

from app.catalogue.types import DocumentOutline
from app.errors import DocumentUnreadable
from app.feed.document import open_family_document, read_family
from app.feed.jsontext import KIND_CUT
from app.feed.outline import read_outline
from tests.support.feed_documents import child, document, raw

WHOLE = raw(document())


def test_an_outline_says_what_groups_a_document() -> None:
    expected = DocumentOutline("A99-100804", "A99", True, ("A99-100804-001", "A99-100804-002"))
    assert read_outline(WHOLE) == expected


@pytest.mark.parametrize("none", [None, [], {}, ""])
def test_a_document_without_children_is_one_variant_of_its_own_sku(none: object) -> None:
    found = read_outline(raw(document(ChildProducts=none, ANumber=" A99-100 ")))
    assert (found.has_children, found.child_skus, found.a_number) == (False, ("A99-100804",), "A99-100")


def test_skus_are_trimmed_and_listed_once() -> None:
    children = [{"Sku": sku} for sku in ["A360-1\u00a0", "A360-1", "a360-1", 7, None]]
    assert read_outline(raw(document(*children))).child_skus == ("A360-1", "a360-1", "7")


@pytest.mark.parametrize(
    "body",
    [
        b"\xef\xbb\xbf" + WHOLE,
        b"\xef\xbb\xbf" * 2 + WHOLE,
        WHOLE + "\n\u00a0\ufeff".encode(),
        b"[" + WHOLE + b"]",
        WHOLE.replace(b'"ChildHasErrors": false', b'"ChildHasErrors": NaN, "X": -Infinity'),
        WHOLE.replace(b'"ChildHasErrors": false', b'"X": "\\ud800", "Y": 1e999999999999999999999'),
        WHOLE.replace(b'"ChildHasErrors": false', b'"X": ' + b"9" * 5000),
        raw(document(ChildProducts={"1": child("002"), "0": child("001")})),
        raw(document(ChildProducts=[child("001"), child("002"), ["odd"], None, "odd"])),
        raw(
            document(
                ChildProducts=[child("001", Sku=["A99-100804-001", None]), [child("002"), None]], Sku=["", "A99-100804"]
            )
        ),
    ],
)
def test_what_is_odd_elsewhere_does_not_cost_the_document(body: bytes) -> None:
    assert read_outline(body).child_skus == ("A99-100804-001", "A99-100804-002")
    family, _ = read_family([("x.json", body)], supplier="A99", price_regions=(), languages=())
    assert [variant.sku for variant in family.variants] == ["A99-100804-001", "A99-100804-002"]


@pytest.mark.parametrize("size", [0, 1, 5, *range(20, len(WHOLE), 211), len(WHOLE) - 1])
def test_bytes_that_end_early_are_told_from_bytes_that_are_wrong(size: int) -> None:
    with pytest.raises(DocumentUnreadable) as caught:
        read_outline(WHOLE[:size])
    assert caught.value.kind == KIND_CUT


@pytest.mark.parametrize("start", ['{"Sku": NaN, "ä": ', '{"Sku": "\\ud800", "a": '])
@pytest.mark.parametrize("end", ["tru", "-", "1.", "1e", '"abc', '"\\u12', "[1,", '{"b"', "Na", "-Inf"])
def test_cut_is_cut_also_where_the_slow_way_was_needed(start: str, end: str) -> None:
    with pytest.raises(DocumentUnreadable) as caught:
        read_outline((start + end).encode())
    assert caught.value.kind == KIND_CUT


def test_a_cut_in_the_middle_of_a_character_is_a_cut() -> None:
    with pytest.raises(DocumentUnreadable, match="middle of a character") as caught:
        read_outline('{"Sku": "Ä'.encode()[:-1])
    assert caught.value.kind == KIND_CUT


DEEP = 200_000


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b'{"Sku": "a",}', "broken JSON"),
        (b'{"Sku": "a"}}', "broken JSON"),
        (b'{"Sku": }', "broken JSON: .*line 1, column 9"),
        (b"<!DOCTYPE html><html><body>Log in</body></html>", "HTML"),
        (b"\n <html>", "HTML"),
        (b'{"Sku": "a\xff"}', "not UTF-8: byte 10"),
        (b"[1, 2]", "not an object but a list"),
        (b'"text"', "not an object but a text"),
        (b"null", "not an object but null"),
        (b"{}", "no usable Sku: it is absent"),
        (b'{"Sku": "  "}', "no usable Sku"),
        (b'{"Sku": "a\\u0000b"}', "no usable Sku: holds a NUL"),
        (b'{"Sku": "' + b"x" * 300 + b'"}', "300 characters"),
        (b'{"Sku": "a", "ChildProducts": "b"}', "ChildProducts is a text"),
        (b'{"Sku": "a", "ChildProducts": [{"Sku": null}, {}]}', "none of its 2 ChildProducts"),
        (b'{"Sku": "a", "X": ' + b"[" * DEEP + b"]" * DEEP + b"}", "nested too deep"),
        (b'{"X": NaN, "Y": ' + b'{"a":' * DEEP + b"1" + b"}" * DEEP + b"}", "nested too deep"),
    ],
)
def test_whole_bytes_that_are_no_document_say_why(body: bytes, reason: str) -> None:
    with pytest.raises(DocumentUnreadable, match=reason) as outlined:
        read_outline(body)
    with pytest.raises(DocumentUnreadable, match=reason) as read:
        read_family([("x.json", body)], supplier="A99", price_regions=(), languages=())
    assert {outlined.value.kind, read.value.kind} == {"document-unreadable"}


def test_outline_and_document_agree_on_numbers_as_skus() -> None:
    body = json.dumps({"Sku": 100804.0, "ANumber": 5, "ChildProducts": None}).encode()
    found = open_family_document("x.json", body)
    assert (found.sku, found.a_number) == (read_outline(body).sku, read_outline(body).a_number) == ("100804", "5")
