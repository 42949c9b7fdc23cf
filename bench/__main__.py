"""`python -m bench [part ...] [--quick] [--out FILE]`: measure, print, and write docs/benchmarks/<date>.md.

Without parts all of them run. `--quick` runs everything at tiny sizes, to see that it works, and writes nothing unless
told where.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from bench import parsing, pictures, queue, sync, transport, unchanged
from bench.ground import Servers, running_servers
from bench.report import Section, page

REPORTS = Path(__file__).resolve().parents[1] / "docs" / "benchmarks"
PARTS: dict[str, Callable[[Servers, bool], Section]] = {
    "sync": lambda servers, quick: sync.measure(servers, quick=quick),
    "unchanged": lambda servers, quick: unchanged.measure(servers, quick=quick),
    "queue": lambda servers, quick: queue.measure(servers, quick=quick),
    "pictures": lambda servers, quick: pictures.measure(servers, quick=quick),
    "parsing": lambda _, quick: parsing.measure(quick=quick),
    "transport": lambda _, quick: transport.measure(quick=quick),
}


def main(arguments: list[str] | None = None) -> int:
    options = _options(arguments)
    chosen = options.part or list(PARTS)
    with running_servers() as servers:
        text = page([_run(part, servers, quick=options.quick) for part in chosen], _command(options))
    out = options.out or (None if options.quick else _file_for(options.part))
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(text)
        print(f"written to {out}", file=sys.stderr)
    print(text)
    return 0


def _run(part: str, servers: Servers, *, quick: bool) -> Section:
    print(f"{part} ...", file=sys.stderr, flush=True)
    started = time.monotonic()
    section = PARTS[part](servers, quick)
    print(f"{part}: {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)
    return section


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measure, and write the report.")
    parser.add_argument("part", nargs="*", help=f"of {', '.join(PARTS)}; all without")
    parser.add_argument("--quick", action="store_true", help="tiny sizes: does it work?")
    parser.add_argument("--out", type=Path, help="where the report goes")
    options = parser.parse_args(arguments)
    unknown = set(options.part) - set(PARTS)
    if unknown:
        parser.error(f"no such part: {', '.join(sorted(unknown))}")
    return options


def _file_for(parts: list[str]) -> Path:
    name = "-".join([f"{datetime.now(UTC):%Y-%m-%d}", *parts])
    return REPORTS / f"{name}.md"


def _command(options: argparse.Namespace) -> str:
    return " ".join(["python -m bench", *options.part, *(["--quick"] if options.quick else [])])


if __name__ == "__main__":
    sys.exit(main())
