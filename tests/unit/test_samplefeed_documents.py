"""The sample feed's documents and pictures: real shape, real size, the same for the same seed."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator
from typing import Any

import pytest
from PIL import Image

from app.samplefeed import FeedSpec, SampleFeed, suppliers
from tests.support.oracle import expected_pictures, read_products

Json = dict[str, Any]


@pytest.fixture(scope="module")
def demo() -> SampleFeed:
    return SampleFeed()


@pytest.fixture(scope="module")
def documents(demo: SampleFeed) -> dict[str, Json]:
    return {entry.file_name: demo.document(entry.file_name.removesuffix(".json")) for entry in demo.entries()}


@pytest.fixture(scope="module")
def pictures(demo: SampleFeed) -> dict[str, str]:
    return expected_pictures(demo)


def test_the_demo_feed_is_as_large_as_it_has_to_be(demo: SampleFeed, pictures: dict[str, str]) -> None:
    products = [
        product
        for supplier in demo.suppliers()
        for product in read_products(
            supplier, [(entry.file_name, demo.document_bytes(entry)) for entry in demo.entries(supplier)]
        ).values()
    ]

    assert len(demo.suppliers()) >= 3
    assert len(products) >= 60
    assert sum(len(product["variants"]) for product in products) >= 300
    assert len(set(pictures.values())) >= 600


def test_documents_are_of_real_size(demo: SampleFeed) -> None:
    sizes = [len(demo.document_bytes(entry)) for entry in demo.entries()]

    assert min(sizes) >= 165_000
    assert max(sizes) <= 855_000
    assert max(sizes) >= 600_000


def test_two_feeds_of_one_spec_are_the_same_feed(demo: SampleFeed) -> None:
    other = SampleFeed(FeedSpec())

    assert other.manifest() == demo.manifest()
    for mine, theirs in zip(list(demo.entries())[:5], list(other.entries())[:5], strict=True):
        assert demo.document_bytes(mine) == other.document_bytes(theirs)


def test_another_seed_is_another_feed() -> None:
    one, other = SampleFeed(FeedSpec.small()), SampleFeed(FeedSpec(seed=2, small_documents=True, small_pictures=True))

    assert one.document("A23-100000") != other.document("A23-100000")
    assert set(one.manifest().splitlines()).isdisjoint(other.manifest().splitlines()[1:])


def test_suppliers_differ_in_languages_and_all_have_dutch_and_german(documents: dict[str, Json]) -> None:
    languages = {name.partition("-")[0]: set(document["ProductDetails"]) for name, document in documents.items()}

    assert all({"nl", "de"} <= found for found in languages.values())
    assert len({frozenset(found) for found in languages.values()}) == 3


def test_some_documents_are_a_variant_each_and_share_their_family_number(documents: dict[str, Json]) -> None:
    flat = [one for one in documents.values() if not one["ChildProducts"] and one["ANumber"].startswith("A23-")]

    assert len(flat) > len({one["ANumber"] for one in flat}) >= 1


def test_some_children_carry_the_root_s_own_sku(documents: dict[str, Json]) -> None:
    assert any([child["Sku"] for child in one["ChildProducts"] or ()] == [one["Sku"]] for one in documents.values())


def test_some_children_have_no_pictures(documents: dict[str, Json]) -> None:
    children = [child for one in documents.values() for child in one["ChildProducts"] or ()]

    assert any(not list(_addresses(child)) for child in children)


def test_default_products_name_the_first_another_or_no_child(documents: dict[str, Json]) -> None:
    families = [one for one in documents.values() if len(one["ChildProducts"] or ()) > 1]
    named = {
        [child["Sku"] for child in one["ChildProducts"]].index(next(iter(one["DefaultProducts"].values())))
        for one in families
        if one["DefaultProducts"]
    }

    assert named == {0, 1}
    assert any(one["DefaultProducts"] is None for one in families)


def test_colours_sizes_and_hex_come_in_each_way(documents: dict[str, Json]) -> None:
    children = [child for one in documents.values() for child in one["ChildProducts"] or ()]
    names = {field["ConfigurationName"] for child in children for field in _configuration(child)}
    hexes = [child["ProductDetails"]["nl"]["UnstructuredInformation"].get("HexColor") for child in children]

    assert names >= {"Color", "Size", "49P_CONFIG_1"}
    assert {value[:1] == "#" for value in hexes if value} == {True, False}
    assert "Undefined" in {child["NonLanguageDependedProductDetails"]["SearchColor"] for child in children}


def test_prices_have_regions_tiers_and_some_on_request(documents: dict[str, Json]) -> None:
    schedules = [
        schedule
        for one in documents.values()
        for child in one["ChildProducts"] or ()
        for schedule in child["ProductPriceCountryBased"].items()
    ]

    assert {region for region, _ in schedules} == {"BENELUX", "GERMANY", "EURO", "DEU", "FRANCE"}
    assert all(len(prices["GeneralBuyingPrice"]) == 6 for _, prices in schedules)
    assert any(
        tier["OnRequest"] and tier["Price"] == 0 for _, one in schedules for tier in one["RecommendedSellingPrice"]
    )


def test_a_picture_is_listed_in_each_language_under_another_file_name(documents: dict[str, Json]) -> None:
    child = documents["A23-100000.json"]["ChildProducts"][0]
    images = [texts["Image"] for texts in child["ProductDetails"].values()]

    assert len({image["Url"] for image in images}) == 1
    assert len({image["FileName"] for image in images}) == len(images) == 4


def test_pictures_decode_and_are_of_real_size(demo: SampleFeed, pictures: dict[str, str]) -> None:
    found = [demo.picture(url.removeprefix(demo.pictures_origin)) for url in sorted(pictures)]
    bodies = [body for body, _ in filter(None, found)]

    assert {content_type for _, content_type in filter(None, found)} == {"image/jpeg", "image/png"}
    assert 50_000 < sum(map(len, bodies)) / len(bodies) < 260_000
    for body in bodies[:20]:
        with Image.open(io.BytesIO(body)) as picture:
            picture.load()
            assert 800 <= picture.width <= 1200


def test_the_same_bytes_are_found_at_several_addresses(pictures: dict[str, str]) -> None:
    assert len(set(pictures.values())) < len(pictures)


def test_a_picture_s_sha256_is_the_one_of_its_bytes(demo: SampleFeed, pictures: dict[str, str]) -> None:
    url, sha256 = next(iter(pictures.items()))
    found = demo.picture(url.removeprefix(demo.pictures_origin))

    assert found is not None
    assert hashlib.sha256(found[0]).hexdigest() == sha256


def test_an_address_that_no_picture_has_is_none(demo: SampleFeed, pictures: dict[str, str]) -> None:
    path = next(iter(pictures)).removeprefix(demo.pictures_origin)

    assert demo.picture(path[:-5] + ("0" if path[-5] != "0" else "1") + path[-4:]) is None
    assert demo.picture("/Images/LiveR2/nothing.jpg") is None


def test_a_uniform_feed_has_exactly_what_was_asked_for() -> None:
    spec = FeedSpec(
        suppliers=suppliers(2, 3), variants=4, pictures=3, oddities=False, small_documents=True, small_pictures=True
    )
    feed = SampleFeed(spec)

    assert [len(feed.document(entry.file_name[:-5])["ChildProducts"]) for entry in feed.entries()] == [4] * 6
    assert len(set(expected_pictures(feed).values())) == 6 * 4 * 3


def test_a_small_feed_is_small() -> None:
    feed = SampleFeed(FeedSpec.small())

    assert all(len(feed.document_bytes(entry)) < 45_000 for entry in feed.entries())


@pytest.mark.parametrize(
    ("variants", "pictures", "document_bytes", "picture_bytes"),
    [(4, 3, 100_000, 30_000), (2, 2, 30_000, 10_000), (1, 0, 1_000, 10_000)],
)
def test_a_feed_of_wanted_sizes_has_them(variants: int, pictures: int, document_bytes: int, picture_bytes: int) -> None:
    spec = FeedSpec(
        suppliers=suppliers(1, 2), variants=variants, pictures=pictures, oddities=False, small_documents=True,
        document_bytes=document_bytes, picture_bytes=picture_bytes,
    )  # fmt: skip
    feed = SampleFeed(spec)

    for entry in feed.entries():
        assert len(feed.document_bytes(entry)) == pytest.approx(document_bytes, rel=0.25)
        assert len(feed.document(entry.file_name[:-5])["ChildProducts"]) == variants
    urls = set(expected_pictures(feed)) if pictures else set()
    assert len(urls) == 2 * variants * pictures
    for url in urls:
        found = feed.picture(url.removeprefix(feed.pictures_origin))
        assert found is not None
        assert len(found[0]) == pytest.approx(picture_bytes, rel=0.4)


def test_a_hash_needs_no_document() -> None:
    feed = SampleFeed(FeedSpec(suppliers=suppliers(1, 5000), oddities=False))

    assert len(feed.manifest().splitlines()) == 5001


def _addresses(child: Json) -> Iterator[str]:
    for texts in child["ProductDetails"].values():
        yield from (picture["Url"] for picture in [texts["Image"], *(texts["MediaGalleryImages"] or [])] if picture)


def _configuration(child: Json) -> list[Json]:
    fields: list[Json] = child["ProductDetails"]["nl"]["ConfigurationFields"]
    return fields
