"""The alert rules, asked of promtool: when each fires, what is just not one, and that each has its page.

That its cause makes an alert fire on real processes is tests/chaos/test_alerts.py's.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

from tests.support.prometheus import DASHBOARD, ROOT, RULES, expressions, panels, promtool, rules

GRAFANA, SCRAPING = DASHBOARD.parents[1], RULES.with_name("prometheus.yaml")
FIRING = 'count by (alertname, severity, queue, supplier, part) (ALERTS{alertstate="firing"})'
IMAGES = 'queue="image-upload"'
ENDED = f'promidata_job_seconds_count{{instance="w",outcome="completed",{IMAGES}}}'
FAILED = f'promidata_job_seconds_count{{instance="w",outcome="failed",{IMAGES}}}'
AGAIN = f'promidata_jobs_failed_again_total{{instance="w",{IMAGES}}}'
COMPLETED = f'promidata_jobs{{{IMAGES},state="completed"}}'
HEALTHY = {
    'promidata_database_up{instance="api"}': "1+0x60",
    'promidata_workers{queue="supplier-sync"}': "1+0x60",
    f"promidata_workers{{{IMAGES}}}": "2+0x60",
    'promidata_part_up{part="database"}': "1+0x60",
    'promidata_part_up{part="redis"}': "1+0x60",
    'promidata_part_up{part="storage"}': "1+0x60",
    'promidata_outage_seconds{instance="w",part="database"}': "0+0x60",
    f'promidata_queue_oldest_seconds{{{IMAGES},state="waiting"}}': "0+60x60",
    'promidata_queue_oldest_seconds{queue="supplier-sync",state="waiting"}': "0+60x60",
    ENDED: "0+10x60",
    FAILED: "0+1x60",
    AGAIN: "0+0x60",
    COMPLETED: "0+10x60",
    'promidata_supplier_last_run_failed{supplier="A23"}': "0+0x60",
    'promidata_supplier_guard_tripped{supplier="A23"}': "0+0x60",
    'promidata_supplier_run_seconds{supplier="A23"}': "0+60x60",
    "promidata_changes_lag_seconds": "0+0x60",
}
"""An hour of a sync: a backlog that grows old and gets on, every eleventh picture failing. A step is a minute."""
OF_IMAGES, OF_A23 = f"warning,{IMAGES}", 'warning,supplier="A23"'


class Case(NamedTuple):
    """What is otherwise than in a healthy hour, and which alerts fire after so many minutes: `name severity,labels`."""

    name: str
    otherwise: dict[str, str]
    fires: dict[int, list[str]]


CASES = (
    Case("a healthy hour", {}, {15: [], 45: []}),
    Case("no API", {'promidata_database_up{instance="api"}': "1 1 stale"}, {3: [], 5: ["ApiDown critical"]}),
    Case(
        "a worker that comes back at once, then none for two minutes",
        {f"promidata_workers{{{IMAGES}}}": "2 0 1 0 0 0+0x50"},
        {4: [], 6: [f"NoWorker critical,{IMAGES}"]},
    ),
    Case(
        "nothing ends, by nobody's word",
        {ENDED: "0+0x60", FAILED: "0+0x60", COMPLETED: "5+0x60"},
        {
            15: [],
            18: [f"QueueStuck critical,{IMAGES}"],
            33: [f"QueueStuck critical,{IMAGES}", 'QueueStuck critical,queue="supplier-sync"'],
        },
    ),
    Case("workers are not scraped and the ledger's counters move", {ENDED: "0+0x60", FAILED: "0+0x60"}, {45: []}),
    Case("a third of the pictures fail", {FAILED: "0+5x60"}, {20: [f"FailureRate {OF_IMAGES}"]}),
    Case("a quiet night with dead pictures", {FAILED: "0 9 9+0x58", AGAIN: "0 9 9+0x58", ENDED: "0+0x60"}, {10: []}),
    Case(
        "dead ones, and seven that failed for the first time",
        {FAILED: "0 16 16+0x58", AGAIN: "0 9 9+0x58", ENDED: "0 1 1+0x58"},
        {10: [f"FailureRate {OF_IMAGES}"]},
    ),
    Case("four of five pictures fail: too few to tell", {FAILED: "0 4 4+0x58", ENDED: "0 1 1+0x58"}, {10: []}),
    Case(
        "a failed run",
        {'promidata_supplier_last_run_failed{supplier="A23"}': "0 1+0x59"},
        {2: [], 4: [f"FeedFailing {OF_A23}"]},
    ),
    Case(
        "the guard",
        {'promidata_supplier_guard_tripped{supplier="A23"}': "0 1+0x59"},
        {2: [], 4: [f"GuardTripped {OF_A23}"]},
    ),
    Case(
        "a run of four hours",
        {'promidata_supplier_run_seconds{supplier="A23"}': "14300+60x60"},
        {2: [], 5: [f"RunTooLong {OF_A23}"]},
    ),
    Case(
        "changes without a number",
        {"promidata_changes_lag_seconds": "0+60x60"},
        {3: [], 6: ["ChangeFeedBehind warning"]},
    ),
    Case(
        "a database that refuses, by the API's word",
        {'promidata_part_up{part="database"}': "1 0+0x59"},
        {2: [], 4: ['DatabaseRefusing critical,part="database"']},
    ),
    Case(
        "a database that refuses, by a worker's word",
        {'promidata_outage_seconds{instance="w",part="database"}': "0+60x60"},
        {3: [], 6: ['DatabaseRefusing critical,part="database"']},
    ),
    Case(
        "a store that refuses, by one API's word of two",
        {'promidata_part_up{instance="other",part="storage"}': "0+0x60"},
        {1: [], 3: ['StorageRefusing critical,part="storage"']},
    ),
    Case(
        "Redis is away",
        {'promidata_part_up{part="redis"}': "1 0+0x59"},
        {2: [], 4: ['RedisRefusing critical,part="redis"']},
    ),
)


@pytest.mark.prometheus
def test_each_alert_fires_for_its_cause_alone_and_not_a_minute_early(tmp_path: Path) -> None:
    written = {"rule_files": [str(RULES)], "evaluation_interval": "1m", "tests": [_written(case) for case in CASES]}
    (tmp_path / "cases.yaml").write_text(yaml.safe_dump(written))
    assert {rule["alert"] for rule in rules()} == {
        f"Promidata{alert.partition(' ')[0]}" for case in CASES for alerts in case.fires.values() for alert in alerts
    }
    checked = promtool("check", "rules", str(RULES))
    assert checked.returncode == 0, checked.stderr
    assert "lint error" not in checked.stdout + checked.stderr
    tested = promtool("test", "rules", "cases.yaml", folder=tmp_path)
    assert tested.returncode == 0, tested.stdout + tested.stderr


def _written(case: Case) -> dict[str, Any]:
    series = {**HEALTHY, **case.otherwise}
    return {
        "name": case.name,
        "interval": "1m",
        "input_series": [{"series": name, "values": values} for name, values in series.items()],
        "promql_expr_test": [
            {"expr": FIRING, "eval_time": f"{minute}m", "exp_samples": [_sample(alert) for alert in alerts]}
            for minute, alerts in case.fires.items()
        ],
    }


def _sample(alert: str) -> dict[str, Any]:
    name, _, rest = alert.partition(" ")
    severity, _, labels = rest.partition(",")
    more = f",{labels}" if labels else ""
    return {"labels": f'{{alertname="Promidata{name}",severity="{severity}"{more}}}', "value": 1}


@pytest.mark.prometheus
def test_prometheus_reads_every_expression_of_the_dashboard_and_the_scraping(tmp_path: Path) -> None:
    recorded = [{"record": f"panel:{number}", "expr": text} for number, text in enumerate(expressions())]
    (tmp_path / "panels.yaml").write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": recorded}]}))
    for arguments in (("check", "rules", "panels.yaml"), ("check", "config", "--syntax-only", str(SCRAPING))):
        checked = promtool(*arguments, folder=tmp_path)
        assert checked.returncode == 0, checked.stdout + checked.stderr


def test_the_dashboard_is_where_it_is_provisioned_and_each_panel_has_its_place() -> None:
    (provider,) = yaml.safe_load((GRAFANA / "provisioning/dashboards/promidata-sync.yaml").read_text())["providers"]
    mounted = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]["grafana"]["volumes"]
    assert f"./deploy/grafana/dashboards:{provider['options']['path']}:ro" in mounted
    places = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in panels()]
    assert len(set(places)) == len(places) > 25
    assert len({panel["id"] for panel in panels()}) == len(places)
    for panel in panels():
        assert panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24
        assert panel["description"], panel["title"]
        assert all(target["datasource"]["uid"] == "${datasource}" for target in panel["targets"])


def test_each_alert_says_what_to_do_and_has_its_page() -> None:
    for rule in rules():
        assert rule["labels"]["severity"] in {"critical", "warning"}
        assert len(rule["annotations"]["summary"]) > 40
        assert rule["annotations"]["runbook_url"] == f"docs/runbooks/{rule['alert']}.md"
        page = (ROOT / rule["annotations"]["runbook_url"]).read_text()
        assert page.startswith(f"# {rule['alert']}\n")
        assert re.findall(r"^## (.+)$", page, re.MULTILINE) == ["What it means", "Where to look", "What to do"]
    pages = {page.stem for page in (ROOT / "docs" / "runbooks").glob("Promidata*.md")}
    assert pages == {rule["alert"] for rule in rules()}
