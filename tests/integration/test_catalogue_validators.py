"""ETags of the catalogue move with whatever readers see, and with nothing else: no 304 for something that changed."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from shutil import rmtree
from subprocess import run
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from app.api import kept_bodies
from app.images.store import PRESIGNED_S
from app.persistence.changes import Change, add_changes
from app.persistence.database import Connection
from app.samplefeed import FeedSpec, SampleFeed
from app.settings import Settings
from app.sync.running.numbering import number_all
from app.views.by_sku import one_product, one_variant
from tests.support.api_client import ApiClient, api_client
from tests.support.databases import execute
from tests.support.stack import Servers, Stack, open_stack, own_postgres, postgres_again

KEYS = "reader:viewer:r-secret-of-16-chars,worker:operator:o-secret-of-16-chars"
READER, WORKER = "r-secret-of-16-chars", "o-secret-of-16-chars"
SMALL = SampleFeed(FeedSpec.small(count=1, families=3, variants=2))
LINES = {"Accept": "application/x-ndjson"}
ONE = "(SELECT id FROM variants ORDER BY id LIMIT 1 OFFSET :n % (SELECT count(*) FROM variants))"
ITS = f"(SELECT product_id FROM variants WHERE id = {ONE})"
SHOWN = f"""(SELECT s.address_id FROM shown_pictures s JOIN variants v ON v.id = s.variant_id
    WHERE v.id = {ONE} AND s.generation = COALESCE(NULLIF(v.shown_generation, 0), v.generation) LIMIT 1)"""
LATER = "updated_at = clock_timestamp()"
X = "CAST(CAST(:x AS int) AS text)"
DIGEST = f"decode(md5({X}), 'hex')"
SEEN = {
    "price": f"""WITH t AS (UPDATE prices SET tiers = jsonb_set(tiers, '{{0,minQuantity}}', to_jsonb({X}))
        WHERE variant_id = {ONE}) UPDATE variants SET prices_digest = {DIGEST}, {LATER} WHERE id = {ONE}""",
    "content of a variant": f"""UPDATE variants SET content = jsonb_set(content, '{{color}}', to_jsonb({X})),
        content_digest = {DIGEST}, {LATER} WHERE id = {ONE}""",
    "content of a product": f"""UPDATE products SET content = jsonb_set(content, '{{brand}}', to_jsonb({X})),
        content_digest = {DIGEST}, {LATER} WHERE id = {ITS}""",
    "variant discontinued later than its family's document": f"""UPDATE variants SET status = CASE status
        WHEN 'active' THEN 'discontinued' ELSE 'active' END WHERE id = {ONE}""",
    "product discontinued or reactivated": f"""UPDATE products SET status = CASE status
        WHEN 'active' THEN 'discontinued' ELSE 'active' END, {LATER} WHERE id = {ITS}""",
    "order of variants": f"UPDATE variants SET position = position + 1 + :x WHERE id = {ONE}",
    "primary variant": f"UPDATE variants SET is_primary = NOT is_primary WHERE id = {ONE}",
    "variant taken over": f"""UPDATE variants SET product_id = (SELECT id FROM products o WHERE o.supplier_id =
        variants.supplier_id AND o.id <> variants.product_id ORDER BY id LIMIT 1) WHERE id = {ONE}""",
    "picture gone or there": f"""UPDATE addresses SET state = CASE state WHEN 'stored' THEN 'failed' ELSE 'stored' END,
        media_id = CASE state WHEN 'stored' THEN NULL ELSE (SELECT min(id) FROM media) END WHERE id = {SHOWN}""",
    "another picture": f"""UPDATE addresses SET state = 'stored', media_id = (SELECT id FROM media m
        WHERE m.id IS DISTINCT FROM media_id ORDER BY id LIMIT 1 OFFSET :x % 2) WHERE id = {SHOWN}""",
    "pictures shown": f"""UPDATE variants SET generation = generation + 1, shown_generation = generation + 1
        WHERE id = {ONE}""",
}
UNSEEN = {
    "a document that says the same": f"UPDATE products SET applied_version = applied_version + 1 WHERE id = {ITS}",
    "a row written again": f"UPDATE variants SET content = content, owner_run_id = gen_random_uuid() WHERE id = {ONE}",
    "a picture asked for again": "UPDATE addresses SET checked_at = clock_timestamp(), failures = failures + 1",
    "pictures that wait": f"""UPDATE variants SET generation = generation + 1, shown_generation =
        COALESCE(NULLIF(shown_generation, 0), generation) WHERE id = {ONE}""",
    "a supplier renamed, whose code products name": f"UPDATE suppliers SET name = name || {X}",
}


Asked = dict[str, tuple[str, dict[str, str]]]
"""Path and headers, by what is read."""


@dataclass
class Reader:
    """Somebody who asks again with the ETag of what it has, and a service that keeps nothing of what it built."""

    api: ApiClient
    anew: ApiClient
    had: dict[str, tuple[str, bytes]] = field(default_factory=dict)

    async def look(self, name: str, path: str, headers: dict[str, str]) -> bool:
        """Ask; returns whether the answer was a 304, which must be true."""
        etag, body = self.had.get(name, ("", b""))
        again = await self.api.http.get(f"/api/v1{path}", headers={**headers, "If-None-Match": etag})
        if again.status_code == 304:
            assert again.content == b""
            assert again.headers["etag"] == etag
            assert await self._built(path, headers) == body, f"a 304 for {name}, which changed"
            return True
        assert again.status_code == 200, again.text
        assert await self._built(path, headers) == again.content, f"{name} as it was before"
        self.had[name] = (again.headers["etag"], again.content)
        return False

    async def _built(self, path: str, headers: dict[str, str]) -> bytes:
        here = {"Host": self.api.http.base_url.netloc.decode()}
        return (await self.anew.http.get(f"/api/v1{path}", headers={**headers, **here})).content


@pytest.fixture(scope="module")
async def stack(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    async with open_stack(servers, tmp_path_factory.mktemp("stack"), SMALL, api_keys=KEYS) as opened:
        await opened.sync()
        yield opened


@pytest.fixture(scope="module")
async def api(stack: Stack) -> AsyncIterator[ApiClient]:
    async with api_client(stack.settings, WORKER) as client:
        yield client


@pytest.fixture(scope="module")
async def reader(stack: Stack, api: ApiClient) -> AsyncIterator[Reader]:
    async with reader_of(stack, api) as opened:
        yield opened


@asynccontextmanager
async def reader_of(stack: Stack, api: ApiClient) -> AsyncIterator[Reader]:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(kept_bodies, "MOST_BYTES", 0)
        async with api_client(stack.settings, WORKER) as anew:
            yield Reader(api, anew)


async def change(stack: Stack, statement: str, n: int, x: int) -> None:
    asked = {name: value for name, value in (("n", n), ("x", x)) if f":{name}" in statement}
    async with stack.services.database.begin() as db:
        await db.execute(text(statement), asked)


async def readings(stack: Stack) -> Asked:
    """What is read: one by one, pages in each form, and everything."""
    rows = await stack.rows("SELECT p.sku, s.code FROM products p JOIN suppliers s ON s.id = p.supplier_id")
    one: Asked = {f"product {row['sku']}": (f"/products/{row['sku']}?supplier={row['code']}", {}) for row in rows}
    (variant, *_) = await stack.rows("SELECT sku FROM variants ORDER BY sku")
    return one | {
        "page": ("/products?limit=500", {}),
        "whole page": ("/products?expand=variants&limit=3", {}),
        "chosen": ("/products?fields=sku,variants.prices,variants.images", {}),
        "by time": ("/products?sort=updatedAt&limit=4", {}),
        "variant": (f"/variants/{variant['sku']}", {}),
        "variants": ("/variants?limit=7", {}),
        "lines": ("/products", LINES),
        "lines of active ones": ("/products?status=active", LINES),
        "changes": ("/changes", {}),
        "changes as lines": ("/changes", LINES),
    }


async def look_at_all(reader: Reader, asked: Asked) -> dict[str, bool]:
    """By reading, whether it was a 304."""
    return {name: await reader.look(name, path, headers) for name, (path, headers) in asked.items()}


async def test_validators_move_through_real_syncs(stack: Stack, reader: Reader) -> None:
    """A price, a name, a picture, a variant and a family gone, and all of it back; an unchanged night is a 304."""
    asked = {"lines": ("/products", LINES), "page": ("/products", {})}
    sku = (await stack.rows("SELECT sku FROM products WHERE status = 'active' ORDER BY sku"))[0]["sku"]
    await look_at_all(reader, asked)
    for step in (
        lambda: stack.feed.change_price(sku),
        lambda: stack.feed.rename(sku),
        lambda: stack.feed.swap_picture(sku),
        lambda: stack.feed.keep_variants(sku, 1),
        lambda: stack.feed.revert(sku),
    ):
        step()
        await stack.sync(force=False)
        assert not any((await look_at_all(reader, asked)).values())
        await stack.sync(force=True)
        assert all((await look_at_all(reader, asked)).values()), "written again, and nothing differs"


@pytest.mark.parametrize("name", [*SEEN, *UNSEEN])
async def test_validators_move_with_what_is_seen_and_stay_without(stack: Stack, reader: Reader, name: str) -> None:
    asked = await readings(stack)
    await look_at_all(reader, asked)
    assert all((await look_at_all(reader, asked)).values()), "nothing changed, and yet"
    await change(stack, (SEEN | UNSEEN)[name], 0, 1)
    same = await look_at_all(reader, asked)
    if name in UNSEEN:
        assert all(same.values()), same
    else:
        assert not same["lines"]
        assert not same["page"]
        assert not all(same[item] for item in asked if item.startswith("product "))


@settings(
    max_examples=4,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    steps=st.lists(
        st.tuples(st.sampled_from([*SEEN, *UNSEEN]), st.integers(0, 50), st.integers(2, 9)), min_size=3, max_size=4
    )
)
async def test_no_304_is_given_for_what_changed(
    stack: Stack, reader: Reader, steps: list[tuple[str, int, int]]
) -> None:
    asked = await readings(stack)
    await look_at_all(reader, asked)
    for name, n, x in steps:
        await change(stack, (SEEN | UNSEEN)[name], n, x)
        same = await look_at_all(reader, asked)
        assert name in SEEN or all(same.values()), (name, same)


async def test_variants_whose_pictures_are_others_now_are_found_by_time(stack: Stack, api: ApiClient) -> None:
    await stack.sync(force=True)
    sku = (await stack.rows("SELECT sku FROM products WHERE status = 'active' ORDER BY sku"))[0]["sku"]
    now = await stack.value("SELECT clock_timestamp()")
    assert await api.all_pages("/variants", updatedSince=now.isoformat()) == []
    stack.feed.swap_picture(sku)
    await stack.sync()
    found = await api.all_pages("/variants", updatedSince=now.isoformat())
    changed = await stack.rows("SELECT sku FROM changes WHERE entity = 'variant' AND at > :now", now=now)
    assert {item["sku"] for item in found} == {row["sku"] for row in changed} != set()


async def test_each_form_and_each_caller_has_an_etag_of_its_own(stack: Stack, api: ApiClient) -> None:
    base = "/api/v1/products"
    forms = ["", "?expand=variants", "?fields=sku", "?fields=sku,name", "?fields=name,variants", "?limit=1", "?limit=2"]
    etags = [(await api.http.get(f"{base}{form}")).headers["etag"] for form in forms]
    assert len(set(etags)) == len(etags)
    lines = [(await api.http.get(f"{base}{form}", headers=LINES)).headers["etag"] for form in ("", "?fields=sku")]
    assert len({*etags, *lines}) == len(etags) + 2
    async with api_client(stack.settings, READER) as reader:
        answer = await reader.http.get(base, headers={"If-None-Match": etags[0]})
        assert answer.status_code == 200
        assert answer.headers["cache-control"] == "private, no-cache"
        assert "X-API-Key" in answer.headers["vary"]


async def test_addresses_that_lead_elsewhere_or_end_soon_make_other_etags(
    stack: Stack, api: ApiClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = "/api/v1/products"
    here = (await api.http.get(path)).headers["etag"]
    bucket = {
        "s3_bucket": "pictures",
        "s3_access_key_id": "id-of-a-key",
        "s3_secret_access_key": "secret-of-the-key",
        "s3_endpoint_url": "http://127.0.0.1:9",
    }
    elsewhere = {"public_url": "https://shop.example"}
    for changes in (elsewhere, {**bucket, "s3_public_url": "https://cdn.example"}, bucket):
        changed = Settings.model_validate({**stack.settings.model_dump(exclude_unset=True), **changes})
        async with api_client(changed, WORKER) as other:
            now = await other.http.get(path, headers={"If-None-Match": here})
            assert now.status_code == 200
            here = now.headers["etag"]
            assert (await other.http.get(path, headers={"If-None-Match": here})).status_code == 304
            without = (await other.http.get(f"{path}?fields=sku,name")).headers["etag"]
            began = time.time()
            monkeypatch.setattr("app.views.picture_addresses.time.time", lambda: began + PRESIGNED_S / 2)  # noqa: B023
            later = await other.http.get(path, headers={"If-None-Match": here})
            assert later.status_code == (200 if changes == bucket else 304)
            again = await other.http.get(f"{path}?fields=sku,name", headers={"If-None-Match": without})
            assert again.status_code == 304, "no address is in it"
            monkeypatch.undo()


@pytest.mark.parametrize("path", ["/products/{product}", "/variants/{variant}"])
async def test_what_changes_between_the_look_and_the_reading_comes_with_the_etag_of_what_it_is(
    stack: Stack, api: ApiClient, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    """Under the ETag of the look it would be a 304 for whoever has what was there before."""
    (row,) = await stack.rows(
        f"SELECT sku, (SELECT sku FROM products WHERE id = {ITS}) AS product FROM variants WHERE id = {ONE}".replace(
            ":n", "0"
        )
    )
    asked = path.format(product=row["product"], variant=row["sku"])
    looks = {
        "/products": ("app.api.products.one_product", one_product),
        "/variants": ("app.api.variants.one_variant", one_variant),
    }
    name, look = looks[asked[:9]]

    async def change() -> None:
        async with stack.services.database.begin() as db:
            await db.execute(text(SEEN["content of a variant"]), {"n": 0, "x": time.time_ns() % 10**9})

    async def and_then_it_changes(db: Connection, *arguments: Any) -> Any:
        found = await look(db, *arguments)
        await change()
        return found

    await change()  # so that nobody has asked for it
    with monkeypatch.context() as patched:
        patched.setattr(name, and_then_it_changes)
        changed = await api.http.get(f"/api/v1{asked}")
    again = await api.http.get(f"/api/v1{asked}")
    assert (again.headers["etag"], again.content) == (changed.headers["etag"], changed.content)


NEXT = "CAST(CAST(pg_snapshot_xmax(pg_current_snapshot()) AS text) AS bigint)"
"""The number that the next transaction gets which writes."""
FIRST = "v.id = (SELECT min(id) FROM variants)"
IN_TRANSACTION = f"""DO $$ BEGIN
    WHILE {NEXT} < :number LOOP PERFORM pg_current_xact_id(); COMMIT; END LOOP;
    :changes;
