"""The callers of `python -m bench load`, as locust runs them: a program of its own, since gevent patches its process.

    locust -f bench/load_users.py ─▶ each kind of caller at its rate ─▶ LOAD_TO: milliseconds and statuses by call

Each caller waits a second on average from an answer to its next call, as independent callers do (exponentially), and
there are as many as the rate needs; the report says how many calls came of that. Callers that ask once in each second
do not stay apart: whoever waited for the same long answer asks in the same moment from then on, and what is measured is
how long a burst takes. Validators and cursors are sent as a shop's program does.
"""

from __future__ import annotations

import itertools
import json
import os
import random
import time
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

from locust import FastHttpUser, events, task

CALLERS = {"Starter": 2, "Watcher": 20, "Browser": 10, "Buyer": 20, "Copier": 1, "Follower": 5, "Listener": 1}
EXPORT_EVERY_S = 3.0
PAGE = 50
NDJSON = {"Accept": "application/x-ndjson", "Accept-Encoding": "gzip"}

took_ms: defaultdict[str, list[float]] = defaultdict(list)
ended: defaultdict[str, Counter[str]] = defaultdict(Counter)
heard: Counter[str] = Counter()
job = os.environ["LOAD_JOB"]
skus = itertools.cycle(json.loads(os.environ["LOAD_SKUS"]))


class Caller(FastHttpUser):
    """One that asks about once a second."""

    abstract = True
    every_s = 1.0
    """On average, from an answer to the next call."""
    network_timeout = connection_timeout = 60.0

    def wait_time(self) -> float:
        """Seconds until its next call, as locust asks for them."""
        return random.expovariate(1 / self.every_s)

    def on_start(self) -> None:
        """Begin as it goes on: locust starts all of them in one moment."""
        time.sleep(self.wait_time())


class Starter(Caller):
    """Starts a forced sync; mostly one is under way."""

    fixed_count = CALLERS["Starter"]

    @task
    def start_sync(self) -> None:
        """One call of startSync."""
        global job  # noqa: PLW0603  what the watchers look at
        with self.client.post("/api/v1/sync", json={"force": True}, name="startSync", catch_response=True) as answer:
            if answer.status_code == 202:
                job = answer.json()["jobs"][0]["jobId"]


class Watcher(Caller):
    """Looks at the last job."""

    fixed_count = CALLERS["Watcher"]

    @task
    def look(self) -> None:
        """One call of getJobStatus."""
        self.client.get(f"/api/v1/queues/supplier-sync/jobs/{job}", name="getJobStatus")


class Browser(Caller):
    """Pages through the products."""

    fixed_count = CALLERS["Browser"]
    cursor: str | None = None

    @task
    def page(self) -> None:
        """One page, and the next one the next time."""
        at = f"&cursor={self.cursor}" if self.cursor else ""
        answer = self.client.get(f"/api/v1/products?limit={PAGE}{at}", name="a page of products")
        self.cursor = answer.json()["nextCursor"] if answer.status_code == 200 else None


class Buyer(Caller):
    """Looks at one product after the other."""

    fixed_count = CALLERS["Buyer"]

    @task
    def product(self) -> None:
        """A whole product."""
        self.client.get(f"/api/v1/products/{next(skus)}", name="a product")


class Copier(Caller):
    """Takes the whole catalogue, where it has changed."""

    fixed_count = CALLERS["Copier"]
    every_s = EXPORT_EVERY_S
    etag: str | None = None

    @task
    def export(self) -> None:
        """The conditional export, read to its end."""
        headers = {**NDJSON, "If-None-Match": self.etag} if self.etag else NDJSON
        answer = self.client.get("/api/v1/products", headers=headers, name="the export")
        if answer.status_code == 200 and answer.headers:
            self.etag = str(answer.headers["etag"])


class Follower(Caller):
    """Follows the change feed."""

    fixed_count = CALLERS["Follower"]
    since = 0

    @task
    def changes(self) -> None:
        """What came since the last look."""
        answer = self.client.get(f"/api/v1/changes?since={self.since}", name="changes")
        if answer.status_code == 200:
            page = answer.json()
            self.since = page["nextCursor"] or page["head"]


class Listener(Caller):
    """Holds the event stream open."""

    fixed_count = CALLERS["Listener"]
    network_timeout = 3600.0

    @task
    def listen(self) -> None:
        """The stream until it ends, which it should not."""
        for line in self.client.iter_lines("/api/v1/events", name="/events opened"):
            heard["events"] += line.startswith("event:")
        heard["streams that ended"] += 1


def _note(name: str, response_time: float, response: Any, exception: BaseException | None, **_: object) -> None:
    took_ms[name].append(response_time)
    status = getattr(response, "status_code", 0) or 0
    ended[name][str(status) if status else f"{type(exception).__name__}: {exception}"[:120]] += 1


def _tell(**_: object) -> None:
    cpu_s = time.process_time()
    told = {"took_ms": took_ms, "ended": ended, "heard": heard, "cpu_s": cpu_s}
    Path(os.environ["LOAD_TO"]).write_text(json.dumps(told))


events.request.add_listener(_note)  # type: ignore[no-untyped-call]
events.quitting.add_listener(_tell)  # type: ignore[no-untyped-call]
