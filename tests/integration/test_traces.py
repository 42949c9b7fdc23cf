"""One queued sync with failures, by an API and workers of their own, as its trace, its logs and its figures tell it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from app import traces
from app.persistence import webhook_records
from app.samplefeed import FeedSpec, SampleFeed
from app.sync.upkeep.schedules import run_schedules
from tests.support.api_process import api_process
from tests.support.collector import Collector, SpanRead, collecting
from tests.support.command_line import command, environment_of
from tests.support.databases import execute
from tests.support.plain_http import plain_client
from tests.support.receiver import Receiver, free_port, listening
from tests.support.s3_servers import BUCKET, rclone_server
from tests.support.stack import Servers, Stack
from tests.support.worker_stack import until, worker_stack

TRACE, CALL = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
API_KEY = "planted-api-key-5d1c"
WEBHOOK_KEY = "whsec_cGxhbnRlZC13ZWJob29rLXNlY3JldC0x"
UNKNOWN_KEY = "planted-unknown-key-77"
HEADER = "planted-header-of-the-collector"
S3_KEY, S3_SECRET = "test-access-key", "test-secret-key"


@dataclass(frozen=True)
class Observed:
    """What was seen of the sync from outside."""

    collector: Collector
    jobs: list[dict[str, Any]]
    run: dict[str, Any]
    logs: str
    figures: str
    secrets: dict[str, str]

    def of_trace(self, name: str) -> list[SpanRead]:
        return self.collector.named(name, TRACE)

    @property
    def access(self) -> list[dict[str, Any]]:
        """The lines of the access log."""
        lines = [json.loads(line) for line in self.logs.splitlines() if line.startswith("{")]
        return [line for line in lines if line["event"] == "access"]


@pytest.fixture(scope="module")
async def observed(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Observed]:
    """A sync of four families; a document is none, a picture is gone, another one comes at the second try."""
    folder = tmp_path_factory.mktemp("observed")
    feed = SampleFeed(FeedSpec.small(count=1, families=4, variants=2))
    with rclone_server(folder / "s3") as bucket:
        async with (
            collecting() as collector,
            listening(Receiver(free_port())) as shop,
            worker_stack(
                servers,
                folder,
                feed,
                environment=_environment(collector),
                s3_endpoint_url=bucket,
                s3_bucket=BUCKET,
                s3_access_key_id=S3_KEY,
                s3_secret_access_key=S3_SECRET,
                s3_region="us-east-1",
            ) as workers,
            api_process(folder, dict(workers.environment)) as (url, _),
        ):
            stack = workers.stack
            await _add_webhook(stack, shop.url)
            _break(stack)
            workers.spawn_all()
            async with plain_client(base_url=f"{url}/api/v1", timeout=30) as http:
                await _start(http)
                (run,) = await workers.over()
                await until(lambda: shop.received)
                signature = await _visit(http)
                figures = (await http.get(f"{url}/metrics", headers={"X-API-Key": API_KEY})).text
            jobs = await stack.rows("SELECT id, queue, attempts, state, traceparent FROM jobs")
            await until(lambda: _all_told(collector, jobs))
            for worker in workers.all:
                worker.terminate()
            for worker in workers.all:
                assert await worker.exit_code() == 0
            logs = "\n".join(path.read_text() for path in folder.glob("*.log"))
            yield Observed(collector, jobs, run, logs, figures, {**_secrets(stack), "signature": signature})


def _environment(collector: Collector) -> dict[str, str]:
    return {
        "OTEL_EXPORTER_OTLP_ENDPOINT": collector.endpoint,
        "OTEL_EXPORTER_OTLP_HEADERS": f"x-collector-key={HEADER}",
        "OTEL_BSP_SCHEDULE_DELAY": "100",
        "OTEL_TRACES_SAMPLER_ARG": "0",
        "API_KEYS": f"ops:operator:{API_KEY}",
        "LOG_LEVEL": "DEBUG",
        "ACCESS_LOG": "true",
    }


async def _add_webhook(stack: Stack, url: str) -> None:
    async def insert(db: Any) -> None:
        await webhook_records.insert_webhook(
            db, url=f"{url}?token=planted-token", events=("run.finished",), secret=WEBHOOK_KEY, is_active=True
        )

    await stack.services.database.transact(insert)


def _break(stack: Stack) -> None:
    *_, last = stack.feed.entries("A23")
    stack.server.faults.add(f"*{last.file_name}", "html")
    stack.server.faults.add("picture", "status", status=404, times=1)
    stack.server.faults.add("picture", "status", status=503, times=1)


async def _start(http: httpx.AsyncClient) -> None:
    headers = {"X-API-Key": API_KEY, "X-Request-Id": "order-4711", "traceparent": f"00-{TRACE}-{CALL}-01"}
    answer = await http.post("/sync", headers=headers)
    assert answer.status_code == 202
    assert answer.headers["X-Request-Id"] == "order-4711"


async def _visit(http: httpx.AsyncClient) -> str:
    """Requests that carry what is secret where it does not belong; gives the signature of a picture's address."""
    headers = {"X-API-Key": API_KEY}
    page = (await http.get("/products", headers=headers)).json()
    sku = next(item["sku"] for item in page["items"])
    product = (await http.get(f"/products/{sku}", headers=headers)).text
    address = next(part for part in product.split('"') if "X-Amz-Signature" in part)
    (signature,) = parse_qs(urlsplit(address).query)["X-Amz-Signature"]
    await http.get("/products", headers=headers, params={"X-Amz-Signature": signature, "api_key": API_KEY})
    await http.get("/products", headers={"X-API-Key": UNKNOWN_KEY})
    await http.get("/products", headers={"Authorization": f"Bearer {UNKNOWN_KEY}"})
    return signature


