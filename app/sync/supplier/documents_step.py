"""Fetching documents: bounded parallelism, retries that hold no slot, everything compressed as it arrives.

    wanted ─▶ n fetchers ─▶ GET ─▶ outline, sha256, zstd (in a thread) ─▶ outcomes, a bounded queue
                  ▲                     │ transient, or its host wants a pause: again after that, and others meanwhile
                  └─────────────────────┘

Memory does not grow with the catalogue: the queue of outcomes is bounded and holds compressed bodies only.
"""

from __future__ import annotations

import asyncio
import hashlib
import heapq
from collections.abc import Callable, Sequence

import msgspec
import zstandard

from app import traces
from app.catalogue.grouping import family_key
from app.errors import DocumentUnreadable, NoPlace, OriginRefused, OriginUnavailable, PermanentError
from app.feed.manifest import request_url
from app.feed.outline import read_outline
from app.outbound.client import FetchLimits
from app.persistence.documents import FailedDocument, FetchedDocument, WantedDocument
from app.settings import Settings
from app.sync.services import Services
from app.sync.stage.backoff import retry_wait_s
from app.sync.stage.context import plain_reason
from app.sync.stage.places import place_within_s
from app.sync.stage.tasks import together
from app.sync.supplier.manifest_step import document_hosts

OUTCOMES_AHEAD = 64
"""Documents that may wait to be committed; fetching pauses when the database is slower than the origin."""
DEAD_STATUSES = frozenset({401, 403, 404, 410})

Arrival = FetchedDocument | FailedDocument


class _Try(msgspec.Struct, order=True):
    due: float
    number: int
    """In the manifest's order, so that no two are alike."""
    document: WantedDocument
    attempts: int = 0


class DocumentFetcher:
    """Fetches the documents of one run; read `outcomes` until None comes.

    `waits` is told for how many seconds a document is not asked for.
    """

    def __init__(
        self,
        services: Services,
        supplier_code: str,
        wanted: Sequence[WantedDocument],
        *,
        waits: Callable[[float], None],
    ) -> None:
        self._services = services
        self._settings: Settings = services.settings
        self._supplier = supplier_code
        self._waits = waits
        self._waiting = [_Try(0.0, number, document) for number, document in enumerate(wanted)][::-1]
        self._open = len(wanted)
        self._later: list[_Try] = []
        self._moved = asyncio.Event()
        self.outcomes: asyncio.Queue[Arrival | None] = asyncio.Queue(OUTCOMES_AHEAD)

    async def run(self) -> None:
        """Fetch everything; ends with a None in `outcomes`."""
        async with together() as group:
            for _ in range(min(self._settings.concurrency_documents, max(1, self._open))):
                group.create_task(self._fetcher())
        await self.outcomes.put(None)

    async def _fetcher(self) -> None:
        while self._open:
            attempt = self._next()
            if attempt is None:
                await self._wait()
                continue
            outcome = await self._fetch(attempt)
            if outcome is not None:
                self._open -= 1
                await self.outcomes.put(outcome)
            self._moved.set()

    def _next(self) -> _Try | None:
        if self._later and self._later[0].due <= asyncio.get_running_loop().time():
            return heapq.heappop(self._later)
        return self._waiting.pop() if self._waiting else None

    async def _wait(self) -> None:
        """Until a retry is due, or another fetcher has moved something."""
        self._moved.clear()
        pause_s = self._later[0].due - asyncio.get_running_loop().time() if self._later else 1.0
        try:
            async with asyncio.timeout(max(0.01, min(pause_s, 1.0))):
                await self._moved.wait()
        except TimeoutError:
            return

    async def _fetch(self, attempt: _Try) -> Arrival | None:
        """The outcome, or None when the document is to be asked for again."""
        document = attempt.document
        try:
            return await self._get(document)
        except NoPlace as error:
            self._put_off(attempt, error.wait_s)
            return None
        except OriginUnavailable as error:
            attempt.attempts += 1
            wait_s = retry_wait_s(self._settings, attempt.attempts, error.retry_after_s)
            if attempt.attempts >= self._settings.job_max_attempts or wait_s is None:
                return _failed(document, "origin-unavailable", str(error), dead=False)
            self._put_off(attempt, wait_s)
            return None
        except OriginRefused as error:
            dead = error.status in DEAD_STATUSES
            return _failed(document, error.kind, str(error), dead=dead)
        except PermanentError as error:
            return _failed(document, error.kind, str(error), dead=False)

    def _put_off(self, attempt: _Try, wait_s: float) -> None:
        attempt.due = asyncio.get_running_loop().time() + wait_s
        heapq.heappush(self._later, attempt)
        self._waits(wait_s)

    async def _get(self, document: WantedDocument) -> FetchedDocument:
        settings = self._settings
        with traces.span("document fetch", kind="client", url=document.url, document=document.file_name) as span:
            fetched = await self._services.outbound.get(
                request_url(document.url),
                kind="document",
                limits=_limits(settings),
                allowed_hosts=document_hosts(settings),
                headers={"Cache-Control": "no-cache", "Pragma": "no-cache"} if document.suspect else {},
                place_within_s=place_within_s(settings.job_timeout_supplier_ms),
            )
            taken = await asyncio.to_thread(_take, document, fetched.body, self._supplier)
            span.note(bytes=len(fetched.body), sku=taken.sku)
        return taken


def _limits(settings: Settings) -> FetchLimits:
    return FetchLimits(
        max_bytes=settings.document_max_bytes,
        connect_timeout_s=settings.connect_timeout_s,
        first_byte_timeout_s=settings.first_byte_timeout_s,
        total_timeout_s=settings.document_timeout_s,
    )


def _take(document: WantedDocument, body: bytes, supplier: str) -> FetchedDocument:
    try:
        outline = read_outline(body)
    except DocumentUnreadable as error:
        if error.kind == "document-cut":
            raise OriginUnavailable(f"the document ended early: {error}") from error
        raise
    return FetchedDocument(
        id=document.id,
        file_name=document.file_name,
        hash=document.hash,
        sku=outline.sku,
        family_sku=family_key(outline, supplier),
        has_children=outline.has_children,
        child_skus=outline.child_skus,
        sha256=hashlib.sha256(body).digest(),
        size_bytes=len(body),
        body=zstandard.compress(body, 3),
    )


def _failed(document: WantedDocument, kind: str, message: str, *, dead: bool) -> FailedDocument:
    return FailedDocument(document.id, document.url, kind, plain_reason(message, document.url), dead)
