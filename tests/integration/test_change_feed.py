"""The change feed: numbers without holes, in order, whoever writes beside whom; what is forgotten (C7)."""

from __future__ import annotations

import asyncio
import json
import random
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import httpx
import pytest
from sqlalchemy import text

from app.jobs.definitions import IMAGE_UPLOAD
from app.persistence import idempotency, job_verbs
from app.persistence.change_feed import changes_since, feed_ends
from app.persistence.changes import Change, add_changes
from app.persistence.database import Database
from app.samplefeed import FeedSpec, SampleFeed
from app.sync.running.numbering import number_all
from app.sync.services import Services, open_services
from app.sync.upkeep.retention import forget_old
from tests.conftest import MakeStack
from tests.support.api_client import ApiClient, api_client
from tests.support.image_jobs import HeldRun
from tests.support.stack import Stack
from tests.support.waiting import eventually

ENTITIES = ("P-1", "P-2", "P-3", "P-4")
WRITERS = 10
MINUTE_DAYS = 1 / 1440
NDJSON = {"Accept": "application/x-ndjson"}


async def number_restlessly(database: Database) -> None:
    while True:
        await number_all(database)
        await asyncio.sleep(random.uniform(0, 0.01))


@asynccontextmanager
async def numbering(*stacks: Services) -> AsyncIterator[None]:
    """Two sequencers a replica, far busier than in a worker, so that they get in each other's way."""
    tasks = [asyncio.create_task(number_restlessly(services.database)) for services in stacks * 2]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


