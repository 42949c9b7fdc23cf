"""The sample feed's switches for changes: each does what it says, to the document it names and to no other."""

from __future__ import annotations

from typing import Any

import pytest

from app.samplefeed import FeedSpec, SampleFeed

Json = dict[str, Any]
SKU = "A23-100000"


@pytest.fixture
def feed() -> SampleFeed:
    return SampleFeed(FeedSpec.small(variants=4))


def test_a_price_change_moves_every_price_and_only_this_document_s_hash(feed: SampleFeed) -> None:
    before, lines = feed.document(SKU), feed.manifest().splitlines()

    feed.change_price(SKU)

    assert all(now > then for then, now in zip(_prices(before), _prices(feed.document(SKU)), strict=True))
    changed = [new for old, new in zip(lines, feed.manifest().splitlines(), strict=True) if old != new]
    assert [line.partition(b"|")[0].rpartition(b"/")[2] for line in changed] == [f"{SKU}.json".encode()]


def test_a_rename_changes_every_language(feed: SampleFeed) -> None:
    feed.rename(SKU, "Neu")

    document = feed.document(SKU)
    assert all(texts["Name"].endswith(" Neu") for texts in document["ProductDetails"].values())
    assert all(texts["Name"].endswith(" Neu") for texts in document["ChildProducts"][1]["ProductDetails"].values())


def test_a_document_without_children_is_renamed_once(feed: SampleFeed) -> None:
    feed.rename("A23-100003-001", "Neu")

    names = [texts["Name"] for texts in feed.document("A23-100003-001")["ProductDetails"].values()]
    assert all(name.count("Neu") == 1 for name in names)


def test_a_rehash_changes_the_hash_and_nothing_else(feed: SampleFeed) -> None:
    entry = feed.entry(SKU)
    before, told = feed.document_bytes(entry), entry.hash(feed.spec.seed)

    feed.rehash(SKU)

    assert feed.document_bytes(entry) == before
    assert entry.hash(feed.spec.seed) != told


def test_a_change_under_the_old_hash_keeps_it(feed: SampleFeed) -> None:
    entry = feed.entry(SKU)
    told = entry.hash(feed.spec.seed)

    feed.edit(SKU, lambda document: document.update(Ean="1"), rehash=False)

    assert feed.document(SKU)["Ean"] == "1"
    assert entry.hash(feed.spec.seed) == told


def test_variants_go_and_come(feed: SampleFeed) -> None:
    skus = _children(feed)

    feed.keep_variants(SKU, 2)
    assert _children(feed) == skus[:2]

    added = feed.add_variant(SKU)
    assert _children(feed) == [*skus[:2], added]

    feed.remove_variant(SKU, skus[0])
    assert _children(feed) == [skus[1], added]

    feed.revert(SKU)
    assert _children(feed) == skus


def test_an_unknown_variant_cannot_be_removed(feed: SampleFeed) -> None:
    with pytest.raises(KeyError, match="nothing"):
        feed.remove_variant(SKU, "nothing")


def test_a_swapped_picture_is_a_new_one_that_is_there(feed: SampleFeed) -> None:
    address = feed.swap_picture(SKU)

    assert feed.document(SKU)["ChildProducts"][0]["ProductDetails"]["de"]["Image"]["Url"] == address
    assert feed.picture_sha256(address) is not None
    assert feed.swap_picture(SKU) != address


def test_a_family_added_is_listed_and_read(feed: SampleFeed) -> None:
    sku, other = feed.add_family("A360"), feed.add_family("A360")

    assert sku != other
    assert feed.document(sku)["Sku"] == sku
    assert f"/A360/{sku}.json|".encode() in feed.manifest()


def test_a_family_removed_is_neither_listed_nor_served_until_it_is_restored(feed: SampleFeed) -> None:
    entry, before = feed.entry(SKU), feed.manifest()

    feed.remove_family(SKU)
    assert f"{SKU}.json".encode() not in feed.manifest()
    assert feed.entry_at(entry.path) is None

    feed.restore_family(SKU)
    assert feed.manifest() == before
    assert feed.entry_at(entry.path) is entry


