"""Traces without a sync: off, sampled or not, a collector that is away, a package that is missing."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from opentelemetry.exporter.otlp.proto.common import trace_encoder
from opentelemetry.exporter.otlp.proto.http import trace_exporter
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from app import traces
from app.logs import configure_logs
from app.persistence.ledger import ClaimedJob, RunOptions
from app.settings import Settings
from app.sync.running.attempts import attempt_at
from app.traces.encoding import encode_spans
from tests.support.collector import Collector, collecting
from tests.support.receiver import free_port

TRACE, CALL = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
NOT_OURS: Any = b"bytes"
OFF = """
import asyncio, sys
import app.main, workers.start
from app import traces
from app.settings import Settings

async def work():
    async with traces.exporting(Settings(_env_file=None), "api"):
        with traces.span("supplier job", parent="00-{trace}-{call}-01", job="j") as span:
            assert span.traceparent is None and traces.trace_id() is None

asyncio.run(work())
unwanted = ("opentelemetry.sdk", "opentelemetry.exporter", "google.protobuf")
loaded = [name for name in sys.modules if name.startswith(unwanted)]
assert not loaded, loaded
"""


def settings_of(endpoint: str, ratio: float = 1.0) -> Settings:
    return Settings(_env_file=None, otel_exporter_otlp_endpoint=endpoint, otel_traces_sampler_arg=ratio)


def job_of(traceparent: str | None) -> ClaimedJob:
    return ClaimedJob(
        "job-1",
        "image-upload",
        "run-1",
        1,
        None,
        {},
        False,
        0,
        0,
        uuid4(),
        RunOptions(),
        supplier="A23",
        traceparent=traceparent,
    )


def test_without_an_endpoint_nothing_of_the_sdk_is_imported(tmp_path: Path) -> None:
    program = OFF.format(trace=TRACE, call=CALL)
    subprocess.run([sys.executable, "-c", program], check=True, env={"PYTHONPATH": str(Path.cwd())}, cwd=tmp_path)


async def test_a_job_of_a_trace_that_is_not_sampled_hands_it_on_and_tells_nothing() -> None:
    unsampled = f"00-{TRACE}-{CALL}-00"
    async with collecting() as collector, traces.exporting(settings_of(collector.endpoint), "test"):
        with attempt_at(job_of(unsampled)) as (mine, _):
            assert mine.traceparent == unsampled
            assert traces.trace_id() == TRACE
            with traces.span("download", url="https://a.example/b") as within:
                assert within.traceparent == unsampled
                assert traces.span("inspect") is within, "a piece of work was given something of its own"
        with traces.span("batch commit", batch=[unsampled, None]):
            pass
    assert collector.spans == []


@pytest.mark.parametrize("ratio", [0.0, 1.0])
async def test_the_ratio_decides_for_what_comes_without_a_trace_and_a_callers_decision_stands(ratio: float) -> None:
    async with collecting() as collector, traces.exporting(settings_of(collector.endpoint, ratio), "test"):
        for parent in (None, f"00-{TRACE}-{CALL}-01", "no traceparent"):
            with attempt_at(job_of(parent)) as (mine, _), traces.span("put"):
                assert mine.traceparent is not None
                sampled = int(mine.traceparent[-2:], 16) & 1
                assert sampled == (1 if ratio or parent == f"00-{TRACE}-{CALL}-01" else 0)
    assert names_by_trace(collector).pop(TRACE) == ["image job", "put"]
    assert list(names_by_trace(collector).values()).count(["image job", "put"]) == (3 if ratio else 1)


async def test_spans_are_encoded_as_the_exporters_own_encoder_would(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[ReadableSpan] = []
    monkeypatch.setattr(BatchSpanProcessor, "on_end", lambda _, span: given.append(span))
    async with traces.exporting(settings_of("http://127.0.0.1:9"), "test"):
        with attempt_at(job_of(f"00-{TRACE}-{CALL}-01")) as (mine, span):
            span.note(outcome="ä", share=0.5, late=True, deaths=-1)
            span.failed("word")
            with traces.span("batch commit", batch=[mine.traceparent, f"00-{TRACE}-{CALL}-01", None, "odd"]):
                pass
        with traces.span("GET", parent="", kind="server", url="https://u:p@a.example/b", body=NOT_OURS):
            pass
    assert len(given) == 3
    for spans in (given[:2], given):  # the last has what only the exporter's own knows
        assert encode_spans(spans) == trace_encoder.encode_spans(spans)
    assert vars(trace_exporter)["encode_spans"] is encode_spans


async def test_the_sdk_can_be_switched_off_by_its_own_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    async with collecting() as collector, traces.exporting(settings_of(collector.endpoint), "test"):
        with traces.span("put") as span:
            assert span.traceparent is None
    assert collector.spans == []


def names_by_trace(collector: Collector) -> dict[str, list[str]]:
    by_trace: dict[str, list[str]] = {}
    for span in collector.spans:
        by_trace[span.trace] = sorted([*by_trace.get(span.trace, []), span.name])
    return by_trace


async def test_a_collector_that_is_away_costs_spans_and_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs("DEBUG")
    async with traces.exporting(settings_of(f"http://127.0.0.1:{free_port()}"), "test"):
        for _ in range(5000):
            with traces.span("put", bytes=1):
                pass
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    told = [line for line in lines if line.get("part") == "the collector of traces"]
    assert lines == told
    assert len(told) == 1


async def test_a_missing_package_is_told_in_one_line_that_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    configure_logs()
    monkeypatch.delitem(sys.modules, "app.traces.exporter", raising=False)
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    async with traces.exporting(settings_of("http://127.0.0.1:4318"), "test"):
        with traces.span("put") as span:
            assert span.traceparent is None
    (line,) = capsys.readouterr().err.splitlines()
    assert "OTEL_EXPORTER_OTLP_ENDPOINT" in line
    assert "pip install 'promidata-sync[traces]'" in line


async def test_a_job_without_a_trace_begins_one_whatever_goes_on_around_it() -> None:
    async with collecting() as collector, traces.exporting(settings_of(collector.endpoint), "test"):
        with attempt_at(job_of(f"00-{TRACE}-{CALL}-01")), attempt_at(job_of(None)):
            assert traces.trace_id() != TRACE
    assert sorted(span.parent for span in collector.spans) == ["", CALL]


async def test_what_is_logged_in_a_job_carries_the_ids_of_run_job_and_trace(
    capsys: pytest.CaptureFixture[str],
) -> None:
    configure_logs()
    async with collecting() as collector, traces.exporting(settings_of(collector.endpoint), "test"):
        with attempt_at(job_of(f"00-{TRACE}-{CALL}-01")):
            traces.log.warning("something odd")
        traces.log.warning("of no job")
    inside, outside = (json.loads(line) for line in capsys.readouterr().err.splitlines())
    assert (inside["run"], inside["job"], inside["trace"]) == ("run-1", "job-1", TRACE)
    assert outside.keys().isdisjoint({"run", "job", "trace"})
