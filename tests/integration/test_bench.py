"""The bench's code still runs: no figure is looked at here, since a test that measures time fails on a busy machine."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from app.jobs.definitions import QUEUES
from app.sync.operating.discovery import discover
from bench import families, parsing
from bench import ground as real_parts
from bench.collector import collecting
from bench.drawing import draw
from bench.observed_picture import Told
from bench.plots import Kind, Plot, by_program
from bench.reference import Reference
from bench.report import Figure, page
from bench.sync import Size, bound_s, measure_sync
from tests.support.stack import Servers


async def test_a_sync_is_measured_from_outside_and_from_within_its_workers(servers: Servers, tmp_path: Path) -> None:
    size = Size(families=2, variants=2, pictures=2, small=True)
    with real_parts.serving_feed(*size.options()) as feed:
        parts = real_parts.Servers(servers.postgres, servers.valkey, tmp_path)
        async with real_parts.fresh_ground(parts, feed.base_url) as ground:
            await discover(ground.services)
            measured = await measure_sync(ground, feed, QUEUES, "--sample", "--count")
    assert measured.requests == {"manifest": 1, "category": 1, "document": 2, "picture": 8}
    assert measured.run["images_uploaded"] == 8
    for queue in QUEUES:
        told = measured.told[queue]
        assert measured.costs[queue].cpu_s > 0
        assert 10 < measured.costs[queue].peak_mb < 1_000
        assert told["trips"]["postgres"] > 0
        assert told["trips"]["redis"] > 0
        assert sum(told["parts"].values()) <= told["cpu_s"] + 0.5
    assert measured.costs["PostgreSQL"].peak_mb > 10


def test_what_is_told_of_a_picture_is_measured_by_itself() -> None:
    with collecting() as endpoint:
        told_us = Told(endpoint, pictures=20).us()
    assert told_us.keys() == {"metrics", "traces, not sampled", "traces, sampled"}
    assert told_us["traces, sampled"] > 0


def test_the_bound_is_given_by_latency_and_by_the_cpu_of_the_bare_loop() -> None:
    reference = Reference(100, 1_000, document_cpu_s=0.01, picture_cpu_s=0.002, origin_cpu_s=1.0)
    bounds = bound_s(reference, latency_s=0.02)
    assert bounds["documents, latency"] == 100 * 0.02 / 10
    assert bounds["pictures, latency"] == 1_000 * 0.02 / 10
    assert bounds["pictures, CPU"] < bounds["pictures, latency"]


def test_a_report_holds_each_figure_beside_its_goal() -> None:
    section = parsing.measure(quick=True)
    section.figures.append(Figure("F0", "a figure", "2.0", "<= 1.0", reached=False))
    section.plots.append(Plot("time", "Time of it", "s", ["a"], {"wall": [1.0]}))
    text = page([section], "python -m bench parsing", "2026-01-01-parsing")
    assert "| F0 | a figure | 2.0 | <= 1.0 | **missed** |" in text
    assert "| document | msgspec | orjson |" in text
    assert "![Time of it; s](2026-01-01-parsing-time.svg)" in text


@pytest.mark.parametrize("kind", ["bars", "stacked", "lines"])
def test_the_same_values_are_drawn_to_the_same_file_on_any_day(kind: Kind, tmp_path: Path) -> None:
    series = {"PostgreSQL": [0.0, 12.34], "goal": [15.0, 15.0]}
    for name in ("one.svg", "two.svg"):
        draw(Plot("cpu", "CPU of it", "CPU seconds", ["cold", "warm"], series, kind, "sync"), tmp_path / name)
    drawn = (tmp_path / "one.svg").read_text()
    assert drawn == (tmp_path / "two.svg").read_text()
    assert not re.search(r"<!--|<script|chart-[0-9a-f]{8}-|202\d-", drawn)
    texts = {" ".join(text.split()) for text in ET.fromstring(drawn).itertext()}
    assert {"CPU of it", "CPU seconds", "cold", "warm", "PostgreSQL", "goal"} <= texts


def test_workers_of_one_queue_are_drawn_as_one() -> None:
    costs = {"cold": {"image-upload": 1.0, "image-upload 2": 2.0, "Valkey": 0.5}, "warm": {"Valkey": 0.25}}
    assert by_program("CPU", costs, name="cpu", unit="s").series == {"image-upload": [3.0, 0.0], "Valkey": [0.5, 0.25]}


def test_the_cost_of_one_family_more_leaves_out_what_a_sync_costs_by_itself() -> None:
    assert families.marginal((100, 1_000, 10_000), [2.0, 6.5, 51.5]) == (0.005, 0.005)
