"""Drill: the release before is replaced by this code in the middle of a sync, one process after the other.

old API and workers, a sync under way ─▶ migrate ─▶ an old worker starts anew ─▶ API, supplier, family, image replaced
                                                                                  └▶ as if nothing had happened
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest

from app import VERSION
from app.jobs.definitions import STAGE_OF
from app.persistence.migrations import newest_revision
from app.samplefeed import FeedSpec, SampleFeed
from tests.support.last_release import REVISION, ROOT, TAG, Program, release_code, start_program
from tests.support.own_migrations import OwnMigrations
from tests.support.plain_http import plain_client
from tests.support.s3_servers import free_port
from tests.support.stack import Servers, Stack, open_stack
from tests.support.truth import assert_as_if_nothing_had_happened, assert_redis_forgets
from tests.support.worker_stack import QUEUE_NAMES, UNDER_WAY, environment_of, until

UNTIL_REPLACED_S = 10.0
"""The origin's latency from when each stage works until everything is replaced, so that the sync lasts."""
GRACE_S = 3.0
"""Less than that: who is replaced hands back what it has under way."""
DONE = "SELECT queue, count(*) AS number FROM jobs WHERE state = 'completed' GROUP BY queue"


@dataclass
class Fleet:
    """Programs of both versions on one stack."""

    stack: Stack
    folder: Path
    old: Path
    running: list[Program] = field(default_factory=list)

    def start(self, code: Path, *arguments: str, **more: str) -> Program:
        log = self.folder / f"{len(self.running)}-{'-'.join(arguments)}.log"
        program = start_program(log, code, {**self._environment(), **more}, *arguments)
        self.running.append(program)
        return program

    def _environment(self) -> Mapping[str, str]:
        return {**os.environ, **environment_of(self.stack.settings)}

    async def run(self, code: Path, *arguments: str) -> None:
        program = self.start(code, *arguments)
        assert await program.ends() == 0, program.said()

    async def worker(self, code: Path, queue: str) -> Program:
        program = self.start(code, "worker", STAGE_OF[queue])
        await program.says("worker ready")
        return program

    async def api(self, code: Path) -> tuple[Program, httpx.AsyncClient]:
        port = free_port()
        program = self.start(code, "api", PORT=str(port))
        client = plain_client(base_url=f"http://127.0.0.1:{port}", timeout=30)
        await until(lambda: _is_ready(program, client), 90)
        return program, client

    def kill(self) -> None:
        for program in self.running:
            program.process.kill()
            program.process.wait(10)


async def _is_ready(program: Program, client: httpx.AsyncClient) -> bool:
    assert program.process.poll() is None, program.said()
    try:
        return (await client.get("/readyz")).status_code == 200
    except httpx.TransportError:
        return False


@asynccontextmanager
async def fleet_on_release(servers: Servers, folder: Path) -> AsyncIterator[Fleet]:
    """Everything of the release: its schema, the suppliers that it found, its API and workers not yet started."""
    feed = SampleFeed(FeedSpec.small(count=1, families=40, variants=3, oddities=False))
    old = release_code(folder / "release")
    async with open_stack(
        servers, folder, feed, template="template0", concurrency_documents=2, shutdown_grace_s=GRACE_S
    ) as stack:
        fleet = Fleet(stack, folder, old)
        try:
            await fleet.run(old, "migrate")
            await fleet.run(old, "suppliers", "--discover")
            yield fleet
        finally:
            fleet.kill()


async def migrate(fleet: Fleet, folder: Path) -> None:
    """To the newest schema; where no migration has come since the release, to one of the drill's own."""
    own = OwnMigrations(folder)
    if newest_revision() == REVISION:
        added = 'op.execute("ALTER TABLE jobs ADD COLUMN of_tomorrow int NOT NULL DEFAULT 1")'
        own.add("9001", added, extra=f'works_with = "{REVISION}"')
    assert fleet.stack.settings.database_url is not None
    ended = await own.alembic(fleet.stack.settings.database_url.get_secret_value(), "upgrade", "head")
    assert ended.code == 0, ended.err
    assert await fleet.stack.value("SELECT version_num FROM alembic_version") != REVISION


async def done(stack: Stack) -> dict[str, int]:
    return {row["queue"]: row["number"] for row in await stack.rows(DONE)}


@pytest.mark.chaos
def test_the_releases_migrations_are_as_they_were_released(tmp_path: Path) -> None:
    versions = release_code(tmp_path) / "alembic" / "versions"
    changed = [
        path.name
        for path in versions.glob("*.py")
        if (ROOT / "alembic/versions" / path.name).read_bytes() != path.read_bytes()
    ]
    assert changed == [], f"{TAG} was migrated by them as they were"


@pytest.mark.chaos
async def test_the_release_is_replaced_in_the_middle_of_a_sync_and_nothing_shows_of_it(
    servers: Servers, tmp_path: Path
) -> None:
    async with fleet_on_release(servers, tmp_path) as fleet:
        stack, old = fleet.stack, fleet.old
        api, client = await fleet.api(old)
        assert (await client.get("/openapi.json")).json()["info"]["version"] == TAG.removeprefix("v")
        workers = {queue: await fleet.worker(old, queue) for queue in QUEUE_NAMES}
        stack.server.habits.latency_s = 0.5
        started = (await client.post("/api/v1/sync", json={"supplierId": "A23"})).raise_for_status().json()
        await until(lambda: _each_stage_works(stack), 90)
        stack.server.habits.latency_s = UNTIL_REPLACED_S

        await migrate(fleet, tmp_path)
        at_migration = await done(stack)
        assert await (await fleet.worker(old, "product-family")).stops() == 0  # as an autoscaler would

        new_api, new_client = await fleet.api(ROOT)
        assert (await new_client.get("/openapi.json")).json()["info"]["version"] == VERSION
        assert await api.stops() == 0, api.said()
        for queue, worker in workers.items():
            await fleet.worker(ROOT, queue)
            assert await worker.stops() == 0, worker.said()
        assert (await stack.run("A23"))["status"] in UNDER_WAY, "too quick: the sync was over before the last process"
        stack.server.habits.latency_s = 0.0
        await until(lambda: _is_over(stack), 180)
        assert (await new_client.get(f"/api/v1/queues/supplier-sync/jobs/{started['jobs'][0]['jobId']}")).json()[
            "state"
        ] == "completed"
        at_end = await done(stack)
        assert all(at_end[queue] > at_migration.get(queue, 0) for queue in QUEUE_NAMES)
        await assert_as_if_nothing_had_happened(stack)
        await assert_redis_forgets(stack)
        assert await new_api.stops() == 0
        for program in fleet.running:
            assert "Traceback" not in program.said()
        await client.aclose()
        await new_client.aclose()


async def _each_stage_works(stack: Stack) -> bool:
    """The supplier's job runs, families are written, pictures are stored."""
    finished = await done(stack)
    return finished.get("product-family", 0) > 2 and finished.get("image-upload", 0) > 2


async def _is_over(stack: Stack) -> bool:
    return (await stack.run("A23"))["status"] not in UNDER_WAY