def _all_told(collector: Collector, jobs: list[dict[str, Any]]) -> bool:
    """Whether the spans of all jobs, and the last request's, have arrived."""
    told = {span["job"] for span in collector.spans if span.name.endswith(" job")}
    return told >= {job["id"] for job in jobs} and bool(collector.named("POST /api/v1/sync"))


def _secrets(stack: Stack) -> dict[str, str]:
    settings = stack.settings
    assert settings.database_url is not None
    assert settings.redis_url is not None
    return {
        "profile": stack.feed.spec.profile_guid,
        "database": urlsplit(settings.database_url.get_secret_value()).password or "",
        "redis": urlsplit(settings.redis_url.get_secret_value()).password or "",
        "s3 key": S3_KEY,
        "s3 secret": S3_SECRET,
        "api key": API_KEY,
        "unknown key": UNKNOWN_KEY,
        "webhook": WEBHOOK_KEY,
        "webhook address": "planted-token",
        "collector": HEADER,
    }


def test_one_trace_goes_from_the_call_through_supplier_families_and_pictures_to_the_last_put(
    observed: Observed,
) -> None:
    (call,) = observed.of_trace("POST /api/v1/sync")
    (start,) = observed.of_trace("sync start")
    (supplier,) = observed.of_trace("supplier job")
    families, images = observed.of_trace("family job"), observed.of_trace("image job")
    assert (call.parent, start.parent, supplier.parent) == (CALL, call.id, start.id)
    assert {span.parent for span in families} == {supplier.id}
    assert {span.parent for span in images} <= {span.id for span in families}
    assert {span["job"] for span in [supplier, *families, *images]} == {job["id"] for job in observed.jobs}
    for name in ("manifest fetch", "document fetch"):
        assert {span.parent for span in observed.of_trace(name)} == {supplier.id}, name
    for name in ("download", "inspect", "put"):
        assert {span.parent for span in observed.of_trace(name)} <= {span.id for span in images}, name
    assert len(observed.of_trace("put")) == observed.run["images_uploaded"]
    assert {span.program for span in (call, supplier, families[0], images[0])} == {
        "api",
        "worker supplier",
        "worker family",
        "worker image",
    }


def test_what_is_committed_together_is_linked_to_each_of_its_jobs(observed: Observed) -> None:
    completed = {span.id for span in observed.collector.spans if span["outcome"] == "completed" and span["attempt"]}
    commits = observed.of_trace("batch commit")
    linked = {link for span in commits for link in span.links}
    (supplier,) = observed.of_trace("supplier job")
    assert completed - {supplier.id} <= linked
    assert all(span.parent == span.links[0] for span in commits)
    assert all(len(span.links) == (span["families"] or span["images"]) for span in commits)


def test_every_attempt_is_a_span_of_the_same_trace_and_says_what_became_of_it(observed: Observed) -> None:
    outcomes: dict[str, list[tuple[int, str]]] = {}
    for span in observed.of_trace("image job"):
        outcomes.setdefault(span["job"], []).append((span["attempt"], span["outcome"]))
    told = Counter(tuple(sorted(each)) for each in outcomes.values())
    assert told[((1, "failed"),)] == 1
    assert told[((1, "delayed"), (2, "completed"))] == 1
    assert set(told) == {((1, "failed"),), ((1, "delayed"), (2, "completed")), ((1, "completed"),)}
    assert Counter(span.failed for span in observed.of_trace("document fetch"))[True] == 1


