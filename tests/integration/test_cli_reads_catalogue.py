"""`products`, `product`, `variants`, `categories`, `history`, `changes`: what the API says, for people and in pipes."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from app.cli.charsets import in_ascii
from tests.support.api_client import ApiClient, api_client
from tests.support.command_line import Ended, command, environment_of, start
from tests.support.sample_requests import SKU
from tests.support.stack import Servers, Stack, open_stack

NAMED = """
UPDATE products SET content = jsonb_set(content, '{name}', jsonb_build_object('en', CAST(:name AS text)))
WHERE sku = :sku"""


@pytest.fixture(scope="module")
async def stack(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    async with open_stack(servers, tmp_path_factory.mktemp("stack"), public_url="https://promi.example") as opened:
        await opened.sync("A23")
        yield opened


@pytest.fixture(scope="module")
async def api(stack: Stack) -> AsyncIterator[ApiClient]:
    async with api_client(stack.settings) as client:
        yield client


@pytest.fixture
def env(stack: Stack) -> dict[str, str]:
    return environment_of(stack) | {"COLUMNS": "80", "PUBLIC_URL": "https://promi.example"}


def lines(ended: Ended) -> list[Any]:
    assert (ended.code, ended.err) == (0, "")
    return [json.loads(line) for line in ended.out.splitlines()]


async def test_json_is_what_the_api_gives(api: ApiClient, env: dict[str, str], tmp_path: Path) -> None:
    variants = (await api.get(f"/products/{SKU}"))["variants"]
    ean = next(variant["ean"] for variant in variants if variant["ean"])
    asked: list[tuple[str, str, dict[str, Any]]] = [
        ("products --limit 3", "/products", {"limit": 3}),
        (f"products --q {SKU}", "/products", {"q": SKU}),
        ("products --supplier A23 --status active --sort updatedAt --limit 2", "/products",
         {"supplier": "A23", "status": "active", "sort": "updatedAt", "limit": 2}),
        (f"variants --ean {ean}", "/variants", {"ean": ean}),
        (f"variants --product {SKU}", "/variants", {"productSku": SKU}),
        ("categories", "/categories", {"limit": 500}),
        (f"history {SKU}", f"/products/{SKU}/history", {"limit": 20}),
        ("changes --since 0 --limit 7", "/changes", {"since": 0, "limit": 7}),
    ]  # fmt: skip
    for typed, path, params in asked:
        ended = await command(tmp_path, env, *typed.split(), "--json")
        assert (typed, ended.code, ended.err) == (typed, 0, "")
        assert (typed, ended.json) == (typed, (await api.get(path, **params))["items"])
    one = await command(tmp_path, env, "product", SKU, "--json")
    assert one.json == await api.get(f"/products/{SKU}")


async def test_lines_are_all_of_them_as_the_api_streams_them(
    api: ApiClient, env: dict[str, str], tmp_path: Path
) -> None:
    exported = await api.http.get("/api/v1/products", headers={"Accept": "application/x-ndjson"})
    whole = [json.loads(line) for line in exported.text.splitlines()]
    assert lines(await command(tmp_path, env, "products", "--ndjson")) == whole
    assert lines(await command(tmp_path, env, "products", "--ndjson", "--limit", "2")) == whole[:2]
    assert lines(await command(tmp_path, env, "variants", "--ndjson")) == await api.all_pages("/variants", 500)
    assert lines(await command(tmp_path, env, "changes", "--ndjson")) == await api.all_pages("/changes", 500)


async def test_what_people_read_has_whole_skus_and_no_colour_in_a_pipe(
    api: ApiClient, env: dict[str, str], tmp_path: Path
) -> None:
    product = await api.get(f"/products/{SKU}")
    found = await command(tmp_path, env, "products", "--q", SKU)
    assert found.out.startswith(f"{SKU}  A23  active  {len(product['variants'])} variants  ")
    shown = await command(tmp_path, env, "product", SKU)
    for variant in product["variants"]:
        assert f"\n  {variant['sku']}  " in shown.out
        assert all(picture["url"] in shown.out for picture in variant["images"])
    price = product["variants"][0]["prices"][0]
    assert f"from {price['minQuantity']} {price['price']} {price['currency']}" in shown.out
    told = await command(tmp_path, env, "changes", "--limit", "2")
    newest = (await api.all_pages("/changes", 500))[-2:]
    assert [line.partition(" ")[0] for line in told.out.splitlines()] == [str(change["seq"]) for change in newest]
    assert all(change["sku"] in line for change, line in zip(newest, told.out.splitlines(), strict=True))
    assert "\x1b" not in found.out + shown.out + told.out


@pytest.mark.parametrize(
    ("given", "base"),
    [
        ({"HOST": "::1", "PORT": "8123"}, "http://[::1]:8123"),
        ({"HOST": "127.0.0.1", "PORT": "8123", "ROOT_PATH": "/promi"}, "http://127.0.0.1:8123/promi"),
        ({"PUBLIC_URL": "https://promi.example", "ROOT_PATH": "/promi"}, "https://promi.example/promi"),
        ({"PUBLIC_URL": "https://promi.example/shop", "ROOT_PATH": "/promi"}, "https://promi.example/shop"),
    ],
)
async def test_pictures_have_the_addresses_that_the_service_is_reached_at(
    stack: Stack, tmp_path: Path, given: dict[str, str], base: str
) -> None:
    shown = await command(tmp_path, environment_of(stack) | given, "product", SKU, "--json")
    pictures = [picture["url"] for variant in shown.json["variants"] for picture in variant["images"]]
    assert {url.partition("/media/")[0] for url in pictures} == {base}


async def test_an_error_in_the_origins_words_does_nothing_to_the_terminal(
    stack: Stack, env: dict[str, str], tmp_path: Path
) -> None:
    said = "UPDATE documents SET error = :error WHERE family_sku = :sku"

    async def say(error: str | None) -> None:
        await stack.services.database.transact(lambda db: db.execute(text(said), {"error": error, "sku": SKU}))

    await say("it said \x1b[2J and\nmore")
    try:
        told = await command(tmp_path, env, "explain", SKU)
    finally:
        await say(None)
    assert "last error: it said \\x1b[2J and\\nmore" in told.out.splitlines()


async def test_what_there_is_not_is_one_line(env: dict[str, str], tmp_path: Path) -> None:
    for typed, code, message in (
        ("product nothing", 1, "there is no product nothing"),
        ("history nothing", 1, "there is no product nothing"),
        ("products --supplier A999", 1, "there is no supplier A999"),
        ("variants --supplier A999 --ndjson", 1, "there is no supplier A999"),
        ("changes --since 999999", 1, "--since 999999 is after the head"),
        ("products --json --ndjson", 2, "give one of them"),
        ("changes --follow --json", 2, "give --ndjson"),
        ("products --sort price", 2, "'price' is not one of 'sku', 'updatedAt'"),
    ):
        ended = await command(tmp_path, env, *typed.split())
        assert (typed, ended.code, ended.out, len(ended.err.splitlines())) == (typed, code, "", 1)
        assert message in ended.err


@pytest.mark.parametrize("charset", ["ascii", "latin-1", "cp1252"])
async def test_what_a_charset_has_not_is_written_out_for_people_and_escaped_in_json(
    stack: Stack, env: dict[str, str], tmp_path: Path, charset: str
) -> None:
    async with stack.services.database.begin() as db:
        await db.execute(text(NAMED), {"sku": SKU, "name": "Élan … 汉字 🎒"})
    given = env | {"PYTHONIOENCODING": charset}
    for typed, people in ((f"products --q {SKU}", True), (f"product {SKU}", True), ("products --help", False)):
        told = await printed(tmp_path, given, *typed.split())
        assert ("Élan … 汉字 🎒".encode(charset, "backslashreplace") in told) is people
    for typed in (f"products --q {SKU} --json", "products --ndjson", f"history {SKU} --json", "changes --ndjson"):
        told, utf8 = [await printed(tmp_path, one, *typed.split()) for one in (given, env)]
        assert [json.loads(line) for line in told.splitlines()] if "ndjson" in typed else json.loads(told)
        assert told.isascii()
        assert told == in_ascii(utf8.decode()).encode()


@pytest.mark.parametrize(
    ("typed", "told"), [("nö".encode(), b"n\\xf6"), (b"n\xff", b"n\\ufffd")], ids=["utf-8", "neither"]
)
async def test_what_is_typed_where_the_charset_has_it_not_is_utf8(
    env: dict[str, str], tmp_path: Path, typed: bytes, told: bytes
) -> None:
    given = env | {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    process = await start(tmp_path, given, "product", os.fsdecode(typed))
    out, err = await process.communicate()
    assert (process.returncode, out) == (1, b"")
    assert err.startswith(b"error: there is no product " + told)


async def printed(folder: Path, env: dict[str, str], *typed: str) -> bytes:
    process = await start(folder, env, *typed)
    out, err = await process.communicate()
    assert (process.returncode, err) == (0, b"")
    return out


async def test_times_are_taken_as_they_are_printed_and_as_the_api_takes_them(
    api: ApiClient, env: dict[str, str], tmp_path: Path
) -> None:
    (product,) = (await api.get("/products", q=SKU))["items"]
    at = datetime.fromisoformat(product["updatedAt"])
    after = at + timedelta(seconds=1)
    elsewhere = timezone(timedelta(hours=5, minutes=30))
    shapes: list[Callable[[datetime], str]] = [
        lambda moment: f"{moment:%Y-%m-%d %H:%M:%S}",
        lambda moment: f"{moment:%Y-%m-%dT%H:%M:%S.%fZ}",
        lambda moment: moment.astimezone(elsewhere).isoformat(),
    ]
    for shape in shapes:
        for since, found in ((at.replace(microsecond=0), 1), (after, 0)):
            typed = ["products", "--q", SKU, "--updated-since", shape(since), "--json"]
            assert len((await command(tmp_path, env, *typed)).json) == found
    for day, found in ((at, 1), (at + timedelta(days=1), 0)):
        typed = ["variants", "--product", SKU, "--updated-since", f"{day:%Y-%m-%d}", "--json"]
        assert bool((await command(tmp_path, env, *typed)).json) is bool(found)
    for wrong in ("yesterday", "1764547299", "2026-13-01"):
        ended = await command(tmp_path, env, "audit", "--until", wrong)
        assert (ended.code, ended.out) == (2, "")
        assert f"'{wrong}' is no time such as" in ended.err


async def test_following_goes_on_with_what_comes_until_ctrl_c(
    api: ApiClient, env: dict[str, str], stack: Stack, tmp_path: Path
) -> None:
    head = (await api.get("/changes"))["head"]
    process = await start(tmp_path, env, "changes", "--follow", "--ndjson", "--since", str(head - 1))
    assert process.stdout is not None
    async with asyncio.timeout(60):
        assert json.loads(await process.stdout.readline())["seq"] == head
        await stack.sync("A360")
        assert json.loads(await process.stdout.readline())["seq"] == head + 1
        process.send_signal(signal.SIGINT)
        assert process.stderr is not None
        assert await process.stderr.read() == b""
        assert await process.wait() == 130


@pytest.mark.parametrize("form", [[], ["--ndjson"]])
async def test_a_reader_that_goes_ends_following_although_nothing_changes(
    api: ApiClient, env: dict[str, str], tmp_path: Path, form: list[str]
) -> None:
    head = (await api.get("/changes"))["head"]
    reading, writing = os.pipe()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "app.cli.main", "changes", "--follow", "--since", str(head - 1), *form,
        cwd=tmp_path, env=env, stdout=writing, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    os.close(writing)
    assert str(head).encode() in await asyncio.to_thread(os.read, reading, 10_000)
    await asyncio.sleep(1)
    assert process.returncode is None
    os.close(reading)
    async with asyncio.timeout(20):
        assert (await process.communicate())[1] == b""
    assert process.returncode == 1


@pytest.mark.parametrize("typed", ["products --ndjson", "changes --since 0", "changes --ndjson"])
async def test_a_reader_that_has_gone_is_no_error(env: dict[str, str], tmp_path: Path, typed: str) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    process = await asyncio.create_subprocess_exec(
        "sh", "-c", f'exec "$0" -m app.cli.main {typed}', sys.executable, cwd=tmp_path, env=env,
        stdout=writing, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    os.close(writing)
    assert (await process.communicate())[1] == b""
    assert process.returncode == 1
