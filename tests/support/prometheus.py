"""Prometheus itself, out of Debian's package: its rules' checker, and a server that scrapes what a test runs."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import subprocess
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import yaml

from tests.support.plain_http import plain_client
from tests.support.receiver import free_port

ROOT = Path(__file__).resolve().parents[2]
RULES = ROOT / "deploy" / "prometheus" / "alerts.yaml"
DASHBOARD = ROOT / "deploy" / "grafana" / "dashboards" / "promidata-sync.json"
SCRAPE_EVERY, JUDGE_EVERY = "2s", "500ms"


def promtool(*arguments: str, folder: Path | None = None) -> subprocess.CompletedProcess[str]:
    """What promtool says."""
    tool = shutil.which("promtool")
    assert tool is not None, "promtool is not installed: apt-get install prometheus"
    return subprocess.run([tool, *arguments], cwd=folder, capture_output=True, text=True, timeout=120, check=False)


def rules() -> list[dict[str, Any]]:
    """The alert rules as they are deployed."""
    (group,) = yaml.safe_load(RULES.read_text())["groups"]
    found: list[dict[str, Any]] = group["rules"]
    return found


def panels() -> list[dict[str, Any]]:
    """The dashboard's panels that show something."""
    found = json.loads(DASHBOARD.read_text())["panels"]
    return [panel for panel in found if panel["type"] != "row"]


def expressions() -> list[str]:
    """Every expression of rules and dashboard, Grafana's interval as some time."""
    shown = [target["expr"] for panel in panels() for target in panel["targets"]]
    return [rule["expr"] for rule in rules()] + [text.replace("$__rate_interval", "1m") for text in shown]


def minutes_as_seconds(text: str) -> str:
    """The rules with every minute lasting a second: `15m` and `15 * 60` are fifteen seconds; nothing else is touched.

    >>> minutes_as_seconds("delta(a[15m]) > 15 * 60  # for: 2m")
    'delta(a[15s]) > 15 * 1  # for: 2s'
    """
    return re.sub(r"(\d+) \* 60\b", r"\1 * 1", re.sub(r"\b(\d+)m\b", r"\1s", text))


@dataclass(frozen=True)
class Prometheus:
    """A running server."""

    url: str

    async def query(self, expression: str) -> list[dict[str, Any]]:
        """The samples of an instant query."""
        async with plain_client(timeout=20) as http:
            answer = await http.get(f"{self.url}/api/v1/query", params={"query": expression})
        assert answer.status_code == 200, answer.text
        result: list[dict[str, Any]] = answer.json()["data"]["result"]
        return result

    async def firing(self) -> set[str]:
        """The alerts that fire now, each with what it names: `PromidataNoWorker image-upload`."""
        return {_named(sample["metric"]) for sample in await self.query('ALERTS{alertstate="firing"}')}

    async def fired_within(self, seconds: int) -> set[str]:
        """The alerts that fired at any time in so many seconds."""
        found = await self.query(f'count_over_time(ALERTS{{alertstate="firing"}}[{seconds}s])')
        return {_named(sample["metric"]) for sample in found}


def _named(labels: Mapping[str, str]) -> str:
    what = labels.get("queue") or labels.get("supplier") or ""
    return f"{labels['alertname']} {what}".strip()


@asynccontextmanager
async def running_prometheus(folder: Path, targets: Mapping[str, Sequence[str]]) -> AsyncIterator[Prometheus]:
    """A server that scrapes `targets` (job to `host:port`) every two seconds, the rules at sixty times speed."""
    program = shutil.which("prometheus")
    assert program is not None, "prometheus is not installed: apt-get install prometheus"
    (folder / "alerts.yaml").write_text(minutes_as_seconds(RULES.read_text()))
    timing = {"scrape_interval": SCRAPE_EVERY, "scrape_timeout": SCRAPE_EVERY, "evaluation_interval": JUDGE_EVERY}
    config = {
        "global": timing,
        "rule_files": ["alerts.yaml"],
        "scrape_configs": [
            {"job_name": job, "static_configs": [{"targets": list(addresses)}]} for job, addresses in targets.items()
        ],
    }
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
    address, log = f"127.0.0.1:{free_port()}", folder / "prometheus.log"
    arguments = ["--config.file=prometheus.yml", "--storage.tsdb.path=tsdb", f"--web.listen-address={address}"]
    process = _spawn([program, *arguments], folder, log)
    try:
        async with asyncio.timeout(30), plain_client() as http:
            while not await _ready(http, address):
                assert process.poll() is None, log.read_text()
                await asyncio.sleep(0.1)
        yield Prometheus(f"http://{address}")
    finally:
        process.kill()
        await asyncio.to_thread(process.wait, 10)


def _spawn(arguments: Sequence[str], folder: Path, log: Path) -> subprocess.Popen[bytes]:
    with log.open("wb") as output:
        return subprocess.Popen(arguments, cwd=folder, stdout=output, stderr=output)


async def _ready(http: httpx.AsyncClient, address: str) -> bool:
    try:
        return (await http.get(f"http://{address}/-/ready")).status_code == 200
    except httpx.HTTPError:
        return False