END $$"""


async def test_what_was_changed_after_a_restore_is_not_taken_for_what_was_lost(
    servers: Servers, tmp_path: Path
) -> None:
    """Numbers are handed out twice then: a transaction's, and those of changes."""
    (folder := tmp_path / "postgres").mkdir()
    feed = SampleFeed(FeedSpec.small(count=1, families=3, variants=2))
    async with (
        own_postgres(servers, folder) as own,
        open_stack(own, tmp_path / "stack", feed, api_keys=KEYS) as stack,
        api_client(stack.settings, WORKER) as api,
        reader_of(stack, api) as reader,
    ):
        await stack.sync()
        number = 1000 + int(await stack.value(f"SELECT {NEXT}"))
        _back_up(own, folder)
        asked = await readings(stack)
        await _change_in(stack, number, 1)
        await look_at_all(reader, asked)
        _restore(own, folder)
        await _change_in(stack, number, 2)
        same = await look_at_all(reader, asked)
        changed = await stack.value(f"SELECT p.sku FROM products p JOIN variants v ON v.product_id = p.id AND {FIRST}")
        assert {name for name, is_same in same.items() if is_same} == {
            name for name in asked if name.startswith("product ") and name != f"product {changed}"
        }


def _back_up(own: Servers, folder: Path) -> None:
    own.postgres.stop()
    home = own.postgres.home.path
    run(["cp", "-a", home / "data", home / "backup"], check=True)  # with their owner, another user than root
    postgres_again(own, folder)


def _restore(own: Servers, folder: Path) -> None:
    own.again[-1].stop()
    home = own.postgres.home.path
    rmtree(home / "data")
    (home / "backup").rename(home / "data")
    postgres_again(own, folder)


async def _change_in(stack: Stack, number: int, x: int) -> None:
    """Change a price in the transaction of this number, and tell of it."""
    url = stack.settings.database_url
    assert url is not None
    changes = SEEN["price"].replace(":n", "0").replace(":x", str(x))
    in_it = IN_TRANSACTION.replace(":number", str(number)).replace(":changes", changes)
    await execute(url.get_secret_value(), in_it)
    assert await stack.value(f"SELECT CAST(CAST(xmin AS text) AS bigint) FROM variants v WHERE {FIRST}") == number
    async with stack.services.database.begin() as db:
        told = Change("updated", "variant", f"told-{x}", "P", ("prices",))
        await add_changes(db, supplier_id=1, run_id=None, changes=[told])
    await number_all(stack.services.database)
