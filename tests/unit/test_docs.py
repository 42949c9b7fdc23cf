"""What the pages say is there: their links, and every route, command, option, make target and setting that they name.

Decision records and reports of benchmarks tell of their day; only their links are looked at.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from app.cli.main import app
from app.setting_errors import variables_of
from app.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted(path.relative_to(ROOT) for top in (".", "docs/**", "deploy/**") for path in ROOT.glob(f"{top}/*.md"))
LIVING = [page for page in PAGES if not {"decisions", "benchmarks"} & set(page.parts) and page.name != "CHANGELOG.md"]
ROUTES = json.loads((ROOT / "openapi.json").read_text())["paths"]
LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)|!\[[^\]]*\]\(([^)\s]+)\)")
FENCED = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
ROUTE = re.compile(r"(?<![\w}])(?:(?P<verb>GET|POST|PUT|PATCH|DELETE|HEAD) )?(?P<path>(?:/api/v1)?/[\w{}%./-]+)")
ORIGINS = ("/Profiles/", "/Images/")
"""Where requests to the feed begin."""
CODE = re.compile(r"`([^`]+)`")
COMMAND = re.compile(r"(?:^|[\s\"'(/`])promidata-sync((?: [^\s`|#&;)]+)*)", re.MULTILINE)
TARGET = re.compile(r"(?:^|`)make ([a-z][a-z-]*)", re.MULTILINE)
VARIABLE = re.compile(r"\b[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+\b")
COMPOSES = frozenset(VARIABLE.findall((ROOT / "compose.yaml").read_text()))
NOT_OURS = re.compile(r"PROMIDATA_(KEY|URL)|SQL_ASCII|(CURL|OTEL_|HTTP_WEBHOOK_).*")
"""Variables of the shop's example in docs/shop.md and of OpenTelemetry's library, and an encoding of PostgreSQL."""


def text_of(page: Path) -> str:
    return (ROOT / page).read_text()


def code_in(text: str) -> list[str]:
    """What stands in backticks, a line break in it as a blank."""
    return [" ".join(code.split()) for code in CODE.findall(FENCED.sub("", text))]


def anchors(page: Path) -> set[str]:
    """As GitHub makes them of headings."""
    found: dict[str, int] = {}
    slugs = set()
    for heading in re.findall(r"^#+ (.+)$", FENCED.sub("", text_of(page)), re.MULTILINE):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
        slug = re.sub(r"[^\w\- ]", "", plain.lower()).replace(" ", "-")
        number = found[slug] = found.get(slug, -1) + 1
        slugs.add(f"{slug}-{number}" if number else slug)
    return slugs


def broken_links(page: Path) -> Iterator[str]:
    text = re.sub(r"`[^`\n]*`", "", FENCED.sub("", text_of(page)))
    for target in ("".join(found) for found in LINK.findall(text)):
        if re.match(r"[a-z][a-z0-9+.-]*:", target):
            continue
        path, _, anchor = target.partition("#")
        there = (ROOT / page.parent / path).resolve() if path else ROOT / page
        if not there.exists():
            yield f"{target}: no such file"
        elif anchor and there.suffix == ".md" and anchor not in anchors(there.relative_to(ROOT)):
            yield f"{target}: no such heading"


def named_routes(text: str) -> set[str]:
    """Paths that begin with /api/v1 or have a method in front."""
    found = {match["path"] for match in ROUTE.finditer(text) if match["verb"] or match["path"].startswith("/api/v1/")}
    return {path for path in found if not path.startswith(ORIGINS)}


def is_route(path: str) -> bool:
    """Whether a path, with names or values in place of its parameters, is one of openapi.json's."""
    asked = path.rstrip("/.")
    forms = (asked.split("/"), f"/api/v1{asked}".split("/"))
    return any(_fits(form, known.split("/")) for known in ROUTES for form in forms)


def _fits(asked: list[str], known: list[str]) -> bool:
    return len(asked) == len(known) and all(
        theirs.startswith("{") or ours == theirs for ours, theirs in zip(asked, known, strict=True)
    )


@cache
def commands() -> dict[str, frozenset[str]]:
    """Each command as it is typed, to its options; groups too."""
    found: dict[str, frozenset[str]] = {}

    def walk(command: Any, typed: tuple[str, ...]) -> None:
        options = [name for param in command.params for name in (*param.opts, *param.secondary_opts)]
        found[" ".join(typed)] = frozenset({*options, "--help"})
        for name, child in getattr(command, "commands", {}).items():
            walk(child, (*typed, name))

    walk(get_command(app), ())
    return found


def unknown_parts(typed: str) -> list[str]:
    """What of a command line, without the program's name, is no command or option."""
    words = typed.split()
    name = ""
    while words and f"{name} {words[0]}".strip() in commands():
        name = f"{name} {words.pop(0)}".strip()
    is_group = any(other.startswith(f"{name} ".lstrip()) for other in commands() if other != name)
    wrong = words[:1] if is_group and words and re.fullmatch(r"[a-z][a-z-]*", words[0]) else []
    options = [word.split("=")[0].strip("[]") for word in words if word.startswith(("--", "[--"))]
    return wrong + [option for option in options if option not in commands()[name]]


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_every_link_leads_somewhere(page: Path) -> None:
    assert list(broken_links(page)) == []


@pytest.mark.parametrize("page", LIVING, ids=str)
def test_every_route_command_and_target_that_a_page_names_is_there(page: Path) -> None:
    text = text_of(page)
    assert [path for path in sorted(named_routes(text)) if not is_route(path)] == []
    typed = {found.strip() for found in COMMAND.findall(text)}
    typed |= {code for code in code_in(text) if code.split(" ")[0] in commands()}
    assert [(line, wrong) for line in sorted(typed) if (wrong := unknown_parts(line))] == []
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(TARGET.findall(text)) - targets == set()


def test_every_command_is_in_the_readme() -> None:
    said = " ".join(code_in(text_of(Path("README.md")).partition("## The command line")[2]))
    leaves = [name for name in commands() if name and not any(other.startswith(f"{name} ") for other in commands())]
    missing = [
        name for name in leaves if not re.search(rf"\b{re.escape(name)}\b", said) and name.split()[0] != "worker"
    ]
    assert missing == []


def test_every_setting_that_a_page_names_is_one() -> None:
    """The other way round, that each setting is named: tests/integration/test_cli_up_file.py."""
    ours = {
        name for field, info in Settings.model_fields.items() for name in (field.upper(), *variables_of(field, info))
    }
    pages = [*LIVING, Path(".env.example")]
    named = {(str(page), name) for page in pages for name in {*VARIABLE.findall(text_of(page))} - ours - COMPOSES}
    assert sorted((page, name) for page, name in named if not NOT_OURS.fullmatch(name)) == []


@pytest.mark.parametrize(
    ("typed", "wrong"),
    [("sync A23 --wach", ["--wach"]), ("media verfy", ["verfy"]), ("synk", ["synk"]), ("retry --failed image", [])],
)
def test_a_command_that_is_not_there_is_found(typed: str, wrong: list[str]) -> None:
    assert unknown_parts(typed) == wrong


def test_a_route_that_is_not_there_is_found() -> None:
    text = (
        "`GET /api/v1/products/{sku}`, POST /runs/{runId}/cancel, /api/v1/shops, GET /Profiles/Live/x, `DELETE /cancel`"
    )
    assert {path for path in named_routes(text) if not is_route(path)} == {"/api/v1/shops", "/cancel"}
