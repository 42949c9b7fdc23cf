"""The client of docs/shop.md against the real API process: rebuild, follow, 304, 410, webhooks."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import sqlite3
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from app.notify.signing import new_secret, signed_headers
from tests.support.api_client import ApiClient, api_at
from tests.support.api_process import api_process
from tests.support.command_line import environment_of
from tests.support.plain_http import plain_client
from tests.support.receiver import free_port
from tests.support.sample_requests import SKU
from tests.support.stack import Servers, Stack, open_stack

PAGE = Path(__file__).parents[2] / "docs/shop.md"
CLIENT = Path(__file__).parents[2] / "scripts/shop_client.py"
KEY = "reader-secret-of-16-chars"
TWO_PRODUCTS = """
SELECT p.sku FROM products p JOIN suppliers s ON s.id = p.supplier_id
WHERE s.code = 'A23' AND p.sku <> :but AND (SELECT count(*) FROM variants v WHERE v.product_id = p.id) > 1
ORDER BY p.sku LIMIT 2"""


@pytest.fixture(scope="module")
async def stack(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    async with open_stack(servers, tmp_path_factory.mktemp("stack")) as opened:
        await opened.sync("A23")
        yield opened


@pytest.fixture(scope="module")
async def api(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[ApiClient]:
    environment = environment_of(stack) | {"API_KEYS": f"shop:operator:{KEY}"}
    async with api_process(tmp_path_factory.mktemp("api"), environment) as (url, _), api_at(url, KEY) as client:
        yield client


async def client(api: ApiClient, file: Path, *more: str, **environment: str) -> asyncio.subprocess.Process:
    return await client_of(address(api), file, *more, **environment)


async def client_of(url: str, file: Path, *more: str, **environment: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable, str(CLIENT), url, str(file), *more,
        env={"PROMIDATA_KEY": KEY, **environment}, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip


def address(api: ApiClient) -> str:
    return str(api.http.base_url).rstrip("/")


async def night(api: ApiClient, file: Path) -> str:
    process = await client(api, file)
    out, _ = await process.communicate()
    assert process.returncode == 0
    return out.decode().strip()


def kept(file: Path) -> dict[tuple[str, str], Any]:
    db = sqlite3.connect(file)
    try:
        return {(supplier, sku): json.loads(product) for supplier, sku, product in db.execute("SELECT * FROM products")}
    finally:
        db.close()


async def truth(api: ApiClient) -> dict[tuple[str, str], Any]:
    items = await api.all_pages("/products", limit=500, expand="variants")
    return {(item["supplier"], item["sku"]): item for item in items}


async def test_the_copy_equals_the_api_night_after_night(stack: Stack, api: ApiClient, tmp_path: Path) -> None:
    file = tmp_path / "shop.sqlite"
    assert await night(api, file) == "rebuilt"
    assert kept(file) == await truth(api)
    assert await night(api, file) == "up to date, 0 products read"
    assert await night(api, file) == "unchanged, 0 products read"

    stack.feed.change_price(SKU)
    await stack.sync("A23")
    assert await night(api, file) == "up to date, 1 products read"
    assert kept(file) == await truth(api)

    await stack.sync("A360")
    async with stack.services.database.begin() as db:
        await db.exec_driver_sql("DELETE FROM changes")
        await db.exec_driver_sql("UPDATE change_head SET pruned_seq = seq")
    assert await night(api, file) == "rebuilt"
    assert kept(file) == await truth(api)
    assert await night(api, file) == "up to date, 0 products read"


async def test_an_address_may_end_with_a_slash(api: ApiClient, tmp_path: Path) -> None:
    process = await client_of(f"{address(api)}/", tmp_path / "shop.sqlite")
    out, error = await process.communicate()
    assert (process.returncode, out, error) == (0, b"rebuilt\n", b"")


async def test_what_goes_wrong_is_a_line_and_no_traceback(api: ApiClient, tmp_path: Path) -> None:
    away, elsewhere = f"http://127.0.0.1:{free_port()}", f"{address(api)}/none"
    for url, said in ((away, f"{away}: "), (elsewhere, f"GET {elsewhere}/api/v1/products: "), ("no address", "no a")):
        process = await client_of(url, tmp_path / "shop.sqlite")
        _, error = await process.communicate()
        assert process.returncode == 1
        assert error.decode().startswith(f"shop_client: {said}")
        assert error.count(b"\n") == 1, error


async def test_waiting_for_webhooks_it_outlives_a_service_that_is_away(tmp_path: Path) -> None:
    away = f"http://127.0.0.1:{free_port()}"
    process = await client_of(away, tmp_path / "shop.sqlite", str(free_port()), WEBHOOK_SECRET=new_secret())
    assert process.stderr is not None
    try:
        async with asyncio.timeout(60):
            assert (await process.stderr.readline()).startswith(f"shop_client: {away}: ".encode())
        assert process.returncode is None
    finally:
        process.kill()
        await process.wait()


async def move_variant(stack: Stack) -> tuple[str, str, str]:
    """Move a variant by a sync; its SKU, and those of its product before and after."""
    before, after = (row["sku"] for row in await stack.rows(TWO_PRODUCTS, but=SKU))
    moving: list[dict[str, Any]] = []
    stack.feed.edit(before, lambda document: moving.append(document["ChildProducts"].pop()))
    stack.feed.edit(after, lambda document: document["ChildProducts"].extend(moving))
    await stack.sync("A23")
    return moving[0]["Sku"], before, after


async def test_a_variant_that_moved_is_in_one_product_of_the_copy(stack: Stack, api: ApiClient, tmp_path: Path) -> None:
    file = tmp_path / "shop.sqlite"
    assert await night(api, file) == "rebuilt"
    moved, _, after = await move_variant(stack)
    assert await night(api, file) == "up to date, 2 products read"
    copy = kept(file)
    assert copy == await truth(api)
    assert [sku for (_, sku), one in copy.items() if moved in [item["sku"] for item in one["variants"]]] == [after]


async def test_a_webhook_wakes_it_and_a_forged_one_does_not(stack: Stack, api: ApiClient, tmp_path: Path) -> None:
    file, secret, port = tmp_path / "shop.sqlite", new_secret(), free_port()
    process = await client(api, file, str(port), WEBHOOK_SECRET=secret)
    assert process.stdout is not None
    try:
        async with asyncio.timeout(60), plain_client(base_url=f"http://127.0.0.1:{port}") as http:
            assert await process.stdout.readline() == b"rebuilt\n"
            stack.feed.change_price(SKU)
            await stack.sync("A23")
            body = json.dumps({"type": "catalogue.changed", "timestamp": "…", "data": {}})
            for by, status in ((new_secret(), 401), (secret, 200)):
                signed = signed_headers(by, "msg_1", datetime.now(UTC), body)
                assert (await http.post("/", content=body, headers=signed)).status_code == status
            assert await process.stdout.readline() == b"up to date, 1 products read\n"
            assert kept(file) == await truth(api)
    finally:
        process.kill()
        await process.wait()


async def test_what_is_cut_off_leaves_the_copy_as_it_was(api: ApiClient, tmp_path: Path) -> None:
    file = tmp_path / "shop.sqlite"
    assert await night(api, file) == "rebuilt"
    before = kept(file)
    whole = await api.http.get("/api/v1/products", headers={"Accept": "application/x-ndjson"})

    async def cut_off(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        head = f"HTTP/1.1 200 OK\r\nX-Changes-Head: 1\r\nContent-Length: {len(whole.content)}\r\n\r\n"
        writer.write(head.encode() + whole.content[: len(whole.content) // 2])
        await writer.drain()
        writer.close()

    db = sqlite3.connect(file)
    db.execute("DELETE FROM position")
    db.commit()
    db.close()
    async with await asyncio.start_server(cut_off, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        async with api_at(f"http://127.0.0.1:{port}") as broken:
            process = await client(broken, file)
            _, error = await process.communicate()
            assert process.returncode == 1
            assert b"Traceback" not in error
    assert kept(file) == before


def _block(language: str, which: int = 0) -> str:
    return str(re.findall(rf"^```{language}\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)[which])


async def _ran(folder: Path, api: ApiClient, *command: str) -> str:
    environment = {**os.environ, "PROMIDATA_KEY": KEY, "PROMIDATA_URL": address(api)}
    process = await asyncio.create_subprocess_exec(
        *command, cwd=folder, env=environment, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, error = await process.communicate()
    assert process.returncode == 0, error.decode()
    return out.decode()


async def test_the_same_by_curl(api: ApiClient, tmp_path: Path) -> None:
    *answers, status = (await _ran(tmp_path, api, "bash", "-ec", _block("sh", 1))).rpartition("}")
    lines = (tmp_path / "catalogue.ndjson").read_text().splitlines()
    assert [json.loads(line) for line in lines] == await api.all_pages("/products", 500, expand="variants")
    assert '"items":[]' in answers[0]
    assert status.strip() == "304"


@pytest.mark.skipif(shutil.which("node") is None, reason="Node.js is not installed")
async def test_the_same_in_javascript(stack: Stack, api: ApiClient, tmp_path: Path) -> None:
    secret, body = new_secret(), '{"type":"catalogue.changed"}'
    headers = signed_headers(secret, "msg_1", datetime.now(UTC), body)
    (tmp_path / "shop.mjs").write_text(_block("js"))
    since = (await api.get("/changes"))["head"]
    stack.feed.change_price(SKU)
    moved, before, after = await move_variant(stack)
    (tmp_path / "run.mjs").write_text(f"""
        import {{ rebuild, follow, verified }} from './shop.mjs';
        const copy = {{}}, again = {{}};
        const seq = await rebuild((one) => {{ copy[`${{one.supplier}} ${{one.sku}}`] = one; }});
        const on = await follow({since}, null, (one) => {{ again[`${{one.supplier}} ${{one.sku}}`] = one; }},
                                (supplier, sku) => sku === {json.dumps(moved)} ? {json.dumps(before)} : sku);
        const still = await follow(on.seq, on.etag, () => {{ throw new Error('nothing is new'); }});
        const restored = await follow(on.seq + 1000, null, () => {{ throw new Error('nothing is there'); }});
        const hook = [{json.dumps(headers)}, {json.dumps(body)}];
        const told = [verified(...hook, {json.dumps(secret)}), verified(...hook, {json.dumps(new_secret())})];
        console.log(JSON.stringify({{ copy, seq, again, on, still, restored, told }}));
    """)
    ran = json.loads(await _ran(tmp_path, api, "node", "run.mjs"))
    everything = {" ".join(key): product for key, product in (await truth(api)).items()}
    assert ran["copy"] == everything
    assert ran["again"] == {key: everything[key] for key in (f"A23 {SKU}", f"A23 {before}", f"A23 {after}")}
    assert ran["seq"] == ran["on"]["seq"] == (await api.get("/changes"))["head"]
    assert ran["still"] == ran["on"]
    assert ran["restored"] is None, "a number that the service has not given yet: rebuild"
    assert ran["told"] == [True, False]
