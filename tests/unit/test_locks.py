"""The lock files are complete, and nothing that installs anything resolves: a release of tomorrow changes nothing.

A lock file is complete when every package that its packages require, for each supported Python on Linux, is in it.
What a package requires is read from its own metadata, as it is installed here.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
RUNTIME = PROJECT["project"]["dependencies"]
EXTRAS = PROJECT["project"]["optional-dependencies"]
BUILD = [*PROJECT["build-system"]["requires"], *PROJECT["dependency-groups"]["build"]]
LOCKS: dict[str, list[str]] = {
    "requirements.lock": [*RUNTIME, *EXTRAS["traces"]],
    "requirements-run.lock": [*RUNTIME, *EXTRAS["traces"], *EXTRAS["embedded"]],
    "requirements-dev.lock": [*RUNTIME, *EXTRAS["traces"], *EXTRAS["embedded"], *EXTRAS["dev"], *BUILD],
    "requirements-build.lock": BUILD,
}
PYTHONS = ("3.11.2", "3.11.15", "3.12.1", "3.13.0", "3.14.0")
MACHINES = ("x86_64", "aarch64")
INSTALLERS = ("Makefile", "Dockerfile", ".ci/run", *(str(path.relative_to(ROOT)) for path in ROOT.glob("scripts/*.sh")))


@dataclass(frozen=True)
class Locked:
    """One package of a lock file."""

    requirement: Requirement
    hashes: int

    @property
    def version(self) -> Version:
        (pin,) = self.requirement.specifier
        assert pin.operator == "=="
        return Version(pin.version)


def entries(lock: str) -> list[Locked]:
    text = (ROOT / lock).read_text().replace("\\\n", " ")
    lines = [line.split(" #")[0].strip() for line in text.splitlines() if line and not line.startswith((" ", "#"))]
    return [Locked(Requirement(line.split(" --hash")[0]), line.count("--hash=sha256:")) for line in lines]


def surroundings(python: str, machine: str) -> dict[str, str]:
    """What markers are judged by, on Linux."""
    return {
        "implementation_name": "cpython",
        "implementation_version": python,
        "os_name": "posix",
        "platform_machine": machine,
        "platform_python_implementation": "CPython",
        "platform_release": "",
        "platform_system": "Linux",
        "platform_version": "",
        "python_full_version": python,
        "python_version": python.rpartition(".")[0],
        "sys_platform": "linux",
    }


def holds(requirement: Requirement, around: dict[str, str], extra: str = "") -> bool:
    return requirement.marker is None or requirement.marker.evaluate({**around, "extra": extra})


def holds_here(requirement: Requirement) -> bool:
    return requirement.marker is None or requirement.marker.evaluate()


@cache
def requirements_of(name: str) -> tuple[Requirement, ...]:
    return tuple(Requirement(line) for line in requires(name) or [])


def asked_for(requirement: Requirement, around: dict[str, str]) -> Iterator[Requirement]:
    """What a package requires there, with the extras that it is asked for with."""
    for needed in requirements_of(canonicalize_name(requirement.name)):
        if any(holds(needed, around, extra) for extra in ("", *requirement.extras)):
            yield needed


def what_is_wrong(roots: Iterable[str], locked: dict[str, Locked], around: dict[str, str]) -> list[str]:
    """Walk from `roots` through everything that is required; what `locked` lacks, has wrongly, or has for nothing."""
    wrong, seen, reached = [], set[str](), set[str]()
    waiting = [Requirement(root) for root in roots]
    while waiting:
        needed = waiting.pop()
        name = canonicalize_name(needed.name)
        if str(needed) in seen or not holds(needed, around):
            continue
        seen.add(str(needed))
        reached.add(name)
        if name not in locked:
            wrong.append(f"{needed} is missing")
        elif not needed.specifier.contains(locked[name].version, prereleases=True):
            wrong.append(f"{needed} is asked for, {locked[name].version} is locked")
        try:
            waiting += [Requirement(_bare(found)) for found in asked_for(needed, around)]
        except PackageNotFoundError:
            if name in locked and not holds_here(locked[name].requirement):
                continue  # for another Python than this one, where this test looks at it
            wrong.append(f"{name} is not installed here, so what it requires is not known")
    return wrong + [f"{name} is in it for nothing" for name in sorted(set(locked) - reached)]


def _bare(requirement: Requirement) -> str:
    """Without its marker, which has been judged."""
    extras = f"[{','.join(sorted(requirement.extras))}]" if requirement.extras else ""
    return f"{requirement.name}{extras}{requirement.specifier}"


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("python", PYTHONS)
@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_file_has_all_that_its_packages_require_and_nothing_else(lock: str, python: str, machine: str) -> None:
    around = surroundings(python, machine)
    locked: dict[str, Locked] = {
        canonicalize_name(entry.requirement.name): entry for entry in entries(lock) if holds(entry.requirement, around)
    }
    assert what_is_wrong(LOCKS[lock], locked, around) == []


@pytest.mark.parametrize("lock", LOCKS)
def test_every_package_of_a_lock_file_has_one_version_and_hashes(lock: str) -> None:
    assert [str(entry.requirement) for entry in entries(lock) if not entry.hashes] == []
    assert all(entry.version for entry in entries(lock))


@pytest.mark.parametrize("lock", [lock for lock in LOCKS if lock != "requirements-dev.lock"])
def test_the_lock_files_agree(lock: str) -> None:
    of_all = {str(entry.requirement.name): entry.version for entry in entries("requirements-dev.lock")}
    assert {entry.requirement.name: entry.version for entry in entries(lock)}.items() <= of_all.items()


def installations(text: str) -> list[str]:
    """Every command that installs Python packages, on one line each, a script's own `install` spelled out."""
    for spelled_out in re.findall(r"^install\(\) \{ (.*?);? \}$", text, re.MULTILINE):
        text = re.sub(r"^install\(\).*$", "", text, flags=re.MULTILINE)
        text = re.sub(r"^(\s*)install ", spelled_out + " ", text, flags=re.MULTILINE)
    commands = re.split(r"&&|\|\||;|\n", text.replace("\\\n", " "))
    installing = re.compile(r"^(?!\s*#).*\b(pip3?|uv|pipx|poetry)\b.*\b(install|sync|wheel|download|add)\b")
    return [command.strip() for command in commands if installing.search(command)]


