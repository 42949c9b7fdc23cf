"""`python -m bench [part ...] [--quick] [--out FILE]`: measure, print, and write docs/benchmarks/<date>.md.

Without parts all of them run but `soak`, which takes half an hour (SOAK_MINUTES), and `peer`, which needs Node.js and
npm's registry. `sync` and `peer` take what of it is wanted:
`--shape`, `--store`, `--latency-ms`, `--rounds`, `--families-workers`, `--images-workers`; with one of them only the
shapes are run; `export` takes `--products`, `load` `--minutes`. `--quick` runs everything at tiny sizes, to see that it
works, and writes nothing unless told where. Plots are written beside the report.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

from bench import (
    beside,
    export,
    families,
    large,
    load,
    observed,
    pages,
    parsing,
    peer,
    pictures,
    queue,
    shapes,
    slots,
    soak,
    sync,
    transport,
    unchanged,
    watched,
)
from bench.drawing import draw
from bench.ground import Servers, running_servers
from bench.report import Section, page, plot_file

REPORTS = Path(__file__).resolve().parents[1] / "docs" / "benchmarks"


Measure = Callable[[Servers, argparse.Namespace], Section]


@dataclass(frozen=True)
class Part:
    """What can be asked for by its name."""

    says: str
    minutes: int
    """About so many, on two quiet cores."""
    measure: Measure


def main(arguments: list[str] | None = None) -> int:
    options = _options(arguments)
    chosen = _chosen(options)
    with running_servers() as servers:
        sections = [_run(part, servers, options) for part in chosen]
        out = options.out or (None if options.quick or options.only_shapes else _file_for(options.part))
        text = _write(sections, _command(options), out or servers.folder / "report.md")
    if out is not None:
        print(f"written to {out}", file=sys.stderr)
    print(text)
    return 0


def _write(sections: list[Section], command: str, out: Path) -> str:
    """The report, and its plots beside it."""
    out.parent.mkdir(parents=True, exist_ok=True)
    text = page(sections, command, out.stem)
    out.write_text(text)
    for section in sections:
        for plot in section.plots:
            draw(plot, out.with_name(plot_file(out.stem, plot)))
    return text


def _chosen(options: argparse.Namespace) -> list[str]:
    """The parts asked for, in their own order; the shapes belong to `sync`."""
    asked = set(options.part or PARTS.keys() - {"soak", "peer"})
    if "sync" in asked:
        asked = {*asked, "shapes"} - ({"sync"} if options.only_shapes else set())
    return [part for part in PARTS if part in asked]


def _run(part: str, servers: Servers, options: argparse.Namespace) -> Section:
    print(f"{part} ...", file=sys.stderr, flush=True)
    started = time.monotonic()
    section = PARTS[part].measure(servers, options)
    took = f"{time.monotonic() - started:.0f} s"
    section.remarks.append(f"`{part}` took {took}.")
    print(f"{part}: {took}", file=sys.stderr, flush=True)
    return section


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        usage="%(prog)s [options] [part ...]",
        description="Measure, print, and write the report and its plots to docs/benchmarks/.",
        epilog=_parts_told(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("part", nargs="*", help="of those below; without one all but soak and peer")
    parser.add_argument("--quick", action="store_true", help="tiny sizes: does it work? writes nothing")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write the report there, with --quick too")
    parser.add_argument("--products", type=int, metavar="N", help=f"of export; {export.PRODUCTS:,} without")
    parser.add_argument("--minutes", type=float, metavar="N", help=f"of load; {load.MINUTES:g} without")
    of_shapes = parser.add_argument_group("what of shapes and peer is wanted; with one of these only they are run")
    of_shapes.add_argument("--shape", action="append", choices=shapes.SHAPES, help="may be repeated")
    of_shapes.add_argument("--store", action="append", choices=shapes.STORES, help="may be repeated")
    of_shapes.add_argument("--latency-ms", type=float, metavar="MS", help="at the origin, not the shape's own")
    of_shapes.add_argument("--rounds", type=int, metavar="N", help=f"{shapes.Choice().rounds} without")
    of_shapes.add_argument("--families-workers", type=int, metavar="N", help="processes of the family stage")
    of_shapes.add_argument("--images-workers", type=int, metavar="N", help="processes of the image stage")
    options = parser.parse_args(arguments)
    unknown = set(options.part) - set(PARTS)
    if unknown:
        parser.error(f"no such part: {', '.join(sorted(unknown))}")
    options.only_shapes = "peer" not in options.part and (options.part == ["shapes"] or bool(_shape_values(options)))
    return options


def _parts_told() -> str:
    lines = [f"  {name:10} {part.minutes:3} min  {part.says}" for name, part in PARTS.items()]
    return "\n".join(["parts, and about how long each takes on two quiet cores:", *lines])


def _shape_values(options: argparse.Namespace) -> dict[str, Any]:
    """What of `shapes.Choice` was asked for."""
    values = {
        "shapes": options.shape,
        "stores": options.store,
        "latency_s": None if options.latency_ms is None else options.latency_ms / 1000,
        "rounds": options.rounds,
        "families_workers": options.families_workers,
        "images_workers": options.images_workers,
    }
    return {name: value for name, value in values.items() if value is not None}


def _choice(options: argparse.Namespace) -> shapes.Choice:
    return dataclasses.replace(shapes.Choice(rounds=1 if options.quick else 2), **_shape_values(options))


def _measure_shapes(servers: Servers, options: argparse.Namespace) -> Section:
    return shapes.measure(servers, _choice(options), quick=options.quick)


def _measure_peer(servers: Servers, options: argparse.Namespace) -> Section:
    return peer.measure(servers, _choice(options), quick=options.quick)


def _measure_load(servers: Servers, options: argparse.Namespace) -> Section:
    return load.measure(servers, quick=options.quick, minutes=options.minutes)


def _measure_export(servers: Servers, options: argparse.Namespace) -> Section:
    return export.measure(servers, quick=options.quick, products=options.products)


class _Quickly(Protocol):
    """What most parts look like."""

    def __call__(self, servers: Servers, *, quick: bool) -> Section: ...


def _plainly(measure: _Quickly) -> Measure:
    """A part that needs to know nothing but whether it shall be quick."""
    return lambda servers, options: measure(servers, quick=options.quick)


def _file_for(parts: list[str]) -> Path:
    name = "-".join([f"{datetime.now(UTC):%Y-%m-%d}", *parts])
    return REPORTS / f"{name}.md"


def _command(options: argparse.Namespace) -> str:
    minutes = [] if options.minutes is None else [f"--minutes {options.minutes:g}"]
    return " ".join(["python -m bench", *options.part, *minutes, *(["--quick"] if options.quick else [])])


PARTS: dict[str, Part] = {
    "sync": Part("cold and unchanged, against a bare loop (F3)", 5, _plainly(sync.measure)),
    "shapes": Part("cold syncs of four shapes, folder and bucket (F12)", 5, _measure_shapes),
    "peer": Part("the same on BullMQ; needs Node.js 20 and npm's registry", 5, _measure_peer),
    "families": Part("cost and memory at 100, 1,000, 10,000 families (F4)", 3, _plainly(families.measure)),
    "unchanged": Part("100,000 unchanged entries, few changed (F1, F2, F10)", 3, _plainly(unchanged.measure)),
    "queue": Part("the queue against stock ARQ, kills (F5, F6, F7)", 8, _plainly(queue.measure)),
    "pictures": Part("one image worker, its CPU by part, its memory", 2, _plainly(pictures.measure)),
    "slots": Part("more slots, more image workers (F9)", 3, _plainly(slots.measure)),
    "export": Part("the whole catalogue as NDJSON (F11)", 1, _measure_export),
    "parsing": Part("reading a document in other ways", 1, lambda _, options: parsing.measure(quick=options.quick)),
    "beside": Part("calls of the API beside a sync (F8)", 2, _plainly(beside.measure)),
    "load": Part("calls by locust beside a sync; 1,000 slow clients (F14)", 8, _measure_load),
    "observed": Part("what metrics and traces cost a sync (F13)", 5, _plainly(observed.measure)),
    "large": Part("lists and chores on large tables", 4, _plainly(large.measure)),
    "pages": Part("pages of the dashboard on large tables", 3, _plainly(pages.measure)),
    "watched": Part("what 50 watchers cost a sync (F13)", 2, _plainly(watched.measure)),
    "soak": Part("everything at once, with faults; SOAK_MINUTES", 30, _plainly(soak.measure)),
    "transport": Part("a request in other ways", 1, lambda _, options: transport.measure(quick=options.quick)),
}
"""In the order in which they run."""


if __name__ == "__main__":
    sys.exit(main())
