"""A worker that starts while PostgreSQL or Redis is away waits for it, and says so; a wrong setting still ends it."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from app.samplefeed import FeedSpec, SampleFeed
from tests.integration.test_stock_arq import arq_worker
from tests.support.stack import Servers, own_postgres, own_valkey, postgres_again, valkey_again
from tests.support.truth import assert_as_if_nothing_had_happened
from tests.support.worker_stack import Workers, until, worker_stack
from workers import probe

WAITS = "waiting for a part of ours"
ONE_FAMILY = SampleFeed(FeedSpec.small(count=1, families=1, variants=1))


@pytest.fixture
async def workers(servers: Servers, tmp_path: Path) -> AsyncIterator[Workers]:
    async with worker_stack(servers, tmp_path) as opened:
        yield opened


@pytest.fixture
def addresses() -> Iterator[dict[str, str]]:
    """Where nobody is, by how that shows."""
    with socket.socket() as silent, socket.socket() as closed:
        for bound in (silent, closed):
            bound.bind(("127.0.0.1", 0))
        silent.listen(16)
        yield {
            "refuses": f"127.0.0.1:{closed.getsockname()[1]}",
            "is silent": f"127.0.0.1:{silent.getsockname()[1]}",
            "has no address": "nowhere.invalid",
        }


async def test_it_waits_for_postgresql_and_works_when_that_is_there(servers: Servers, tmp_path: Path) -> None:
    pulse = tmp_path / "pulse"
    async with own_postgres(servers, tmp_path / "postgres") as own, worker_stack(own, tmp_path, ONE_FAMILY) as workers:
        own.postgres.stop()
        waiting = workers.spawn_all()
        probed = workers.spawn("supplier-sync", WORKER_PROBE_FILE=str(pulse))
        for worker in workers.all:
            await until(lambda worker=worker: WAITS in worker.said())  # type: ignore[misc]
            assert "worker ready" not in worker.said()
        assert probe.pulse_complaint(str(pulse)) is None
        probed.terminate()
        assert await probed.exit_code() == 0
        postgres_again(own, tmp_path / "postgres")
        await workers.ready(waiting)
        for worker in waiting:
            assert "a part of ours is back" in worker.said()
        await workers.start()
        await workers.over()
        await assert_as_if_nothing_had_happened(workers.stack)


@pytest.mark.parametrize("how", ["refuses", "is silent", "has no address"])
async def test_it_stops_while_it_waits(workers: Workers, tmp_path: Path, addresses: dict[str, str], how: str) -> None:
    pulse, place = tmp_path / "pulse", addresses[how]
    url = f"postgresql://u:hunter2@{place}/shop?connect_timeout=1"
    worker = workers.spawn("image-upload", DATABASE_URL=url, WORKER_PROBE_FILE=str(pulse))
    await until(lambda: WAITS in worker.said())
    worker.terminate()
    assert await worker.exit_code() == 0, worker.said()
    said = worker.said()
    assert "worker stopped" in said
    assert place in said
    assert not pulse.exists()
    for unwanted in ("Traceback", "hunter2", "never retrieved"):
        assert unwanted not in said


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        ("//{user}:{password}@", "//{user}:hunter2@", "correct user and password in DATABASE_URL"),
        ("/{database}?", "/nothing_here?", "create the database, or correct its name in DATABASE_URL"),
        ("?", "?sslmode=require", "use sslmode=prefer in DATABASE_URL"),
    ],
    ids=["password", "database", "TLS"],
)
async def test_a_wrong_setting_ends_it_with_one_line(workers: Workers, before: str, after: str, words: str) -> None:
    url = workers.environment["DATABASE_URL"]
    parts = urlsplit(url)
    names = {"user": parts.username, "password": parts.password, "database": parts.path[1:]}
    wrong = f"{url}?".replace(before.format(**names), after.format(**names))
    worker = workers.spawn("product-family", DATABASE_URL=wrong)
    assert await worker.exit_code() == 1
    (line,) = worker.said().splitlines()
    assert line.startswith("promidata-sync worker: PostgreSQL at 127.0.0.1:")
    assert words in line
    assert "hunter2" not in line


async def test_it_waits_for_redis_and_works_when_that_is_there(servers: Servers, tmp_path: Path) -> None:
    with own_valkey(servers, tmp_path / "valkey") as own:
        async with worker_stack(own, tmp_path, ONE_FAMILY) as workers:
            own.valkey.stop()
            waiting = workers.spawn_all()
            stopped = workers.spawn("supplier-sync")
            for worker in workers.all:
                await until(lambda worker=worker: "Redis is away; waiting for it" in worker.said())  # type: ignore[misc]
            stopped.terminate()
            assert await stopped.exit_code() == 0, stopped.said()
            valkey_again(own, tmp_path / "valkey")
            await workers.ready(waiting)
            await workers.start()
            await workers.over()
            await assert_as_if_nothing_had_happened(workers.stack)


async def test_under_arqs_own_command_it_waits_and_stops_too(
    workers: Workers, tmp_path: Path, addresses: dict[str, str]
) -> None:
    workers.environment = {
        **workers.environment,
        "DATABASE_URL": f"postgresql://u:hunter2@{addresses['refuses']}/shop",
    }
    log = tmp_path / "supplier.log"
    with arq_worker(workers, tmp_path, "supplier") as process:
        await until(lambda: log.exists() and WAITS in log.read_text())
    assert process.exitcode == 0, log.read_text()
    assert "Traceback" not in log.read_text()
