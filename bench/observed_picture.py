"""What is told of one picture, without the picture: the spans and the counting of an image job, alone in a process.

Whole syncs differ by more than this costs from one to the next; CPU over some thousand of these does not.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable, Mapping
from uuid import uuid4

from app import traces
from app.jobs.definitions import IMAGE_UPLOAD
from app.metrics.registry import series
from app.metrics.traffic import OutboundRequest, measured
from app.metrics.work import JOB_SECONDS, JOB_WAIT_SECONDS, count_items
from app.persistence.ledger import ClaimedJob, RunOptions
from app.settings import Settings
from app.sync.running.attempts import attempt_at

ROUNDS = 5
PAUSE_EVERY = 100
"""Pictures between pauses, so that the exporter's thread comes round as it does in a worker."""
COMMITTED_TOGETHER = 20
BODY = bytes(80_000)
TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7"
URL = "https://feed.example/Profiles/Live/0f3c9a2e/Import/pictures/A23-1234567.jpg"


class _Store:
    host = "local"

    @measured("put")
    async def put(self, key: str, body: bytes) -> None:
        """Nothing is stored."""


class Told:
    """Microseconds of CPU a picture, by what is told of it: the medians of rounds in turn."""

    def __init__(self, endpoint: str, *, pictures: int) -> None:
        self._endpoint, self._pictures = endpoint, pictures

    def us(self) -> Mapping[str, float]:
        """Measure it; `without` is what the bare loop costs, and is taken off the others."""
        found: dict[str, list[float]] = {}
        for _ in range(ROUNDS):
            for kind, run in self._kinds().items():
                found.setdefault(kind, []).append(self._measured(run))
        middle = {kind: statistics.median(each) for kind, each in found.items()}
        without = middle.pop("without")
        return {kind: us - without for kind, us in middle.items()}

    def _kinds(self) -> dict[str, Callable[[], Awaitable[None]]]:
        return {
            "without": lambda: self._spans(None, "01"),
            "metrics": self._metrics,
            "traces, not sampled": lambda: self._spans(self._endpoint, "00"),
            "traces, sampled": lambda: self._spans(self._endpoint, "01"),
        }

    def _measured(self, run: Callable[[], Awaitable[None]]) -> float:
        async def work() -> None:
            await run()

        begun = time.process_time()
        asyncio.run(work())
        return (time.process_time() - begun) / self._pictures * 1e6

    async def _metrics(self) -> None:
        store = _Store()
        for number in range(self._pictures):
            await _count(store)
            if number % COMMITTED_TOGETHER == 0:
                count_items({"images_uploaded": COMMITTED_TOGETHER})
        await self._spans(None, "01")  # as the others have it

    async def _spans(self, endpoint: str | None, sampled: str) -> None:
        settings = Settings(_env_file=None, otel_exporter_otlp_endpoint=endpoint)
        job = _job(f"{TRACE}-{sampled}")
        committed: list[str | None] = []
        async with traces.exporting(settings, "bench"):
            for number in range(self._pictures):
                committed.append(_trace(job))
                if len(committed) == COMMITTED_TOGETHER:
                    with traces.span("batch commit", batch=committed, images=COMMITTED_TOGETHER):
                        committed = []
                if number % PAUSE_EVERY == 0:
                    await asyncio.sleep(0.005)


async def _count(store: _Store) -> None:
    series(JOB_WAIT_SECONDS, IMAGE_UPLOAD).observe(0.1)
    with OutboundRequest("feed.example", "picture") as request:
        request.answered(len(BODY))
    await store.put("key", BODY)
    series(JOB_SECONDS, IMAGE_UPLOAD, "completed").observe(0.1)


def _trace(job: ClaimedJob) -> str | None:
    """The spans of a picture; gives what its commit is linked to."""
    with attempt_at(job) as (mine, attempt):
        with traces.span("download", kind="client", url=URL) as download:
            download.note(bytes=len(BODY), outcome="fetched")
        with traces.span("inspect", bytes=len(BODY)):
            pass
        with traces.span("put", kind="client", bytes=len(BODY), object=f"ab/cd/{'a' * 64}.jpg"):
            pass
        attempt.note(outcome="completed")
    return mine.traceparent


def _job(traceparent: str) -> ClaimedJob:
    ids = [str(uuid4()) for _ in range(2)]
    return ClaimedJob(
        ids[0],
        IMAGE_UPLOAD,
        ids[1],
        1,
        None,
        {"address_id": 7},
        False,
        0,
        0,
        uuid4(),
        RunOptions(),
        supplier="A23",
        traceparent=traceparent,
    )