class Follower:
    """Reads the feed again and again, and holds it to its promise each time."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.seen: list[Any] = []

    async def read(self) -> None:
        async with self.stack.services.database.read() as db:
            ends = await feed_ends(db)
            last = len(self.seen)
            rows = await changes_since(db, last, 37)
        assert [row["seq"] for row in rows] == list(range(last + 1, last + 1 + len(rows)))
        assert len(rows) == min(37, ends.head - last)
        self.seen += rows

    async def run(self) -> None:
        while True:
            await self.read()
            await asyncio.sleep(random.uniform(0, 0.03))

    async def has_all(self) -> bool:
        return len(self.seen) >= int(await self.stack.value("SELECT count(*) FROM changes"))


@asynccontextmanager
async def following(stack: Stack) -> AsyncIterator[Follower]:
    follower = Follower(stack)
    task = asyncio.create_task(follower.run())
    try:
        yield follower
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


class Rollback(Exception):
    """A transaction that comes to nothing, and leaves a hole in the ids."""


async def write(stack: Stack, number: int, committed: dict[str, list[int]], rounds: int) -> None:
    """Change entities that others change too, in transactions that take their time; one in five comes to nothing."""
    choice = random.Random(number)
    for _ in range(rounds):
        sku = choice.choice(ENTITIES)
        with suppress(Rollback):
            async with stack.services.database.begin() as db:
                await db.execute(text("SELECT pg_advisory_xact_lock(hashtext(:sku))"), {"sku": sku})  # as its row's
                n = len(committed[sku])
                change = Change("updated", "variant", sku, "P", ("n",), {"n": n - 1}, {"n": n})
                await add_changes(db, supplier_id=1, run_id=None, changes=[change])
                other = Change("updated", "product", f"own-{number}", "P", ("n",))
                await asyncio.sleep(choice.uniform(0, 0.12))
                await add_changes(db, supplier_id=1, run_id=None, changes=[other])
                if choice.random() < 0.2:
                    raise Rollback
                committed[sku].append(n)
                committed[f"own-{number}"].append(n)


async def test_a_follower_misses_nothing_and_sees_nothing_twice_beside_ten_slow_writers(make_stack: MakeStack) -> None:
    committed: dict[str, list[int]] = defaultdict(list)
    async with (
        make_stack(database_pool_size=20) as stack,
        open_services(stack.settings) as replica,
        numbering(stack.services, replica),
        following(stack) as follower,
    ):
        async with asyncio.TaskGroup() as group:
            for number in range(WRITERS):
                group.create_task(write(stack, number, committed, rounds=12))
        await eventually(follower.has_all)
        by_entity = defaultdict(list)
        for row in follower.seen:
            by_entity[row["sku"]].append(row)
        assert {sku: len(rows) for sku, rows in by_entity.items()} == {sku: len(ns) for sku, ns in committed.items()}
        assert len({row["id"] for row in follower.seen}) == len(follower.seen) == sum(map(len, committed.values()))
        ids = await stack.rows("SELECT sku, new FROM changes WHERE entity = 'variant' ORDER BY seq")
        for sku in ENTITIES:
            assert [row["new"]["n"] for row in ids if row["sku"] == sku] == list(range(len(committed[sku])))


async def test_a_transaction_that_stays_open_holds_up_no_other_and_comes_later(stack: Stack) -> None:
    def change(sku: str) -> list[Change]:
        return [Change("created", "product", sku, sku)]

    database = stack.services.database
    async with numbering(stack.services), following(stack) as follower:
        async with database.begin() as slow:
            await add_changes(slow, supplier_id=1, run_id=None, changes=change("slow"))
            async with database.begin() as quick:
                await add_changes(quick, supplier_id=1, run_id=None, changes=change("quick"))
            await eventually(lambda: has_seen(follower, 1), timeout_s=3)
        await eventually(lambda: has_seen(follower, 2))
    assert [(row["seq"], row["sku"]) for row in follower.seen] == [(1, "quick"), (2, "slow")]


async def has_seen(follower: Follower, count: int) -> bool:
    return len(follower.seen) >= count


class Shop:
    """A shop that keeps a copy: a snapshot once, and then only what /changes names."""

    def __init__(self, api: ApiClient) -> None:
        self.api = api
        self.products: dict[tuple[str, str], Any] = {}
        self.head = 0
        self.numbers: list[int] = []

    async def take_snapshot(self) -> None:
        self.head = (await self.api.get("/changes"))["head"]
        for item in await self.api.all_pages("/products", limit=50):
            await self.fetch(item["supplier"], item["sku"])

    async def fetch(self, supplier: str, sku: str) -> None:
        self.products[supplier, sku] = await self.api.get(f"/products/{sku}", supplier=supplier)

    async def follow(self) -> None:
        """One page: fetch each product that it names once."""
        page = await self.api.get("/changes", since=self.head, limit=40)
        for supplier, sku in {(item["supplier"], item["productSku"]) for item in page["items"]}:
            await self.fetch(supplier, sku)
        self.numbers += [item["seq"] for item in page["items"]]
        self.head = self.numbers[-1] if page["items"] else self.head

    async def follow_for_ever(self) -> None:
        while True:
            await self.follow()
            await asyncio.sleep(0.02)

    async def follow_to_the_head(self) -> None:
        while (await self.api.get("/changes", since=self.head))["items"]:
            await self.follow()


async def test_a_copy_from_a_snapshot_and_the_feed_equals_the_api_after_ten_syncs_at_once(
    make_stack: MakeStack,
) -> None:
    feed = SampleFeed(FeedSpec.small(count=10, families=3, variants=2, oddities=False))
    async with make_stack(feed, database_pool_size=20) as stack, api_client(stack.settings) as api:
        codes = [row["code"] for row in await stack.rows("SELECT code FROM suppliers ORDER BY code")]
        await sync_at_once(stack, codes[:5])  # the others are new to the shop
        shop = Shop(api)
        await shop.take_snapshot()
        begin = shop.head
        edit(feed, await stack.rows("SELECT sku FROM products ORDER BY supplier_id, sku"))
        follower = asyncio.create_task(shop.follow_for_ever())
        await sync_at_once(stack, codes)
        follower.cancel()
        with suppress(asyncio.CancelledError):
            await follower
        await eventually(lambda: stack.value("SELECT count(*) = 0 FROM changes WHERE seq IS NULL"))
        await shop.follow_to_the_head()
        assert shop.numbers == list(range(begin + 1, shop.head + 1))
        assert len(shop.numbers) > 30
        truth = Shop(api)
        await truth.take_snapshot()
        assert shop.products == truth.products
        assert len(truth.products) == 31


async def sync_at_once(stack: Stack, codes: list[str]) -> None:
    async with asyncio.TaskGroup() as group:
        for code in codes:
            group.create_task(stack.sync(code))


def edit(feed: SampleFeed, known: list[dict[str, Any]]) -> None:
    """Something of each kind."""
    skus = [row["sku"] for row in known]
    for sku in skus[::3]:
        feed.change_price(sku)
    for sku in skus[1::3]:
        feed.rename(sku)
    feed.keep_variants(skus[2], 1)
    feed.swap_picture(skus[5])
    feed.remove_family(skus[8])
    feed.add_family("A23")


async def test_a_follower_from_before_the_retention_is_told_where_to_start_again(make_stack: MakeStack) -> None:
    """C7: a retention of one minute; an old, a future, a garbled `since`."""
    async with make_stack(changes_retention_days=MINUTE_DAYS) as stack, api_client(stack.settings) as api:
        await stack.sync("A23")
        await eventually(lambda: stack.value("SELECT count(*) = 0 FROM changes WHERE seq IS NULL"))
        head = await stack.value("SELECT seq FROM change_head")
        old = head // 2
        await execute(stack, f"UPDATE changes SET at = at - interval '61 s' WHERE seq <= {old}")
        await execute(stack, f"UPDATE changes SET at = at - interval '61 s' WHERE seq = {head}")  # after a young one
        await forget_old(stack.services)
        problem = await api.problem("GET", "/changes", 410, params={"since": old - 1})
        assert (problem["head"], problem["oldest"]) == (head, old)
        assert "list the products again" in problem["detail"]
        begun = await api.get("/changes")
        assert begun["items"] == [] or begun["items"][0]["seq"] == old + 1, "without since, from what is kept"
        rest = await api.all_pages("/changes", limit=50, since=old)
        assert [item["seq"] for item in rest] == list(range(old + 1, head + 1))
        assert await stack.value("SELECT count(*) FROM changes WHERE seq <= :old", old=old) == 0
        for since in (head + 1, "x", "-1", "1.5", 2**63, ""):
            await api.problem("GET", "/changes", 422, params={"since": since})
        assert (await api.get("/changes", since=head))["items"] == []
        assert await api.get("/changes", since=old, cursor="") == await api.get("/changes", since=old)


async def execute(stack: Stack, statement: str) -> None:
    async with stack.services.database.begin() as db:
        await db.execute(text(statement))


MANY = 1203
"""Changes: more than two pages of the largest."""


@pytest.fixture
async def numbered(make_stack: MakeStack) -> AsyncIterator[Stack]:
    """A feed of MANY changes."""
    async with make_stack() as stack:
        await execute(
            stack,
            f"""INSERT INTO changes (seq, kind, entity, sku, product_sku, supplier_id, fields, at)
            SELECT n, 'updated', 'product', 'P-' || n, 'P-' || n, (SELECT min(id) FROM suppliers), '{{brand}}', now()
            FROM generate_series(1, {MANY}) n""",
        )
        await execute(stack, f"UPDATE change_head SET seq = {MANY}")
        yield stack


async def lines_of(api: ApiClient, **params: Any) -> list[int]:
    answer = await api.http.get("/api/v1/changes", params=params, headers=NDJSON)
    assert (answer.status_code, answer.headers["x-head"]) == (200, str(MANY))
    assert answer.headers["content-type"].startswith("application/x-ndjson")
    return [json.loads(line)["seq"] for line in answer.text.splitlines()]


async def test_as_lines_without_a_limit_the_feed_comes_up_to_its_head(numbered: Stack) -> None:
    async with api_client(numbered.settings) as api:
        for since in (0, 1, 702, 703, MANY - 1, MANY):
            assert await lines_of(api, since=since) == list(range(since + 1, MANY + 1))
        assert await lines_of(api) == await lines_of(api, since=700, cursor=0) == list(range(1, MANY + 1))
        assert await lines_of(api, cursor="") == await lines_of(api, since=0, cursor="") == list(range(1, MANY + 1))
        assert await lines_of(api, limit=50) == list(range(1, 51))
        assert await lines_of(api, limit=500, since=1000) == list(range(1001, MANY + 1))
        whole = await api.http.get("/api/v1/changes", headers=NDJSON)
        again = await api.http.get("/api/v1/changes", headers={**NDJSON, "If-None-Match": whole.headers["etag"]})
        paged = await api.http.get(
            "/api/v1/changes?limit=50", headers={**NDJSON, "If-None-Match": whole.headers["etag"]}
        )
        assert (again.status_code, paged.status_code) == (304, 200)
        head = await api.http.head("/api/v1/changes", headers=NDJSON)
        assert (head.headers["x-head"], head.headers["etag"]) == (str(MANY), whole.headers["etag"])
        items = await api.all_pages("/changes", limit=500)
        assert [json.loads(line) for line in whole.text.splitlines()] == items
        assert len((await api.get("/changes"))["items"]) == 50, "a page is one as before"


async def test_lines_whose_rest_was_forgotten_meanwhile_have_no_proper_end(numbered: Stack) -> None:
    await execute(numbered, "DELETE FROM changes WHERE seq = 700")
    async with api_client(numbered.settings) as api:
        with pytest.raises(httpx.RemoteProtocolError):
            await api.http.get("/api/v1/changes", headers=NDJSON)


async def test_everything_old_is_forgotten_and_numbering_goes_on_where_it_was(make_stack: MakeStack) -> None:
    async with make_stack(changes_retention_days=MINUTE_DAYS) as stack:
        await stack.sync("A23")
        head = await stack.value("SELECT seq FROM change_head")
        await execute(stack, "UPDATE changes SET at = at - interval '1 h'")
        await forget_old(stack.services)
        await stack.sync("A360")
        first = await stack.value("SELECT min(seq) FROM changes")
        assert first == head + 1
        assert await stack.value("SELECT pruned_seq FROM change_head") == head


@pytest.fixture
async def aged(make_stack: MakeStack) -> AsyncIterator[Stack]:
    """Three runs of A23 and one of A360, the first with a failed picture; all ended 20 days ago."""
    async with make_stack() as stack:
        stack.server.faults.add("picture", "status", status=404, times=1)
        await stack.sync("A23")
        for _ in range(2):
            await stack.sync("A23")
        await stack.sync("A360")
        await age(stack, 20)
        yield stack


async def age(stack: Stack, days: int) -> None:
    await execute(
        stack,
        f"""UPDATE runs SET created_at = created_at - interval '{days} d', finished_at = finished_at
        - interval '{days} d'""",
    )


async def test_completed_jobs_go_first_what_failed_stays_with_its_run(aged: Stack) -> None:
    oldest = await aged.value("SELECT id FROM runs ORDER BY created_at LIMIT 1")
    await forget_old(aged.services)
    jobs = await aged.rows("SELECT state FROM jobs WHERE run_id = :id", id=oldest)
    assert [job["state"] for job in jobs] == ["failed"]
    assert await aged.value("SELECT count(*) FROM runs") == 4
    newest = (await aged.run("A360"))["id"]
    assert await aged.value("SELECT count(*) FROM jobs WHERE run_id = :id", id=newest) > 5, "the newest run's stay"


async def test_old_runs_go_with_their_problems_but_never_the_newest_of_a_supplier(aged: Stack) -> None:
    kept = {(await aged.run(code))["id"] for code in ("A23", "A360")}
    assert await aged.value("SELECT count(*) FROM problems") > 0
    await age(aged, 80)
    await forget_old(aged.services)
    assert {row["id"] for row in await aged.rows("SELECT id FROM runs")} == kept
    assert await aged.value("SELECT count(*) FROM problems") == 0
    assert {row["run_id"] for row in await aged.rows("SELECT run_id FROM jobs")} == kept
    (result,) = await aged.sync("A23")
    assert result.errors == 0


async def test_what_was_retried_by_hand_stays_with_its_run_and_is_as_old_as_its_repair(aged: Stack) -> None:
    await age(aged, 80)
    (failed,) = await aged.rows("SELECT id, run_id FROM jobs WHERE state = 'failed'")
    await execute(aged, "UPDATE queues SET paused = true WHERE name = 'image-upload'")
    await aged.services.database.transact(lambda db: job_verbs.reopen(db, IMAGE_UPLOAD, [failed["id"]]))
    await forget_old(aged.services)
    assert await aged.value("SELECT state FROM jobs WHERE id = :id", id=failed["id"]) == "waiting"
    await execute(aged, "UPDATE queues SET paused = false")
    run = HeldRun(aged)
    run.run_id = str(failed["run_id"])
    await run.work(await run.claim(IMAGE_UPLOAD))
    await forget_old(aged.services)
    assert await aged.value("SELECT repaired_at IS NOT NULL FROM runs WHERE id = :id", id=failed["run_id"])
    await execute(aged, "UPDATE runs SET repaired_at = repaired_at - interval '100 d'")
    await forget_old(aged.services)
    assert await aged.rows("SELECT 1 FROM runs WHERE id = :id", id=failed["run_id"]) == []


async def test_answers_kept_by_idempotency_key_go_after_a_day(stack: Stack) -> None:
    async with stack.services.database.begin() as db:
        for key in ("old", "new"):
            await idempotency.claim_key(db, "ci", key, b"")
    await execute(stack, "UPDATE idempotency_keys SET created_at = now() - interval '25 h' WHERE key = 'old'")
    await forget_old(stack.services)
    assert await stack.rows("SELECT key FROM idempotency_keys") == [{"key": "new"}]