def test_a_hidden_family_is_still_served(feed: SampleFeed) -> None:
    feed.hide_family(SKU)

    assert f"{SKU}.json".encode() not in feed.manifest()
    assert feed.entry_at(f"A23/{SKU}.json") is not None


def test_a_hidden_supplier_is_missing_from_the_manifest(feed: SampleFeed) -> None:
    feed.hide_supplier("A360")
    assert feed.suppliers() == ("A23", "A461")

    feed.hide_supplier("A360", hidden=False)
    assert feed.suppliers() == ("A23", "A360", "A461")


def test_any_bytes_can_stand_for_a_document(feed: SampleFeed) -> None:
    feed.set_document("A360", "10 % ü.json", b"\xff not JSON")
    feed.set_document("A23", f"{SKU}.json", {"Sku": SKU})

    assert feed.document_bytes(feed.entry("10 % ü")) == b"\xff not JSON"
    assert b"/A360/10%20%%20%C3%BC.json|" in feed.manifest()
    assert feed.document(SKU) == {"Sku": SKU}


def test_a_sku_of_two_suppliers_has_to_be_named_with_its_supplier(feed: SampleFeed) -> None:
    for supplier in ("A360", "A361"):
        feed.set_document(supplier, "100804.json", {"Sku": "100804", "of": supplier})

    assert feed.document("100804", "A361")["of"] == "A361"
    with pytest.raises(KeyError, match="2 documents"):
        feed.entry("100804")


def test_the_body_before_the_last_change_is_kept(feed: SampleFeed) -> None:
    entry = feed.entry(SKU)
    first = feed.document_bytes(entry)

    feed.change_price(SKU)
    assert feed.stale_bytes(entry) == first

    second = feed.document_bytes(entry)
    feed.rename(SKU)
    assert feed.stale_bytes(entry) == second


def test_the_manifest_is_written_in_any_style(feed: SampleFeed) -> None:
    feed.set_hash(SKU, "")
    feed.style_manifest(newline="\r\n", byte_order_mark=True, upper_case_hashes=True, lines_before=["", "nothing"])
    feed.add_manifest_lines("http://elsewhere.test/A9/A9-1.json|aa", "last")

    lines = feed.manifest().decode("utf-8-sig").split("\r\n")
    assert lines[:2] == ["", "nothing"]
    assert lines[2].startswith(f"{feed.base_url}/CAT.csv|")
    assert lines[3] == f"{feed.base_url}/A23/{SKU}.json"
    assert lines[4].partition("|")[2].isupper()
    assert lines[-3:] == ["http://elsewhere.test/A9/A9-1.json|aa", "last", ""]


def test_a_raw_manifest_is_served_as_it_is(feed: SampleFeed) -> None:
    whole = feed.manifest()

    feed.set_manifest(whole[:200])
    assert feed.manifest() == whole[:200]

    feed.set_manifest(None)
    assert feed.manifest() == whole


def test_other_bytes_or_none_stand_behind_a_picture(feed: SampleFeed) -> None:
    url = feed.document(SKU)["ChildProducts"][0]["ProductDetails"]["nl"]["Image"]["Url"]

    feed.set_picture(url, b"GIF89a", "image/gif")
    assert feed.picture(url.removeprefix(feed.pictures_origin)) == (b"GIF89a", "image/gif")

    feed.set_picture(url, None)
    assert feed.picture_sha256(url) is None


def test_a_family_cannot_be_added_to_an_unknown_supplier(feed: SampleFeed) -> None:
    with pytest.raises(KeyError, match="B9"):
        feed.add_family("B9")


def _children(feed: SampleFeed) -> list[str]:
    return [child["Sku"] for child in feed.document(SKU)["ChildProducts"]]


def _prices(document: Json) -> list[float]:
    return [
        tier["Price"]
        for child in document["ChildProducts"]
        for region in child["ProductPriceCountryBased"].values()
        for tier in region["RecommendedSellingPrice"] + region["GeneralBuyingPrice"]
        if not tier["OnRequest"]
    ]
