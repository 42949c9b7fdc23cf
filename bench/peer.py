"""The same cold syncs on BullMQ and Node.js (bench/peer/), in turn with ours, on the same servers and the same bucket.

a shape ─▶ its feed, asked for everything once ─▶ rounds of (ours, the peer's) ─▶ ratio of the walls by round
    a sync: empty database, Redis and bucket, new worker processes, from the supplier's job to the last picture

The peer does what a sync must do and no more: read the manifest, fetch, upsert a family in a transaction, fetch, hash,
store and link each picture, with BullMQ's queues, pg, Node's own fetch and the AWS SDK; as many processes and slots as
ours. It judges no picture, keeps no raw document, no history and no change feed, and fences nothing.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import shutil
import signal
import statistics
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from app.cli.die_with_parent import wrap
from bench.bucket import ACCESS_KEY, NAME, SECRET_KEY, serving_bucket
from bench.ground import Feed, Process, Servers, emptied_redis, execute, named, plain_url, serving_feed
from bench.meters import Cost, CostMeter
from bench.plots import Plot
from bench.report import Figure, Section, Table
from bench.shapes import QUICK, SHAPES, Choice, Shape, sync_of_ours
from bench.sync import reference_of, spread

FOLDER = Path(__file__).parent / "peer"
GOALS = {"medium": 1.3, "medium-near": 1.1, "small": 1.2}
"""Times the peer's speed: issue 12's aims."""
STAGES = {"supplier-sync": "supplier", "product-family": "family", "image-upload": "image"}
RUN_WITHIN_S = 600.0
_numbers = itertools.count(1)


@dataclass(frozen=True)
class Round:
    """Ours and the peer's, one after the other."""

    ours_wall_s: float
    ours_cpu_s: float
    peers_wall_s: float
    peers_cpu_s: float
    peers_costs: Mapping[str, Cost]

    @property
    def ratio(self) -> float:
        """Our speed, the peer's being 1."""
        return self.peers_wall_s / self.ours_wall_s


def measure(servers: Servers, choice: Choice, *, quick: bool) -> Section:
    """The part `peer`.

    Raises:
        RuntimeError: there is no Node.js, or its packages cannot be had.
    """
    modules = _with_packages(servers.folder / "peer")
    section = Section(
        "The same sync on BullMQ and Node.js",
        f"A bucket on rclone's S3 server; one supplier, {choice.families_workers} family and {choice.images_workers} "
        f"image processes on either side, 1, 3 and 10 slots each; {choice.rounds} rounds in turn; medians, extremes.",
    )
    rows = []
    done = {}
    for name, shape in _shapes(choice, quick=quick).items():
        rounds = done[name] = _rounds(servers, modules, shape, choice)
        rows.append(_row(name, shape, rounds))
        if name in GOALS:
            section.figures.append(_figure(name, rounds))
        section.remarks.append(f"{name}: {shape.told()}.")
    head = ("shape", "latency", "ours, s", "peer, s", "our speed / the peer's", "CPU of ours, s", "CPU of the peer, s")
    section.tables.append(Table((*head, "the peer's by process, s"), rows))
    section.plots += _plots(done)
    return section


def _plots(done: Mapping[str, Sequence[Round]]) -> list[Plot]:
    walls = {
        "ours": [statistics.median(one.ours_wall_s for one in rounds) for rounds in done.values()],
        "on BullMQ and Node.js": [statistics.median(one.peers_wall_s for one in rounds) for rounds in done.values()],
    }
    cpu = {
        "ours": [statistics.median(one.ours_cpu_s for one in rounds) for rounds in done.values()],
        "on BullMQ and Node.js": [statistics.median(one.peers_cpu_s for one in rounds) for rounds in done.values()],
    }
    return [
        Plot("peer-time", "Time of the same cold sync", "s", list(done), walls, along="shape"),
        Plot(
            "peer-cpu", "CPU of the same cold sync, with PostgreSQL and Valkey", "CPU s", list(done), cpu, along="shape"
        ),
    ]


def _shapes(choice: Choice, *, quick: bool) -> Mapping[str, Shape]:
    return QUICK if quick else {name: SHAPES[name] for name in choice.shapes if SHAPES[name].pictures}


