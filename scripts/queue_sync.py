"""Show the queue end to end against a running service: start a sync, follow its jobs, print the numbers.

    python scripts/queue_sync.py --url http://127.0.0.1:8000 [--supplier A23] [--key SECRET]

Uses nothing but the HTTP API (startSync, getJobStatus, getQueueStats, runs), as a caller would. Exit code 0 when every
run completed, 1 otherwise.
"""

from __future__ import annotations

import argparse
import sys
import time
from typing import Any

import httpx

LOOK_EVERY_S = 1.0
UNDER_WAY = ("queued", "running", "cancelling")


def main() -> int:
    """Start, follow, stats."""
    options = arguments()
    headers = {"Authorization": f"Bearer {options.key}"} if options.key else {}
    with httpx.Client(base_url=options.url, headers=headers, timeout=30, trust_env=False) as api:
        try:
            jobs = start(api, options.supplier)
            statuses = [follow(api, job) for job in jobs]
            print_stats(api)
        except httpx.HTTPStatusError as error:
            return complain(f"{error.request.method} {error.request.url}: {error.response.text}")
        except httpx.HTTPError as error:
            return complain(f"{options.url}: {error or type(error).__name__}; is the service running there?")
    return 0 if all(status == "completed" for status in statuses) else 1


def arguments() -> argparse.Namespace:
    """What was typed."""
    parser = argparse.ArgumentParser(description="Show the queue end to end against a running service.")
    parser.add_argument("--url", default="http://127.0.0.1:8000", help="where the service is")
    parser.add_argument("--supplier", help="code or documentId; all active ones without")
    parser.add_argument("--key", help="an API key of role operator or admin")
    return parser.parse_args()


def complain(message: str) -> int:
    """Say what failed; returns the exit code."""
    sys.stderr.write(f"queue_sync: {message}\n")
    return 1


def ask(api: httpx.Client, method: str, path: str, **body: Any) -> dict[str, Any]:
    """One call that has to succeed."""
    answer = api.request(method, path, **body)
    answer.raise_for_status()
    result: dict[str, Any] = answer.json()
    return result


def start(api: httpx.Client, supplier: str | None) -> list[dict[str, Any]]:
    """Start the sync; returns a job a supplier."""
    answer = ask(api, "POST", "/api/v1/sync", json={} if supplier is None else {"supplierId": supplier})
    print(f"startSync: {answer['message']} ({answer['suppliersEnqueued']} enqueued)")
    jobs: list[dict[str, Any]] = answer["jobs"]
    for job in jobs:
        print(f"  {job['supplier']}: {job['status']}, job {job['jobId']}")
    return jobs


def follow(api: httpx.Client, job: dict[str, Any]) -> str:
    """Print how a supplier's job and its run get on, until the run is over; returns its status."""
    shown = ""
    while True:
        line, run = look(api, job)
        if line != shown:
            print(line, flush=True)
            shown = line
        if run["status"] not in UNDER_WAY:
            return str(run["status"])
        time.sleep(LOOK_EVERY_S)


def look(api: httpx.Client, job: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """One line on a supplier's job and its run."""
    status = ask(api, "GET", f"/api/v1/queues/{job['queueName']}/jobs/{job['jobId']}")
    run = ask(api, "GET", f"/api/v1/runs/{job['runId']}")
    progress = status["progress"] or {"step": "-", "percentage": 0}
    families, images = run["families"], run["images"]
    pictures = f"{images['uploaded'] + images['deduplicated']}/{images['total']}"
    return (
        f"  {job['supplier']}: job {status['state']} {progress['step']} {progress['percentage']} %, "
        f"run {run['status']}, families {families['completed']}/{families['total']}, pictures {pictures}"
    ), run


def print_stats(api: httpx.Client) -> None:
    """Print the numbers of the three queues."""
    print("getQueueStats:")
    for stats in ask(api, "GET", "/api/v1/queues/stats").values():
        numbers = ", ".join(f"{name} {stats[name]}" for name in ("waiting", "active", "delayed", "completed", "failed"))
        print(f"  {stats['queueName']}: {numbers}")


if __name__ == "__main__":
    sys.exit(main())