def test_spans_say_run_job_supplier_sku_and_bytes_and_a_call_its_route_and_key(observed: Observed) -> None:
    run = str(observed.run["id"])
    for span in [*observed.of_trace("supplier job"), *observed.of_trace("family job"), *observed.of_trace("image job")]:
        assert (span["run"], span["supplier"]) == (run, "A23")
    assert all(span["sku"] for span in observed.of_trace("family job"))
    assert all(span["bytes"] > 0 for span in observed.of_trace("put"))
    (call,) = observed.of_trace("POST /api/v1/sync")
    assert (
        call.attributes.items()
        >= {
            "http.request.method": "POST",
            "http.route": "/api/v1/sync",
            "http.response.status_code": 202,
            "promidata.request": "order-4711",
            "promidata.key": "ops",
        }.items()
    )


def test_only_what_the_caller_sampled_is_told_at_a_ratio_of_nought(observed: Observed) -> None:
    assert {span.trace for span in observed.collector.spans} == {TRACE}


def test_a_line_that_is_logged_in_a_job_carries_run_job_and_trace(observed: Observed) -> None:
    lines = [json.loads(line) for line in observed.logs.splitlines() if '"attempt spent"' in line]
    assert Counter(line["outcome"] for line in lines) == {"failed": 1, "delayed": 1}
    pictures = {job["id"] for job in observed.jobs if job["queue"] == "image-upload"}
    for line in lines:
        assert (line["run"], line["trace"]) == (str(observed.run["id"]), TRACE)
        assert line["job"] in pictures


def test_the_access_log_has_a_line_a_request(observed: Observed) -> None:
    (sync,) = [line for line in observed.access if line["route"] == "/api/v1/sync"]
    duration_ms, timestamp = sync.pop("duration_ms"), sync.pop("timestamp")
    assert duration_ms > 0
    assert timestamp
    assert sync.pop("bytes") > 0
    assert sync == {
        "event": "access",
        "level": "info",
        "method": "POST",
        "route": "/api/v1/sync",
        "path": "/api/v1/sync",
        "status": 202,
        "client": "127.0.0.1",
        "key": "ops",
        "request": "order-4711",
        "trace": TRACE,
    }
    unknown = [line for line in observed.access if line["status"] == 401]
    assert [(line["route"], line["key"]) for line in unknown] == [("/api/v1/products", None)] * 2
    assert "/api/v1/products/{sku}" in {line["route"] for line in observed.access}


def test_no_secret_is_in_logs_spans_or_figures(observed: Observed) -> None:
    assert all(header["x-collector-key"] == HEADER for header in observed.collector.headers)
    spans = b"\n".join(observed.collector.bodies).decode(errors="replace")
    assert "promidata.outcome" in spans
    assert "promidata_" in observed.figures
    assert '"level": "debug"' in observed.logs or '"level": "info"' in observed.logs
    for kind, secret in observed.secrets.items():
        assert secret, kind
        for place, text in {"spans": spans, "logs": observed.logs, "figures": observed.figures}.items():
            assert secret not in text, f"{kind} in {place}"


async def test_a_command_and_a_schedule_begin_a_trace_of_their_own(stack: Stack, tmp_path: Path) -> None:
    async with collecting() as collector:
        env = environment_of(stack) | {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.endpoint}
        ended = await command(tmp_path, env, "sync", "A23", "--direct", "--json")
        settings = stack.settings.model_copy(update={"otel_exporter_otlp_endpoint": collector.endpoint})
        await execute(
            env["DATABASE_URL"],
            """UPDATE suppliers SET schedule = '*/5 * * * *', time_zone = 'UTC', next_run_at = now() - interval '1 s'
            WHERE code = 'A360'""",
        )
        async with traces.exporting(settings, "test"):
            await run_schedules(stack.services)
    assert ended.code == 0, ended.err
    assert ended.err == ""
    (called,) = collector.named("command sync")
    by_command, by_schedule = collector.named("sync start")
    assert (called.parent, by_command.parent, by_schedule.parent) == ("", called.id, "")
    assert [span["trigger"] for span in (by_command, by_schedule)] == ["cli", "schedule"]
    (supplier,) = collector.named("supplier job")
    assert (supplier.trace, supplier.parent) == (called.trace, by_command.id)
    assert {span.trace for span in collector.named("put")} == {called.trace}
    (job,) = await stack.rows("SELECT traceparent FROM jobs WHERE run_id = :run", run=by_schedule["run"])
    assert job["traceparent"].startswith(f"00-{by_schedule.trace}-{by_schedule.id}-")
