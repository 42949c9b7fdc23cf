"""What Prometheus reads of real processes: the run's own numbers, each worker on a port, every label bounded."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import text

from app.errors import OriginUnavailable, SettingsError
from app.metrics import traffic, work
from app.metrics.bounded import BoundedLabel
from app.metrics.listening import open_metrics
from app.metrics.registry import REGISTRY
from app.persistence.after_commit import after_commit
from app.samplefeed import FeedSpec, SampleFeed
from tests.support.api_client import api_client
from tests.support.prometheus import expressions
from tests.support.receiver import free_port
from tests.support.scraped import Samples, metrics_address, parse, scrape
from tests.support.stack import Servers, Stack, own_valkey
from tests.support.worker_stack import Workers, until, worker_stack

SUMMARY = {f"{group}_{outcome}" for group, (_, outcomes) in work.ITEMS.items() for outcome in outcomes}


@pytest.fixture(scope="module")
async def synced(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[tuple[Workers, Samples]]:
    """A queued sync of two suppliers by four workers that were given one METRICS_PORT; and their samples, added up."""
    first = free_port()
    feed = SampleFeed(FeedSpec.small(count=2, families=4, variants=3))
    folder = tmp_path_factory.mktemp("metrics")
    # a Valkey of their own: a stack of another test empties the session's
    with own_valkey(servers, folder / "valkey") as own:
        async with worker_stack(own, folder, feed, metrics_port=first) as workers:
            broken = next(iter(feed.entries("A23"))).path
            workers.stack.server.faults.add(f"*{broken}", "status", status=404)
            workers.spawn_all()
            workers.spawn("image-upload")
            await workers.ready()
            await workers.start()
            await workers.over()
            addresses = [f"http://{metrics_address(worker)}" for worker in workers.all]
            assert len(set(addresses)) == 4
            await until(lambda: all_counted(workers, addresses))
            yield workers, await scrape(*addresses)


async def all_counted(workers: Workers, addresses: list[str]) -> bool:
    """A job's and a run's end can be read a moment before its process has counted it."""
    samples = await scrape(*addresses)
    completed = sum(
        number for name, number in samples.items() if name.startswith('promidata_job_seconds_count{outcome="completed"')
    )
    jobs = await workers.stack.value("SELECT count(*) FROM jobs WHERE state = 'completed'")
    runs = sum(number for name, number in samples.items() if name.startswith("promidata_run_seconds_count"))
    return (completed, runs) == (jobs, 2)


async def test_all_workers_together_have_the_values_of_the_runs_summaries(synced: tuple[Workers, Samples]) -> None:
    workers, samples = synced
    runs = await workers.stack.rows("SELECT * FROM runs")
    assert {run["status"] for run in runs} == {"completed", "completed_with_errors"}
    summed = Counter({name: sum(run[name] for run in runs) for name in SUMMARY})
    counted = {
        f"{group}_{outcome}": samples[f'{counter._name}_total{{outcome="{outcome}"}}']
        for group, (counter, outcomes) in work.ITEMS.items()
        for outcome in outcomes
    }
    assert counted == summed
    assert summed["documents_failed"] == 1
    assert summed["images_uploaded"] > 0


async def test_jobs_are_counted_by_queue_with_how_long_they_took_and_waited(synced: tuple[Workers, Samples]) -> None:
    workers, samples = synced
    jobs = await workers.stack.rows("SELECT queue, count(*) AS number FROM jobs GROUP BY queue")
    for job in jobs:
        ended = f'promidata_job_seconds_count{{outcome="completed",queue="{job["queue"]}"}}'
        assert samples[ended] == job["number"]
        assert samples[f'promidata_job_wait_seconds_count{{queue="{job["queue"]}"}}'] >= job["number"]


async def test_what_went_out_is_counted_by_host_and_kind(synced: tuple[Workers, Samples]) -> None:
    workers, samples = synced
    asked = workers.stack.server.log.counts
    for kind in ("document", "picture"):
        counted = [
            value
            for name, value in samples.items()
            if name.startswith("promidata_origin_requests_total") and f'kind="{kind}"' in name
        ]
        assert sum(counted) == asked[kind] > 0
    assert samples['promidata_origin_requests_total{host="127.0.0.1",kind="document",outcome="refused"}'] == 1
    assert samples['promidata_store_request_seconds_count{host="local",operation="put"}'] > 0
    assert samples['promidata_store_bytes_total{host="local",operation="put"}'] > 1000


async def test_the_api_tells_of_queues_suppliers_and_workers(synced: tuple[Workers, Samples]) -> None:
    workers, _ = synced
    async with api_client(workers.stack.settings) as api:
        samples = parse((await api.http.get("/metrics")).text)
    assert samples['promidata_workers{queue="image-upload"}'] == 2
    assert samples['promidata_worker_slots{queue="image-upload",state="all"}'] == 20
    assert {samples[f'promidata_part_up{{part="{part}"}}'] for part in ("database", "redis", "storage")} == {1}
    (success, *_) = await workers.stack.rows(
        "SELECT s.code, extract(epoch FROM r.finished_at) AS at FROM runs r JOIN suppliers s ON s.id = r.supplier_id"
    )
    shown = samples[f'promidata_supplier_last_success_timestamp_seconds{{supplier="{success["code"]}"}}']
    assert shown == pytest.approx(float(success["at"]), abs=0.01)
    assert samples["promidata_changes_head"] > 0


async def test_ages_begin_with_the_oldest_job_and_end_with_it(stack: Stack) -> None:
    await stack.services.database.transact(lambda db: db.execute(text("UPDATE queues SET paused = true")))
    async with api_client(stack.settings) as api:
        await api.post("/sync", {"supplierId": "A23"}, expect=202)
        await stack.services.database.transact(
            lambda db: db.execute(text("UPDATE jobs SET created_at = created_at - interval '1 hour'"))
        )
        await stack.services.database.transact(
            lambda db: db.execute(text("UPDATE runs SET created_at = created_at - interval '2 hours'"))
        )
        samples = parse((await api.http.get("/metrics")).text)
    assert samples['promidata_queue_oldest_seconds{queue="supplier-sync",state="waiting"}'] >= 3600
    assert samples['promidata_queue_oldest_seconds{queue="product-family",state="waiting"}'] == 0
    assert samples['promidata_supplier_run_seconds{supplier="A23"}'] >= 7200
    assert samples['promidata_queue_paused{queue="supplier-sync"}'] == 1


async def test_what_is_rolled_back_is_not_counted(stack: Stack) -> None:
    called: list[str] = []

    async def roll_back() -> None:
        async with stack.services.database.begin() as db:
            after_commit(db, lambda: called.append("rolled back"))
            raise LookupError

    with pytest.raises(LookupError):
        await roll_back()
    async with stack.services.database.begin() as db:
        after_commit(db, lambda: called.append("committed"))
        assert called == []
    assert called == ["committed"]


def test_a_feed_that_names_a_thousand_hosts_makes_no_more_series_than_its_bound(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(traffic, "_hosts", BoundedLabel(traffic.MOST_HOSTS))
    for number in range(1_000):
        with pytest.raises(OriginUnavailable), traffic.OutboundRequest(f"h{number}.bounded.example", "picture"):
            raise OriginUnavailable("away")
    named = {
        sample.labels["host"]
        for family in REGISTRY.collect()
        if family.name == "promidata_origin_requests"
        for sample in family.samples
        if "bounded.example" in sample.labels["host"]
    }
    assert len(named) == traffic.MOST_HOSTS
    assert REGISTRY.get_sample_value(
        "promidata_origin_requests_total", {"host": "other", "kind": "picture", "outcome": "unavailable"}
    ) == pytest.approx(1_000 - traffic.MOST_HOSTS)


async def test_alerts_and_dashboard_name_nothing_that_is_not_there(synced: tuple[Workers, Samples]) -> None:
    workers, samples = synced
    async with api_client(workers.stack.settings) as api:
        await api.get("//healthz")
        shown = {*samples, *parse((await api.http.get("/metrics")).text)}
    there = {name.partition("{")[0] for name in shown}
    named = {name for expression in expressions() for name in re.findall(r"\b(?:promidata|process)_\w+", expression)}
    assert len(named) > 30
    assert named <= there


async def test_no_label_holds_what_a_run_a_job_or_an_address_is_called(synced: tuple[Workers, Samples]) -> None:
    workers, samples = synced
    secrets = [workers.stack.settings.base_url.rpartition("/")[2]]
    secrets += [str(row["id"]) for row in await workers.stack.rows("SELECT id FROM runs UNION ALL SELECT id FROM runs")]
    secrets += [str(row["sku"]) for row in await workers.stack.rows("SELECT sku FROM products")]
    assert not [name for name in samples if any(secret in name for secret in secrets)]


async def test_a_port_that_cannot_be_listened_on_is_told_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"METRICS_PORT: cannot listen on 203\.0\.113\.1:9464"):
        async with open_metrics("203.0.113.1", 9464, "image-upload"):
            raise AssertionError
