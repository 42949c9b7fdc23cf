"""Print the licence of each package that a server or `make run` installs; exit code 1 when one is refused or unknown.

requirements-run.lock ─▶ what is installed says its licence ─▶ obliges nobody to publish a program that uses it?
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.metadata import PackageMetadata, PackageNotFoundError, metadata
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOCK = ROOT / "requirements-run.lock"
NAMED = re.compile(r"^([A-Za-z0-9][A-Za-z0-9._-]*)(?:\[[^]]*\])?==", re.MULTILINE)
CLASSIFIED = "License :: "
NOT_HERE = {"async-timeout": "Apache-2.0", "colorama": "BSD-3-Clause"}
"""Of packages that the lock names for other systems or Pythons alone, read from their own files."""
REFUSED = re.compile(
    r"\b[AL]?GPL|General Public|Affero|SSPL|Server Side Public|BUSL|Business Source|Commons Clause", re.IGNORECASE
)
FREE = re.compile(
    r"\b(MIT|BSD|Apache|ISC|PSF|Python Software Foundation|MPL|Mozilla|0BSD|Unlicense|Zlib|CC0)\b", re.IGNORECASE
)
"""MPL asks for changes of its own files only."""


@dataclass(frozen=True)
class Licensed:
    """A package and what it says of its licence."""

    name: str
    licence: str
    """As an expression, a name or several names; empty when it says nothing."""

    @property
    def is_fine(self) -> bool:
        """Whether it may be part of what runs: known, free, and nothing refused but where another one may be chosen."""
        choices = re.split(r"\bOR\b", self.licence)
        return any(FREE.search(choice) and not REFUSED.search(choice) for choice in choices)


def locked_names(lock: str) -> list[str]:
    r"""The packages that a lock file names.

    >>> locked_names("uvicorn[standard]==0.54.0 --hash=x\n    # via y\nanyio==4.16.0 ; python_version < '4'")
    ['anyio', 'uvicorn']
    """
    return sorted(set(NAMED.findall(lock)))


def licences(names: Iterable[str]) -> list[Licensed]:
    """What each of these packages says."""
    return [Licensed(name, _licence(name)) for name in names]


def _licence(name: str) -> str:
    try:
        told = metadata(name)
    except PackageNotFoundError:
        return NOT_HERE.get(name, "")
    return _expression(told)


def _expression(told: PackageMetadata) -> str:
    """The expression of newer metadata, else the classifiers, else the first line of the free text."""
    classified = [line.rpartition(" :: ")[2] for line in _all(told, "Classifier") if line.startswith(CLASSIFIED)]
    written = [text.strip().partition("\n")[0] for text in _all(told, "License")]
    return ", ".join(_all(told, "License-Expression") or classified or written)


def _all(told: PackageMetadata, field: str) -> list[str]:
    return [str(value) for value in told.get_all(field) or []]


def main() -> int:
    """Print the table."""
    found = licences(locked_names(LOCK.read_text()))
    width = max(len(package.name) for package in found)
    for package in found:
        mark = "" if package.is_fine else "   <- refused or unknown"
        print(f"{package.name:{width}}  {package.licence}{mark}")
    wrong = [package.name for package in found if not package.is_fine]
    print(f"{len(found)} packages, {len(wrong)} with a licence that is refused or unknown", *wrong, sep="  ")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
