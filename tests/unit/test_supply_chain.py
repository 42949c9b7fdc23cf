"""What is shipped: licences, advisories, the list of parts."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from scripts.audit import Audit, read_report
from scripts.licences import LOCK, Licensed, licences, locked_names

FREE = (
    "MIT",
    "Apache-2.0 AND MIT",
    "BSD License",
    "MPL-2.0 AND (Apache-2.0 OR MIT)",
    "GPL-3.0-only OR MIT",
    "Apache 2.0",
)
REFUSED = (
    "", "GPL-3.0-only", "LGPL-2.1-or-later", "AGPL-3.0", "MIT AND GPL-2.0-only", "Proprietary", "SSPL-1.0", "BUSL-1.1",
    "GNU General Public License v3 (GPLv3)", "GNU Affero General Public License v3",
)  # fmt: skip


@pytest.mark.parametrize(("licence", "fine"), [*((name, True) for name in FREE), *((name, False) for name in REFUSED)])
def test_a_licence_that_obliges_whoever_uses_it_or_is_unknown_is_refused(licence: str, fine: bool) -> None:
    assert Licensed("some", licence).is_fine is fine


def test_everything_that_runs_has_a_free_licence() -> None:
    found = licences(locked_names(LOCK.read_text()))
    assert len(found) > 50
    assert [package for package in found if not package.is_fine] == []


def test_the_list_of_parts_is_what_a_server_installs(tmp_path: Path) -> None:
    clone = LOCK.parent
    recipe = (clone / "Makefile").read_text().partition("\nsbom:")[2]
    (line,) = re.findall(r"cyclonedx-py .*(?= -o sbom.json)", recipe)
    program, *arguments = line.split()
    command = [str(Path(sys.executable).parent / program), *arguments, "-o", str(tmp_path / "sbom.json")]
    subprocess.run(command, cwd=clone, check=True, capture_output=True)
    listed = json.loads((tmp_path / "sbom.json").read_text())["components"]
    assert sorted(part["name"] for part in listed) == locked_names((clone / "requirements.lock").read_text())
    assert all(part["externalReferences"][0]["hashes"] for part in listed)


def test_what_the_index_knows_nothing_of_does_not_count_as_audited() -> None:
    advisory = {"id": "PYSEC-1", "fix_versions": ["1.1"], "aliases": [], "description": ""}
    packages = [
        {"name": "safe", "version": "1", "vulns": []},
        {"name": "hit", "version": "1.0", "vulns": [advisory]},
        {"name": "away", "skip_reason": "Dependency not found on PyPI and could not be audited: away (1)"},
    ]
    assert read_report({"dependencies": packages, "fixes": []}) == Audit(2, 1, ("hit 1.0: PYSEC-1, fixed in 1.1",))
