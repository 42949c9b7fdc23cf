"""CASES.md D5: numbers as other countries write them, from the document to the API."""

from __future__ import annotations

import re
from typing import Any

from app.samplefeed import SampleFeed
from tests.conftest import MakeStack
from tests.integration.test_feed_cases import first_sku, plain_feed
from tests.support.api_client import api_client
from tests.support.feed_documents import tier

Json = dict[str, Any]
TIER = re.compile(r"RecommendedSellingPrice\[([0-9]+)\]\.Price")
TINY = 0.00001
PRICES: list[tuple[object, bool, str | None, bool]] = [
    ("1’234.50", False, "1234.5", False),
    (TINY, False, None, True),
    ("0,00001", False, None, True),
    (TINY, True, None, True),
    ("8,-", False, "8", False),
    ("8.98 euro", False, "8.98", False),
    (-3, False, None, True),
    ("op aanvraag", False, None, True),
    (None, False, None, False),
    (0, True, None, False),
    (0, False, "0", False),
    (0.0001, False, "0.0001", False),
]
"""What stands there, whether it is on request; the price that is shown, and whether it is warned of."""
EANS = [("n/a", None), ("-", None), ("geen", None), ("8712345678901.0", "8712345678901")]


def edit(feed: SampleFeed, sku: str) -> None:
    def change(document: Json) -> None:
        first = document["ChildProducts"][0]
        tiers = [tier(price, number, on_request=asked) for number, (price, asked, _, _) in enumerate(PRICES, start=1)]
        first["ProductPriceCountryBased"] = {"BENELUX": {"RecommendedSellingPrice": tiers}}
        for child, (ean, _) in zip(document["ChildProducts"], EANS, strict=True):
            child["Ean"] = ean

    feed.edit(sku, change)


async def test_numbers_are_shown_as_they_are_meant_or_not_at_all(make_stack: MakeStack) -> None:
    feed = plain_feed(families=1, variants=len(EANS))
    sku = first_sku(feed)
    edit(feed, sku)
    async with make_stack(feed) as stack, api_client(stack.settings) as api:
        await stack.sync()
        product = await api.get(f"/products/{sku}")
        warned = {int(TIER.search(item["reason"])[1]) for item in await stack.problems("A23")}  # type: ignore[index]
        run = await stack.run("A23")
    variants = {variant["sku"]: variant for variant in product["variants"]}
    children = feed.document(sku)["ChildProducts"]
    assert [variants[child["Sku"]]["ean"] for child in children] == [ean for _, ean in EANS]
    shown = [(one["price"], one["onRequest"]) for one in variants[children[0]["Sku"]]["prices"]]
    assert shown == [(price, asked) for _, asked, price, _ in PRICES]
    assert warned == {number for number, (_, _, _, told) in enumerate(PRICES) if told}
    assert run["status"] == "completed"
