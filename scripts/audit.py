"""Ask PyPI's advisories about what the lock files name; exit code 1 when one is affected.

Where the index has no advisories (a mirror often has none) or is away, nothing was audited: that is said, and is no
failure of the code. pip-audit alone says "No known vulnerabilities found" then.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
LOCKS = ("requirements-dev.lock", "requirements-build.lock")
"""The other two are parts of the first (`make lock`)."""
WITHIN_S = 600
OPTIONS = ("--require-hashes", "--disable-pip", "--progress-spinner=off", "--format=json", "--timeout=10")


@dataclass(frozen=True)
class Audit:
    """What is known of a lock file's packages."""

    audited: int
    not_audited: int
    affected: tuple[str, ...]
    """A line for each advisory."""


def read_report(report: dict[str, Any]) -> Audit:
    """What pip-audit's JSON says."""
    packages = report["dependencies"]
    audited = [package for package in packages if "skip_reason" not in package]
    affected = tuple(_line(package, advisory) for package in audited for advisory in package["vulns"])
    return Audit(len(audited), len(packages) - len(audited), affected)


def _line(package: dict[str, Any], advisory: dict[str, Any]) -> str:
    mended = ", ".join(advisory["fix_versions"]) or "nothing yet"
    return f"{package['name']} {package['version']}: {advisory['id']}, fixed in {mended}"


def tell(lock: str, audit: Audit) -> str:
    """One line, and one an advisory.

    >>> tell("a.lock", Audit(0, 3, ()))
    'a.lock: NOT AUDITED: the index has no advisories of its 3 packages'
    """
    if not audit.audited:
        return f"{lock}: NOT AUDITED: the index has no advisories of its {audit.not_audited} packages"
    unknown = f", {audit.not_audited} packages not known to the index" if audit.not_audited else ""
    head = f"{lock}: {audit.audited} packages audited, {len(audit.affected)} advisories{unknown}"
    return "\n".join([head, *(f"  {line}" for line in audit.affected)])


def ask(lock: str) -> Audit | str:
    """What pip-audit finds out about a lock file, or why it could not."""
    command = [sys.executable, "-m", "pip_audit", *OPTIONS, "-r", str(ROOT / lock)]
    try:
        ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=WITHIN_S)
    except subprocess.TimeoutExpired:
        return f"no answer within {WITHIN_S} s"
    if not ended.stdout.startswith("{"):
        return (ended.stderr.strip().splitlines() or ["pip-audit said nothing"])[-1]
    return read_report(json.loads(ended.stdout))


def main(locks: Sequence[str] = LOCKS) -> int:
    """Ask about each and print it."""
    affected = 0
    for lock in locks:
        answer = ask(lock)
        print(f"{lock}: NOT AUDITED: {answer}" if isinstance(answer, str) else tell(lock, answer))
        affected += 0 if isinstance(answer, str) else len(answer.affected)
    return 1 if affected else 0


if __name__ == "__main__":
    sys.exit(main())
