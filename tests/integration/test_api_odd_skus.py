"""CASES.md D6: a SKU may hold any character, and is read by its routes and by the command line."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from tests.support.api_client import ApiClient, api_client
from tests.support.command_line import command, environment_of
from tests.support.picture_origin import bare_feed, skus_of
from tests.support.stack import Servers, Stack, open_stack

Json = dict[str, Any]
ODD = (
    *("A\nB", "A\r\nB", "A\tB", "A\x0bB", "A\x01B", "A\x1b[31mB", "A\x7fB", "A\x85B", "A\u2028B", "A\u200bB"),
    *("A/B", "/A", "A/", "//", "/", "A//B", "A\\B", "A%B", "%", "%2F", "A%2FB", "A%0AB", "%25", "100%"),
    *("..", ".", "../A", "A/..", "A/../B", "./A", "A/.", "..A", "?", "A?B", "A?x=1", "#", "A#B", "A&B", "A;B", "A=B"),
    *("A+B", "A B", "A,B", "A:B", "A|B", 'A"B', "A'B", "<A>", "[red]A", "{A}", "*", "~A", "@", "-A", "--json", "_"),
    *("A/history", "A/explain", "history", "explain", "/history", "A\n/history", "É", "日本", "😀", "A\u0301", "null"),
    "A" * 255,
)


@pytest.fixture(scope="module")
async def synced(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    """A catalogue with a family of each SKU, which is its only variant's, too."""
    feed = bare_feed(families=1, variants=1)
    template = feed.document(skus_of(feed)[0])
    for number, sku in enumerate(ODD):
        child = template["ChildProducts"][0] | {"Sku": sku}
        feed.set_document("A23", f"odd-{number}.json", template | {"Sku": sku, "ChildProducts": [child]})
    async with open_stack(servers, tmp_path_factory.mktemp("odd"), feed) as stack:
        await stack.sync()
        yield stack


@pytest.fixture(scope="module")
async def api(synced: Stack) -> AsyncIterator[ApiClient]:
    async with api_client(synced.settings) as client:
        yield client


def encoded(sku: str) -> str:
    """As clients write it that encode everything, a dot that they would take for a step up, too."""
    return quote(sku, safe="") if set(sku) - {"."} else sku.replace(".", "%2E")


async def test_every_sku_is_saved_and_listed(api: ApiClient, synced: Stack) -> None:
    assert [item["reason"] for item in await synced.problems("A23")] == []
    listed = {item["sku"] for item in await api.all_pages("/products", limit=50)}
    assert listed >= set(ODD)


@pytest.mark.parametrize("sku", ODD, ids=ascii)
async def test_a_sku_is_read_by_its_routes(api: ApiClient, sku: str) -> None:
    path = f"/products/{encoded(sku)}"
    product = await api.get(path)
    assert (product["sku"], [variant["sku"] for variant in product["variants"]]) == (sku, [sku])
    changes = (await api.get(f"{path}/history"))["items"]
    assert {change["productSku"] for change in changes} == {sku}
    explained = await api.get(f"{path}/explain")
    assert (explained["sku"], explained["status"], len(explained["documents"])) == (sku, "active", 1)
    assert await api.get(path, supplier="A23") == product


@pytest.mark.parametrize("sku", ["A\nB\n", "A/B/", "A%2FB%0A", "a\nb"], ids=ascii)
async def test_what_is_nearly_a_sku_is_not_it(api: ApiClient, sku: str) -> None:
    for below in ("", "/history", "/explain"):
        await api.problem("GET", f"/products/{encoded(sku)}{below}", 404)


async def test_a_sku_is_read_below_a_path_prefix_too(synced: Stack) -> None:
    settings = synced.settings.model_copy(update={"root_path": "/promi"})
    async with api_client(settings) as api:
        for sku in ("A\nB", "A/B", "%2F", "..", "A\n/history"):
            assert (await api.get(f"//promi/api/v1/products/{encoded(sku)}"))["sku"] == sku
            assert (await api.get(f"/products/{encoded(sku)}/explain"))["sku"] == sku


SHOWN = {"A\nB": "A\\nB", "A\x1b[31mB": "A\\x1b[31mB", "[red]A": "[red]A", "--json": "--json", "/": "/", "日本": "日本"}


@pytest.mark.parametrize("sku", SHOWN, ids=ascii)
async def test_the_command_line_reads_a_sku_and_shows_it_in_one_line(synced: Stack, tmp_path: Path, sku: str) -> None:
    env = environment_of(synced)
    told = await command(tmp_path, env, "explain", "--", sku)
    assert (told.code, told.out.splitlines()[0]) == (0, f"{SHOWN[sku]} of A23: active")
    told = await command(tmp_path, env, "explain", "--json", "--supplier", "A23", "--", sku)
    assert (told.json["sku"], told.json["status"]) == (sku, "active")


async def test_a_sync_of_odd_skus_alone_finds_their_documents(synced: Stack) -> None:
    asked = ("A\nB", "..", "A/history", "%2F", "--json")
    await synced.sync("A23", skus=asked)
    run = await synced.run("A23")
    assert (run["status"], run["families_completed"]) == ("completed", len(asked))