def _with_packages(folder: Path) -> Path:
    """The peer's program with what its lock file names, in a folder of the run's own."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        raise RuntimeError("`peer` needs Node.js 20 or newer and npm")
    shutil.copytree(FOLDER, folder, ignore=shutil.ignore_patterns("node_modules"))
    subprocess.run([npm, "ci", "--silent", "--no-audit", "--no-fund", "--ignore-scripts"], cwd=folder, check=True)
    return folder


def _rounds(servers: Servers, modules: Path, shape: Shape, choice: Choice) -> list[Round]:
    with serving_feed(*shape.options()) as feed:
        asyncio.run(reference_of(servers, feed))  # the feed makes everything once
        feed.set_habits(latency_s=shape.latency_s if choice.latency_s is None else choice.latency_s)
        rounds = []
        for _ in range(choice.rounds):
            rounds.append(_round(servers, modules, feed, shape, choice))
            print(f"  ours {rounds[-1].ours_wall_s:.2f} s, the peer's {rounds[-1].peers_wall_s:.2f} s", file=sys.stderr)
    return rounds


def _round(servers: Servers, modules: Path, feed: Feed, shape: Shape, choice: Choice) -> Round:
    with serving_bucket(servers.folder) as bucket:
        ours = asyncio.run(sync_of_ours(servers, feed, choice, bucket))
    with serving_bucket(servers.folder) as bucket:
        wall_s, costs = _peers_sync(servers, modules, feed, shape, choice, bucket.endpoint_url)
    return Round(ours.wall_s, ours.ours_cpu_s, wall_s, sum(cost.cpu_s for cost in costs.values()), costs)


def _peers_sync(
    servers: Servers, modules: Path, feed: Feed, shape: Shape, choice: Choice, store_url: str
) -> tuple[float, dict[str, Cost]]:
    """Wall seconds and what each process cost.

    Raises:
        RuntimeError: what came of it is not the whole feed.
    """
    name = f"bench_peer_{next(_numbers)}"
    asyncio.run(_empty_database(servers, name))
    env = os.environ | {
        "NODE_NO_WARNINGS": "1",
        "PEER_DATABASE_URL": plain_url(named(servers.postgres.url, name)),
        "PEER_REDIS_URL": servers.valkey.url,
        "PEER_BASE_URL": feed.base_url,
        "PEER_S3_URL": store_url,
        "PEER_S3_KEY": ACCESS_KEY,
        "PEER_S3_SECRET": SECRET_KEY,
        "PEER_BUCKET": NAME,
    }
    with _workers(modules, choice.queues(), env) as processes:
        pids = {process.name: process.pid for process in processes}
        with CostMeter(pids | {"PostgreSQL": servers.postgres.pid, "Valkey": servers.valkey.pid}) as meter:
            said = _node(modules, "drive.mjs", env)
    asyncio.run(execute(servers.postgres.url, f"DROP DATABASE {name} WITH (FORCE)"))
    variants = shape.families * shape.variants
    wanted = (0, shape.families, variants, variants * shape.pictures)
    if (said["failed"], said["products"], said["variants"], said["pictures"]) != wanted:
        raise RuntimeError(f"the peer came to {said}, not to {wanted}")
    return float(said["wall_s"]), meter.costs


async def _empty_database(servers: Servers, name: str) -> None:
    await execute(servers.postgres.url, "CHECKPOINT", f"CREATE DATABASE {name}")
    await execute(named(servers.postgres.url, name), (FOLDER / "schema.sql").read_text())
    await emptied_redis(servers.valkey.url)


@contextmanager
def _workers(modules: Path, queues: Sequence[str], env: Mapping[str, str]) -> Iterator[list[Process]]:
    with ExitStack() as stack:
        processes = [_started(modules, queue, number, env) for number, queue in enumerate(queues)]
        for process in processes:
            stack.callback(process.kill)
        for process in processes:
            assert process.popen.stdout is not None
            process.popen.stdout.readline()
        yield processes


def _started(modules: Path, queue: str, number: int, env: Mapping[str, str]) -> Process:
    command = wrap([shutil.which("node") or "node", "worker.mjs", STAGES[queue]], signum=signal.SIGKILL)
    popen = subprocess.Popen(command, cwd=modules, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
    return Process(f"{queue} {number}", popen)


def _node(modules: Path, program: str, env: Mapping[str, str]) -> dict[str, Any]:
    command = [shutil.which("node") or "node", program]
    said = subprocess.run(command, cwd=modules, env=env, check=True, stdout=subprocess.PIPE, timeout=RUN_WITHIN_S)
    return dict(orjson.loads(said.stdout))


def _row(name: str, shape: Shape, rounds: Sequence[Round]) -> list[str]:
    parts = {part: statistics.median(one.peers_costs[part].cpu_s for one in rounds) for part in rounds[0].peers_costs}
    return [
        name,
        f"{shape.latency_s * 1000:.0f} ms",
        spread([one.ours_wall_s for one in rounds]),
        spread([one.peers_wall_s for one in rounds]),
        f"{statistics.median(one.ratio for one in rounds):.2f}",
        spread([one.ours_cpu_s for one in rounds]),
        spread([one.peers_cpu_s for one in rounds]),
        ", ".join(f"{part} {seconds:.2f}" for part, seconds in parts.items()),
    ]


def _figure(name: str, rounds: Sequence[Round]) -> Figure:
    ratio = statistics.median(one.ratio for one in rounds)
    return Figure(
        "F15", f"cold sync, {name}, our speed / BullMQ's", f"{ratio:.2f}", f">= {GOALS[name]}", ratio >= GOALS[name]
    )