@pytest.mark.parametrize("file", INSTALLERS)
def test_no_installer_resolves(file: str) -> None:
    for command in installations((ROOT / file).read_text()):
        assert "--no-deps" in command, command
        assert _is_locked(command), command


def _is_locked(command: str) -> bool:
    """From a lock file by its hashes, or the project itself, built by what is installed already."""
    return "--require-hashes" in command or "--no-build-isolation" in command or ".whl" in command


def test_an_installer_that_resolves_is_seen() -> None:
    text = "RUN python -m venv /v && /v/bin/pip install \\\n -r requirements.lock\n# pip install nothing\nuv sync"
    assert installations(text) == ["/v/bin/pip install   -r requirements.lock", "uv sync"]
    assert len(installations((ROOT / "scripts/setup.sh").read_text())) == 3


def test_a_lock_file_that_lacks_something_is_seen() -> None:
    around = surroundings("3.12.1", "x86_64")
    (redis,) = [one for one in entries("requirements.lock") if one.requirement.name == "redis"]
    found = what_is_wrong(["redis[hiredis]>=5.3,<6"], {"redis": redis, "spare": redis}, around)
    assert any(line.startswith("hiredis") and line.endswith("is missing") for line in found), found
    assert "spare is in it for nothing" in found
    assert (
        what_is_wrong(["redis>=9"], {"redis": redis}, around)[0] == f"redis>=9 is asked for, {redis.version} is locked"
    )
