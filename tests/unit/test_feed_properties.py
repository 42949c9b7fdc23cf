"""No JSON with the feed's field names gets anything but a family or a clear refusal, and order means nothing."""

import json
from random import Random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from app.catalogue.content import prepare
from app.errors import DocumentUnreadable
from app.feed.document import read_family
from app.feed.outline import read_outline
from tests.support.feed_documents import child, document, imprint_position


def _keys(value: Any) -> set[str]:
    if isinstance(value, dict):
        return set(value) | {key for item in value.values() for key in _keys(item)}
    return {key for item in value for key in _keys(item)} if isinstance(value, list) else set()


DOCUMENT = document(child("001", ImprintPositions=[imprint_position("a"), imprint_position("b")]), child("002"))
FIELD_NAMES = sorted(_keys(DOCUMENT))
NUMBERS = st.integers() | st.floats() | st.sampled_from([0, 1, 2**31, 2**63, 10**30, 1e308, -1, 8.98])
TEXTS = st.text(max_size=8) | st.sampled_from(["12,50", "1.234", "True", "8.71E+12", "https://a/b.jpg", "\0", "\ud800"])
NEARLY_EQUAL = ["0", "00", "1", "01", "nl", " nl", "nl ", "NL", "BENELUX", "BENELUX ", "Url", "Sku"]
SCALARS = st.none() | st.booleans() | NUMBERS | TEXTS
ANYTHING = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(FIELD_NAMES) | st.text(max_size=3), inner, max_size=4)
    ),
    max_leaves=12,
)


def _read(body: bytes) -> None:
    try:
        family, warnings = read_family([("x.json", body)], supplier="A99", price_regions=("EURO",), languages=("nl",))
    except DocumentUnreadable:
        return
    outline = read_outline(body)
    assert {variant.sku for variant in family.variants} == set(outline.child_skus)
    assert sorted(family.primaries) == sorted(outline.child_skus)
    prepare(family)
    json.dumps([variant.attributes for variant in family.variants], allow_nan=False).encode()
    for warning in warnings:
        assert warning.field
        assert warning.reason


def _places(value: Any) -> list[tuple[Any, Any]]:
    """Every place of a document where something else could stand."""
    keys = list(value) if isinstance(value, dict) else list(range(len(value)))
    inner = [place for key in keys if isinstance(value[key], dict | list) for place in _places(value[key])]
    return [(value, key) for key in keys] + inner


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(st.sampled_from(FIELD_NAMES), ANYTHING, max_size=8), st.booleans())
def test_any_json_is_read_or_refused(fields: dict[str, Any], is_child: bool) -> None:
    whole = {"Sku": "A", "ChildProducts": [{"Sku": "A-1", **fields}]} if is_child else {"Sku": "A", **fields}
    _read(json.dumps(whole).encode())


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_anything_anywhere_in_a_good_document_is_read_or_refused(data: st.DataObject) -> None:
    whole = json.loads(json.dumps(DOCUMENT))
    for _ in range(data.draw(st.integers(1, 4))):
        holder, key = data.draw(st.sampled_from(_places(whole)))
        holder[key] = data.draw(ANYTHING)
    _read(json.dumps(whole).encode())


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=60), st.integers(0, 3000))
def test_any_bytes_are_read_or_refused(noise: bytes, at: int) -> None:
    body = json.dumps(DOCUMENT).encode()
    _read(noise)
    _read(body[:at] + noise + body[at + len(noise) :])


def _shuffled(value: Any, chance: Random) -> Any:
    if isinstance(value, list):
        return [_shuffled(item, chance) for item in value]
    if not isinstance(value, dict):
        return value
    return {key: _shuffled(value[key], chance) for key in chance.sample(sorted(value), len(value))}


def _meaning(body: bytes) -> object:
    """All that a document says, in a form that an order does not change; None where it is refused."""
    try:
        family, warnings = read_family([("x.json", body)], supplier="A99", price_regions=("EURO",), languages=("fr",))
    except DocumentUnreadable:
        return None
    return family, prepare(family), frozenset(warnings)


@settings(max_examples=60, deadline=None)
@given(st.data(), st.integers(0, 2**32), st.sampled_from([None, 1, "\t"]))
def test_the_order_of_keys_and_languages_and_white_space_mean_nothing(
    data: st.DataObject, seed: int, indent: Any
) -> None:
    """In a good document, and in one with anything in it."""
    whole = json.loads(json.dumps(DOCUMENT))
    for _ in range(data.draw(st.integers(0, 3))):
        holder, key = data.draw(st.sampled_from(_places(whole)))
        holder[key] = data.draw(ANYTHING | st.dictionaries(st.sampled_from(NEARLY_EQUAL), ANYTHING, max_size=4))
    shuffled = json.dumps(_shuffled(whole, Random(seed)), indent=indent)
    assert _meaning(shuffled.encode()) == _meaning(json.dumps(whole).encode())


@settings(max_examples=50, deadline=None)
@given(st.data())
def test_the_slow_way_reads_the_same_as_the_quick_one(data: st.DataObject) -> None:
    """A bare NaN under an unknown key sends the whole document through the tolerant decoder."""
    whole = json.loads(json.dumps(DOCUMENT))
    holder, key = data.draw(st.sampled_from(_places(whole["ChildProducts"][0])))
    holder[key] = data.draw(SCALARS.filter(lambda value: value == value and value not in (float("inf"), -float("inf"))))
    quick, slow = ({**whole, "Unknown": value} for value in (0, float("nan")))
    options = {"supplier": "A99", "price_regions": (), "languages": ("nl",)}
    try:
        expected = read_family([("x.json", json.dumps(quick).encode())], **options)  # type: ignore[arg-type]
    except DocumentUnreadable:
        return
    assert read_family([("x.json", json.dumps(slow).encode())], **options) == expected  # type: ignore[arg-type]
