"""How the house is kept: no block of code stands in two places, no file is longer than one can read at once."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BLOCK_LINES = 6
MOST_LINES = 350
PRODUCTION = sorted(path for folder in ("app", "workers") for path in (ROOT / folder).rglob("*.py"))


def strings_alone(node: ast.AST) -> Iterator[ast.stmt]:
    """Strings that stand for themselves below a node: docstrings, and what is said of a name."""
    for _, parts in ast.iter_fields(node):
        for part in parts if isinstance(parts, list) else ():
            if isinstance(part, ast.Expr) and isinstance(part.value, ast.Constant):
                yield part
            elif isinstance(part, (ast.stmt, ast.ExceptHandler, ast.match_case)):
                yield from strings_alone(part)


def code_lines(source: str) -> list[tuple[int, str]]:
    """A source's lines by their numbers, without blank ones, comments and strings that stand alone."""
    passed_over: set[int] = set()
    for string in strings_alone(ast.parse(source)):
        passed_over.update(range(string.lineno, (string.end_lineno or string.lineno) + 1))
    lines = ((number, line.strip()) for number, line in enumerate(source.splitlines(), 1) if number not in passed_over)
    return [(number, line) for number, line in lines if line and not line.startswith("#")]


def blocks_of(source: str) -> Iterator[tuple[int, tuple[str, ...]]]:
    """Each block of a source by the number of its first line."""
    lines = code_lines(source)
    for start in range(len(lines) - BLOCK_LINES + 1):
        yield lines[start][0], tuple(line for _, line in lines[start : start + BLOCK_LINES])


def repeated(sources: Iterable[tuple[str, str]]) -> list[str]:
    """The places of blocks that stand in several, for sources by their names."""
    places: defaultdict[tuple[str, ...], list[str]] = defaultdict(list)
    for name, source in sources:
        for number, block in blocks_of(source):
            places[block].append(f"{name}:{number}")
    return [" ~ ".join(found) for found in places.values() if len(found) > 1]


def test_no_six_lines_of_production_code_stand_in_two_places() -> None:
    assert repeated((str(path.relative_to(ROOT)), path.read_text()) for path in PRODUCTION) == []


def test_no_file_is_longer_than_three_hundred_and_fifty_lines() -> None:
    longest = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in PRODUCTION}
    assert len(longest) > 300
    assert {name: lines for name, lines in longest.items() if lines > MOST_LINES} == {}


SIX = [f"a{number} = {number}" for number in range(6)]


@pytest.mark.parametrize(
    ("other", "found"),
    [
        ("\n".join(SIX), True),
        ("\n\n# said\n".join(f"    {line}" for line in ["if True:", *SIX]).strip(), True),
        ("\n".join([*SIX[:3], '"""Said of it."""', *SIX[3:]]), True),
        ("\n".join([*SIX[:3], 'a = """Said."""', *SIX[3:]]), False),
        ("\n".join(SIX[:5]), False),
        ("\n".join(reversed(SIX)), False),
    ],
)
def test_a_block_is_found_again_whatever_stands_between_its_lines_but_code(other: str, found: bool) -> None:
    assert bool(repeated([("one", "\n".join(SIX)), ("other", other)])) is found


def test_a_block_is_found_again_in_its_own_file() -> None:
    assert repeated([("one", "\n".join([*SIX, "b = 1", *SIX]))]) == ["one:1 ~ one:8"]
