"""What the part `load` found, as its section of the report."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from bench.report import Figure, Section, Table
from bench.sync import spread

ID = "F14"
MOST_SLOWER = 0.1
GIVEN_BACK = 5
"""Descriptors more than before that are no leak: connections of pools, opened when they are needed."""
SUCCESSES = frozenset({"200", "202", "304"})
EXPORT = "the export"
TAKEN = {EXPORT: frozenset({"503"})}
"""Answers that are meant to be given while slow clients hold all places of a kind: their caller comes again."""


@dataclass(frozen=True)
class Held:
    """What the API's process holds at a moment, and the CPU seconds that it has used."""

    memory_mb: float
    descriptors: int
    cpu_s: float


@dataclass(frozen=True)
class Synced:
    """A forced sync: its run's seconds, and the CPU seconds of the workers."""

    wall_s: float
    cpu_s: float


@dataclass(frozen=True)
class Told:
    """What the load tool noted: milliseconds and endings by call, what the event stream said, its own CPU seconds."""

    took_ms: dict[str, list[float]]
    ended: dict[str, dict[str, int]]
    heard: dict[str, int]
    cpu_s: float


@dataclass(frozen=True)
class Loaded:
    """One stretch of load, and the syncs that ended in it."""

    seconds: float
    told: Told
    syncs: list[Synced]
    statuses: list[str]
    api_cpu_s: float


@dataclass(frozen=True)
class Slow:
    """Slow clients beside a stretch of load: what came of them, and what the API held."""

    clients: int
    loaded: Loaded
    seen: dict[str, int]
    before: Held
    during: Held
    after: Held


def section(
    families: int,
    latency_ms: float,
    alone: Sequence[Synced],
    loaded: Sequence[Loaded],
    held: tuple[Held, Held],
    slow: Slow,
) -> Section:
    """Tables of calls, syncs and what is held; figures against the goals."""
    seconds = sum(one.seconds for one in loaded)
    return Section(
        "The API under load beside a sync",
        f"{families} families of 4 variants and 3 pictures, {latency_ms:g} ms at the origin, one worker a queue, one "
        f"process of the API. Load by locust for {seconds:.0f} s in {len(loaded)} stretches, with syncs by force one "
        f"after the other, and a sync alone before and after each; then {slow.loaded.seconds:.0f} s of it beside "
        f"{slow.clients:,} slow clients. The load tool and all servers share the cores.",
        [
            _calls(loaded, "Calls beside syncs"),
            _calls([slow.loaded], f"The same beside {slow.clients:,} slow clients"),
            _syncs(alone, loaded),
            _holdings(held, slow),
        ],
        _figures(alone, loaded, slow),
        _remarks(loaded, slow),
    )


def _calls(loaded: Sequence[Loaded], title: str) -> Table:
    seconds = sum(one.seconds for one in loaded)
    took, ended = _took_ms(loaded), _ended(loaded)
    rows = [
        [
            name,
            f"{len(times) / seconds:.1f}",
            *(f"{at(times, share):.1f}" for share in (0.5, 0.95, 0.99, 1.0)),
            ", ".join(f"{number} x {status}" for status, number in sorted(ended[name].items())),
        ]
        for name, times in took.items()
    ]
    return Table(["call", "a second", "p50, ms", "p95, ms", "p99, ms", "most, ms", "answers"], rows, title)


def at(times: Sequence[float], share: float) -> float:
    """The quantile."""
    return sorted(times)[min(len(times) - 1, int(share * len(times)))]


def _took_ms(loaded: Sequence[Loaded]) -> dict[str, list[float]]:
    names = sorted({name for one in loaded for name in one.told.took_ms})
    return {name: [took for one in loaded for took in one.told.took_ms.get(name, ())] for name in names}


def _ended(loaded: Sequence[Loaded]) -> dict[str, Counter[str]]:
    found: dict[str, Counter[str]] = {}
    for one in loaded:
        for name, endings in one.told.ended.items():
            found.setdefault(name, Counter()).update(endings)
    return found


