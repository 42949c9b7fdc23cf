"""Each contract on imports is shown to fail: a copy of the code gets an import that it forbids."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PLANTED = {
    "Imports point one way": [
        ("app/persistence/packing.py", "app.sync.services"),
        ("app/sync/services.py", "workers.heart"),
        ("app/api/cursors.py", "app.dashboard.wording"),
    ],
    "Every folder of app has its place in the layers": [
        ("app/jobs/queue.py", "app.sync.services"),
        ("app/views/shapes.py", "app.sync.services"),
        ("app/api/schemas.py", "app.dashboard.charts"),
    ],
    "The folders of sync are layers, and no stage imports another": [
        ("app/sync/family/writing.py", "app.sync.supplier.stage"),
        ("app/sync/image/storing.py", "app.sync.family.stage"),
        ("app/sync/stage/backoff.py", "app.sync.running.outcomes"),
    ],
    "No circle": [
        ("app/images/store.py", "app.images.store_s3"),
        ("workers/listener.py", "workers.exchange"),
    ],
    "The command line does not go through the API's door": [
        ("app/cli/telling.py", "app.api.cursors"),
        ("app/cli/telling.py", "app.dashboard.showing"),
    ],
    "The rules of the catalogue do no I/O": [("app/catalogue/guard.py", "sqlalchemy")],
    "Only jobs and workers know ARQ": [
        ("app/sync/operating/start.py", "arq"),
        ("app/cli/telling.py", "arq"),
        ("app/api/cursors.py", "arq"),
    ],
    "Only jobs, coordination and workers know Redis": [
        ("app/cli/telling.py", "redis.asyncio"),
        ("app/api/cursors.py", "redis"),
        ("app/dashboard/wording.py", "redis"),
        ("app/sync/family/writing.py", "redis"),
    ],
    "Only persistence knows SQL": [
        ("app/sync/family/writing.py", "sqlalchemy"),
        ("app/api/cursors.py", "sqlalchemy.orm"),
        ("app/dashboard/wording.py", "sqlalchemy"),
        ("app/cli/telling.py", "asyncpg"),
        ("workers/memory.py", "sqlalchemy"),
    ],
    "Only outbound asks over HTTP; the sample feed answers": [
        ("app/cli/telling.py", "httpx"),
        ("app/sync/image/storing.py", "aiohttp"),
        ("workers/memory.py", "httpx"),
    ],
    "Only images knows the object store's client and the decoder; the sample feed draws": [
        ("app/sync/image/storing.py", "aioboto3"),
        ("app/cli/telling.py", "PIL.Image"),
        ("workers/memory.py", "botocore"),
    ],
    "Only traces knows OpenTelemetry": [
        ("app/logs.py", "opentelemetry.sdk.trace"),
        ("app/sync/operating/start.py", "opentelemetry.trace"),
        ("workers/memory.py", "opentelemetry"),
    ],
    "Only the doors know FastAPI": [
        ("app/sync/operating/start.py", "fastapi"),
        ("app/views/shapes.py", "fastapi"),
        ("app/cli/telling.py", "starlette.requests"),
        ("workers/memory.py", "fastapi"),
    ],
}
"""By contract: a file, and what it must not import."""


@pytest.fixture(scope="module")
def verdict(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What `lint-imports` says of the code with everything planted."""
    copy = tmp_path_factory.mktemp("planted")
    for folder in ("app", "workers"):
        shutil.copytree(ROOT / folder, copy / folder, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", copy)
    for file, module in dict.fromkeys(plant for plants in PLANTED.values() for plant in plants):
        with (copy / file).open("a") as written:
            written.write(f"\n\ndef planted_{module.replace('.', '_')}() -> None:\n    import {module}\n")
    ended = subprocess.run(
        [Path(sys.executable).parent / "lint-imports", "--no-cache"],
        cwd=copy,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 1
    return ended.stdout


def test_every_contract_has_an_import_that_breaks_it() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    assert [contract["name"] for contract in contracts] == list(PLANTED)


@pytest.mark.parametrize("contract", PLANTED)
def test_a_planted_import_breaks_its_contract(verdict: str, contract: str) -> None:
    flat = re.sub(r"\s+", " ", verdict)
    assert f"{contract} BROKEN" in flat
    for file, module in PLANTED[contract]:
        source, target = file.removesuffix(".py").replace("/", "."), module
        if not target.startswith(("app.", "workers.")):
            target = target.partition(".")[0]
        shown = (f"{source} -> {target} ", f"No cycles are allowed in {source.rpartition('.')[0]}.")
        assert any(way in flat for way in shown), f"{source} may import {module}"
