"""`python -m bench [part ...] [--quick] [--out FILE]`: measure, print, and write docs/benchmarks/<date>.md.

Without parts all of them run but `soak`, which takes half an hour (SOAK_MINUTES), and `peer`, which needs Node.js and
npm's registry. `sync` and `peer` take what of it is wanted:
`--shape`, `--store`, `--latency-ms`, `--rounds`, `--families-workers`, `--images-workers`; with one of them only the
shapes are run; `export` takes `--products`. `--quick` runs everything at tiny sizes, to see that it works, and writes
nothing unless told where. `pages` and `watched` are the dashboard's.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench import (
    beside,
    export,
    families,
    large,
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
    section = PARTS[part](servers, options)
    print(f"{part}: {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)
    return section


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measure, and write the report.")
    parser.add_argument("part", nargs="*", help=f"of {', '.join(PARTS)}; all but soak and peer without")
    parser.add_argument("--quick", action="store_true", help="tiny sizes: does it work?")
    parser.add_argument("--out", type=Path, help="where the report goes")
    parser.add_argument("--products", type=int, help=f"of `export`; {export.PRODUCTS} without")
    of_shapes = parser.add_argument_group("shapes", "what of the cold syncs of other shapes is wanted")
    of_shapes.add_argument("--shape", action="append", choices=shapes.SHAPES, help="only this one; may be repeated")
    of_shapes.add_argument("--store", action="append", choices=shapes.STORES, help="only on this one; may be repeated")
    of_shapes.add_argument("--latency-ms", type=float, help="of the origin, in place of the shape's own")
    of_shapes.add_argument("--rounds", type=int, help=f"{shapes.Choice().rounds} without")
    of_shapes.add_argument("--families-workers", type=int, help="processes of the family stage")
    of_shapes.add_argument("--images-workers", type=int, help="processes of the image stage")
    options = parser.parse_args(arguments)
    unknown = set(options.part) - set(PARTS)
    if unknown:
        parser.error(f"no such part: {', '.join(sorted(unknown))}")
    options.only_shapes = "peer" not in options.part and (options.part == ["shapes"] or bool(_shape_values(options)))
    return options


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


def _file_for(parts: list[str]) -> Path:
    name = "-".join([f"{datetime.now(UTC):%Y-%m-%d}", *parts])
    return REPORTS / f"{name}.md"


def _command(options: argparse.Namespace) -> str:
    return " ".join(["python -m bench", *options.part, *(["--quick"] if options.quick else [])])


PARTS: dict[str, Callable[[Servers, argparse.Namespace], Section]] = {
    "sync": lambda servers, options: sync.measure(servers, quick=options.quick),
    "shapes": lambda servers, options: shapes.measure(servers, _choice(options), quick=options.quick),
    "peer": lambda servers, options: peer.measure(servers, _choice(options), quick=options.quick),
    "families": lambda servers, options: families.measure(servers, quick=options.quick),
    "unchanged": lambda servers, options: unchanged.measure(servers, quick=options.quick),
    "queue": lambda servers, options: queue.measure(servers, quick=options.quick),
    "pictures": lambda servers, options: pictures.measure(servers, quick=options.quick),
    "slots": lambda servers, options: slots.measure(servers, quick=options.quick),
    "export": lambda servers, options: export.measure(servers, quick=options.quick, products=options.products),
    "parsing": lambda _, options: parsing.measure(quick=options.quick),
    "beside": lambda servers, options: beside.measure(servers, quick=options.quick),
    "observed": lambda servers, options: observed.measure(servers, quick=options.quick),
    "large": lambda servers, options: large.measure(servers, quick=options.quick),
    "pages": lambda servers, options: pages.measure(servers, quick=options.quick),
    "watched": lambda servers, options: watched.measure(servers, quick=options.quick),
    "soak": lambda servers, options: soak.measure(servers, quick=options.quick),
    "transport": lambda _, options: transport.measure(quick=options.quick),
}


if __name__ == "__main__":
    sys.exit(main())