def _errors(loaded: Sequence[Loaded], *, may_be_taken: bool = False) -> int:
    """Calls that were no success."""
    allowed = TAKEN if may_be_taken else {}
    return sum(
        number
        for name, endings in _ended(loaded).items()
        for status, number in endings.items()
        if status not in SUCCESSES | allowed.get(name, frozenset())
    )


def _syncs(alone: Sequence[Synced], loaded: Sequence[Loaded]) -> Table:
    beside = [one for segment in loaded for one in segment.syncs]
    rows = [
        [name, str(len(syncs)), spread([one.wall_s for one in syncs]), spread([one.cpu_s for one in syncs])]
        for name, syncs in (("alone", alone), ("beside the load", beside))
        if syncs
    ]
    return Table(["sync by force", "number", "s", "CPU of the workers, s"], rows, "What the sync loses")


def slower(alone: Sequence[Synced], loaded: Sequence[Loaded]) -> float | None:
    """The median over the stretches: their syncs beside the mean of those before and after, as a share more."""
    shares = [
        statistics.median(one.wall_s for one in segment.syncs) / ((before.wall_s + after.wall_s) / 2) - 1
        for segment, before, after in zip(loaded, alone, alone[1:], strict=False)
        if segment.syncs
    ]
    return statistics.median(shares) if shares else None


def _holdings(held: tuple[Held, Held], slow: Slow) -> Table:
    moments = {
        "before the load": held[0],
        "after it": held[1],
        "before the slow clients": slow.before,
        "with them": slow.during,
        "after them": slow.after,
    }
    rows = [[name, f"{one.memory_mb:.0f}", str(one.descriptors)] for name, one in moments.items()]
    return Table(["moment", "memory, MB", "descriptors"], rows, "What the API's process holds")


def _figures(alone: Sequence[Synced], loaded: Sequence[Loaded], slow: Slow) -> list[Figure]:
    took, share = _took_ms(loaded), slower(alone, loaded)
    p99 = ", ".join(f"{name} {at(took[name], 0.99):.0f}" for name in took if not name.startswith("/"))
    errors, slow_errors = _errors(loaded), _errors([slow.loaded], may_be_taken=True)
    slow_p99 = at([ms for name, times in _took_ms([slow.loaded]).items() if name != EXPORT for ms in times], 0.99)
    left = slow.after.descriptors - slow.before.descriptors
    return [
        Figure(ID, "under load, errors", str(errors), "0", errors == 0),
        Figure(ID, "under load, p99 in ms", p99, "stated", None),
        Figure(
            ID,
            "under load, the sync is slower by",
            "no sync ended in it" if share is None else f"{share:.1%}",
            "< 10 %",
            None if share is None else share < MOST_SLOWER,
        ),
        Figure(
            ID,
            f"beside {slow.clients:,} slow clients: errors of others; p99 of all calls but the export",
            f"{slow_errors}; {slow_p99:.0f} ms",
            "0; stated",
            slow_errors == 0,
        ),
        Figure(ID, "descriptors that they leave taken", str(left), f"<= {GIVEN_BACK}", left <= GIVEN_BACK),
    ]


def _remarks(loaded: Sequence[Loaded], slow: Slow) -> list[str]:
    seconds = sum(one.seconds for one in loaded)
    tool, api = (
        sum(used) / seconds for used in ([one.told.cpu_s for one in loaded], [one.api_cpu_s for one in loaded])
    )
    statuses = Counter(status for one in [*loaded, slow.loaded] for status in one.statuses)
    events = sum(one.told.heard.get("events", 0) for one in loaded)
    ended = sum(one.told.heard.get("streams that ended", 0) for one in [*loaded, slow.loaded])
    return [
        f"Of a core the load tool used {tool:.0%} and the API {api:.0%} meanwhile.",
        f"The event stream told {events:,} events, and ended {ended} times by itself.",
        f"Syncs that ended beside load: {_listed(statuses)}.",
        f"The slow clients: {_listed(slow.seen)}. While they hold every place for an export, the next one is told 503.",
    ]


def _listed(counted: dict[str, int]) -> str:
    return ", ".join(f"{number:,} {name}" for name, number in sorted(counted.items())) or "none"
