"""What a run that is followed waits for, and how fast it goes: said in lines, from what the ledger and Redis know."""

from __future__ import annotations

import re

import pytest
from sqlalchemy import text

from app.cli.named import read_runs
from app.cli.run_tables import line_of
from app.cli.waits import look_for_waits
from app.jobs.definitions import IMAGE_UPLOAD
from app.sync.operating.by_hand import pause
from app.sync.operating.start import StartRequest, start_queued
from tests.support.stack import Stack

MOVE_ON = """
UPDATE runs SET status = 'running', started_at = clock_timestamp() - interval '10 s', manifest_new = 40,
    documents_fetched = 20, families_total = 10, families_completed = 10, images_total = 0 WHERE id = :run
"""
DELAYED = """
INSERT INTO jobs (id, queue, run_id, supplier_id, key, args, state, attempts, run_at, error)
SELECT 'image-upload-' || n, 'image-upload', r.id, r.supplier_id, CAST(n AS text), '{}', 'delayed', 2,
    clock_timestamp() + n * interval '1 min', 'http://origin.example/' || n || '.jpg answered 503'
FROM runs r, generate_series(1, 3) n WHERE r.id = :run
"""


async def test_a_watched_run_says_its_rate_its_attempts_and_what_it_waits_for(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", ["promidata-sync"])
    (started,) = await start_queued(stack.services, StartRequest("A23"))
    async with stack.services.database.begin() as db:
        await db.execute(text(MOVE_ON), {"run": started.run_id})
        await db.execute(text(DELAYED), {"run": started.run_id})
    await pause(stack.services, IMAGE_UPLOAD)
    runs = await read_runs(stack.services, [started.run_id])
    told = re.match(
        r"A23: running, documents 20/40 \((.+)/s (\d+) s left\), families 10/10, pictures 0/0", line_of(runs[0])
    )
    assert told is not None, line_of(runs[0])
    assert 0 < float(told[1]) <= 2.0  # it began ten seconds ago, or more on a busy machine
    assert int(told[2]) >= 10
    lines = await look_for_waits(stack.services, runs)
    assert lines[:4] == [
        "image jobs are paused: `promidata-sync resume image` lets them go on",
        "no worker lives for supplier jobs: `promidata-sync worker supplier` starts one",
        "no worker lives for family jobs: `promidata-sync worker family` starts one",
        "no worker lives for image jobs: `promidata-sync worker image` starts one",
    ]
    begun, _, rest = lines[4].partition(", next in ")
    assert begun == "A23: 3 image jobs wait for another try"
    assert rest.partition(", ")[2] == "attempt 3 of 3: http://origin.example/1.jpg answered 503"
    await stack.services.database.transact(lambda db: db.execute(text("UPDATE runs SET finished_at = now()")))
    assert await look_for_waits(stack.services, await read_runs(stack.services, [started.run_id])) == []


async def test_followed_runs_come_in_the_order_in_which_they_are_named(stack: Stack) -> None:
    ids = [run.run_id for run in await start_queued(stack.services, StartRequest())]
    assert len(ids) > 1
    for named in (ids, ids[::-1], [f"urn:uuid:{ids[0].upper()}"]):
        wanted = [run_id.lower().removeprefix("urn:uuid:") for run_id in named]
        assert [run.id for run in await read_runs(stack.services, named)] == wanted
