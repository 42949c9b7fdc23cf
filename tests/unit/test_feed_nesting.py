"""What is nested deeper than anybody means costs its field, at most its document, never the process's stack."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import pytest

from app.errors import DocumentUnreadable
from app.feed.document import read_family
from tests.support.feed_documents import child, document, imprint_position


@pytest.mark.parametrize(("begin", "end"), [("[", "]"), ('{"0":', "}"), ('[{"0":', "}]")])
@pytest.mark.parametrize(
    ("field", "holder"),
    [
        ("Name", {"Name": "@"}),
        ("ConfigurationFields[0].ConfigurationValue", {"ConfigurationFields": [{"ConfigurationValue": "@"}]}),
        ("WebShopInformation.Fit.InformationValue", {"WebShopInformation": {"Fit": {"InformationValue": "@"}}}),
        ("ImportantInformation", {"ImportantInformation": "@"}),
    ],
)
def test_a_text_nested_deep_is_absent_with_a_warning(field: str, holder: dict[str, Any], begin: str, end: str) -> None:
    whole = document(child("001", ProductDetails={"nl": holder}))
    body = json.dumps(whole).replace('"@"', begin * 450 + '"x"' + end * 450)
    found, warnings = read_family([("x.json", body.encode())], supplier="A99", price_regions=(), languages=())
    assert found.variants[0].name == {}
    place = f"ChildProducts[0].ProductDetails.nl.{field}"
    assert {"nested too deep"} == {one.reason for one in warnings if one.field.startswith(place)}


def test_a_document_as_deep_as_the_stack_is_read_or_refused() -> None:
    """Some depths are opened by the first look at the document, and end the stack where a value is decoded."""
    position = imprint_position()
    position["ImprintLocationTexts"]["nl"]["Images"] = "@"
    whole = json.dumps(document(child("001", ImprintPositions=[position])))
    for depth in range(750, 1000):
        body = whole.replace('"@"', "[" * depth + "]" * depth)
        with suppress(DocumentUnreadable):
            read_family([("x.json", body.encode())], supplier="A99", price_regions=(), languages=())
