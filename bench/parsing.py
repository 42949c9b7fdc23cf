"""How long reading a document takes, against what other ways of decoding the same bytes take.

Run with `python -m bench.parsing`. Documents are the sample feed's, of the real size and shape. Times are the best of
several rounds in milliseconds, each way in turn in every round, so that a busy machine slows all of them alike.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import orjson
import pydantic

from app.catalogue.content import prepare
from app.feed.document import read_family
from app.feed.manifest import read_manifest
from app.feed.outline import read_outline
from app.samplefeed import SampleFeed
from app.samplefeed.spec import FeedSpec, suppliers
from bench.report import Section, Table

ROUNDS = 15


class Tier(pydantic.BaseModel):
    """One price."""

    Price: float
    Quantity: int
    OnRequest: bool
    Valuta: str


class Schedule(pydantic.BaseModel):
    """Both kinds of one region."""

    RecommendedSellingPrice: list[Tier]
    GeneralBuyingPrice: list[Tier]


class Option(pydantic.BaseModel):
    """One way to print."""

    Sku: str
    ImprintTexts: dict[str, Any]
    ProductPriceCountryBased: dict[str, Schedule]


class Position(pydantic.BaseModel):
    """One place to print on."""

    PositionCode: str
    ImprintLocationTexts: dict[str, Any]
    ImprintOptions: list[Option]


class Child(pydantic.BaseModel):
    """One variant."""

    Sku: str
    ProductDetails: dict[str, Any]
    ProductPriceCountryBased: dict[str, Schedule]
    ImprintPositions: list[Position] | None


class Root(pydantic.BaseModel):
    """The shape without any tolerance: pydantic's best case."""

    Sku: str
    ChildProducts: list[Child]


def documents() -> Iterator[tuple[str, bytes]]:
    """The smallest, the middle and the largest document of two feeds: one of 6 variants, one of 48."""
    for variants in (6, 48):
        feed = SampleFeed(FeedSpec(suppliers=suppliers(1, 22), variants=variants, oddities=False))
        bodies = sorted((feed.document_bytes(entry) for entry in feed.entries()), key=len)
        for body in (bodies[0], bodies[len(bodies) // 2], bodies[-1]):
            yield f"{variants} variants, {len(body) / 1000:.0f} KB", body


def best_ms(ways: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    best = dict.fromkeys(ways, float("inf"))
    for _ in range(rounds):
        for name, way in ways.items():
            started = time.perf_counter()
            way()
            best[name] = min(best[name], (time.perf_counter() - started) * 1000)
    return best


def document_row(body: bytes, rounds: int) -> dict[str, float]:
    def read() -> object:
        return read_family([("x.json", body)], supplier="A23", price_regions=("BENELUX",), languages=("nl", "de"))

    family = read_family([("x.json", body)], supplier="A23", price_regions=("BENELUX",), languages=("nl", "de"))[0]
    ways: dict[str, Callable[[], object]] = {
        "msgspec": lambda: msgspec.json.decode(body),
        "orjson": lambda: orjson.loads(body),
        "stdlib": lambda: json.loads(body),
        "pydantic": lambda: Root.model_validate_json(body),
        "read_outline": lambda: read_outline(body),
        "read_family": read,
        "prepare": lambda: prepare(family),
    }
    return best_ms(ways, rounds)


def manifest_ms(rounds: int, lines: int = 100_000) -> float:
    base = "https://promi-dl.de/Profiles/Live/guid"
    body = "\r\n".join(f"{base}/A{number % 30}/A{number % 30}-{number}.json|{number:040x}" for number in range(lines))
    raw = body.encode()
    return best_ms({"manifest": lambda: read_manifest(raw, base_url=base, allowed_hosts=())}, rounds)["manifest"]


def measure(*, quick: bool) -> Section:
    """The part `parsing`."""
    rounds = 1 if quick else ROUNDS
    rows = {name: document_row(body, rounds) for name, body in documents()}
    columns = list(next(iter(rows.values())))
    cells = [
        [name, *(f"{row[column]:.2f}" for column in columns), f"{row['read_family'] / row['msgspec']:.1f}"]
        for name, row in rows.items()
    ]
    return Section(
        "Reading a document",
        f"Milliseconds, the best of {rounds} rounds, each way in turn in every round.",
        [Table(("document", *columns, "read_family / msgspec"), cells)],
        remarks=[f"A manifest of 100,000 lines is read in {manifest_ms(rounds):.0f} ms."],
    )


def main() -> None:
    print(measure(quick=False).markdown())


if __name__ == "__main__":
    main()
