"""Starting a sync: queued, direct, or as a dry run.

body ─▶ idempotency key claimed? ─▶ dry run │ direct │ queued ─▶ the answer, kept under the key
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

import msgspec
from fastapi import APIRouter, Body, Header, Request
from fastapi.openapi.models import Example
from fastapi.responses import JSONResponse
from pydantic import BeforeValidator, Field, StrictBool, ValidationInfo, field_validator

from app.api.answer_in_time import asks_the_feed, takes_long
from app.api.auth import GuardedRoute, Operator
from app.api.idempotent import answer_once
from app.api.problems import problem_answers
from app.api.schemas import ServicesNeeded
from app.jobs.definitions import SUPPLIER_SYNC
from app.persistence import audit
from app.sync.operating.dry_run import dry_run
from app.sync.operating.start import Started, StartRequest, Trigger, start_queued
from app.sync.running.direct import DirectResult, sync_direct
from app.sync.services import Services
from app.views.bodies import In, Storable
from app.views.shapes import Out, example, shown_json

router = APIRouter(prefix="/api/v1", tags=["sync"], route_class=GuardedRoute)

Sku = Annotated[str, Field(min_length=1, max_length=300), Storable]
BODY_EXAMPLES = {
    "all": Example(summary="All active suppliers, queued", value={}),
    "one": Example(summary="One supplier, queued", value={"supplierId": "A360"}),
    "direct": Example(summary="One supplier, in this process", value={"supplierId": "A360", "useQueue": False}),
    "dry run": Example(summary="What would be done", value={"dryRun": True}),
}
MESSAGE = "Sync jobs enqueued. Use getJobStatus() to track progress."


class StartSync(In):
    """What to sync; nothing means all active suppliers, queued."""

    supplier_id: Annotated[str, Field(min_length=1, max_length=300), Storable] | None = Field(
        None, description="A supplier's `documentId` or code."
    )
    use_queue: StrictBool = Field(
        True, description="False runs the sync in the API process and answers when it is done."
    )
    dry_run: StrictBool = Field(False, description="Decide from the manifest what would be done, and write nothing.")
    force: StrictBool = Field(False, description="Fetch and write everything, whatever the hashes say.")
    skus: Annotated[list[Sku], Field(min_length=1, max_length=10_000)] | None = Field(
        None,
        description="As `force`, for these families of one supplier only. What their documents list no more is"
        " discontinued, unless a document that was not read yet may list it: then the next whole sync decides.",
    )

    @field_validator("skus")
    @classmethod
    def _of_one_supplier(cls, skus: list[str] | None, info: ValidationInfo) -> list[str] | None:
        if skus is not None and info.data.get("supplier_id", skus) is None:
            raise ValueError("names families of one supplier: give supplierId too")
        return skus

    def request(self, trigger: Trigger = "api") -> StartRequest:
        """The same for the sync itself, and who asks for it."""
        skus = None if self.skus is None else tuple(self.skus)
        return StartRequest(self.supplier_id, force=self.force, skus=skus, trigger=trigger)


Asked = Annotated[StartSync, BeforeValidator(lambda body: {} if body is None else body)]
"""`null` asks for what no body asks for; described as a choice of both, generated clients could not leave it out."""


class StartedJob(Out):
    """One supplier's run."""

    supplier: str
    job_id: str
    queue_name: str = SUPPLIER_SYNC
    status: Literal["enqueued", "already-running"]
    run_id: str


class QueuedAnswer(Out):
    """The runs that were started, or are under way."""

    model_config = example(
        success=True,
        mode="queued",
        suppliersEnqueued=1,
        jobs=[
            {
                "supplier": "A360",
                "jobId": "supplier-sync-1730000000000-A360",
                "queueName": "supplier-sync",
                "status": "enqueued",
                "runId": "5b0c9c1e-0d7c-4f5e-9a53-0c7ad4f4d1c8",
            }
        ],
        message=MESSAGE,
    )
    success: bool = True
    mode: Literal["queued"] = "queued"
    suppliers_enqueued: int
    jobs: list[StartedJob]
    message: str = MESSAGE


class DirectSupplier(Out):
    """What a direct sync did for one supplier."""

    supplier: str
    products_processed: int
    errors: int
    skipped: int
    duration: str
    run_id: str


class DirectAnswer(Out):
    """What a direct sync did; `success` is false where a run failed or was cancelled."""

    model_config = example(
        success=True,
        mode="direct",
        suppliersProcessed=1,
        results=[
            {
                "supplier": "A360",
                "productsProcessed": 10,
                "errors": 0,
                "skipped": 98,
                "duration": "45.23s",
                "runId": "5b0c9c1e-0d7c-4f5e-9a53-0c7ad4f4d1c8",
            }
        ],
    )
    success: bool = True
    mode: Literal["direct"] = "direct"
    suppliers_processed: int
    results: list[DirectSupplier]


class DryRunSupplier(Out):
    """What a sync of one supplier would do."""

    supplier: str
    manifest: dict[str, int]
    guard: dict[str, Any] | None
    skus: dict[str, list[str]]


class DryRunAnswer(Out):
    """What a sync would do, decided from the manifest alone."""

    model_config = example(
        success=True,
        mode="dry-run",
        suppliers=[
            {
                "supplier": "A360",
                "manifest": {"entries": 100, "new": 5, "changed": 0, "unchanged": 95, "removed": 0, "invalid": 0},
                "guard": None,
                "skus": {"new": ["A360-100804"], "changed": [], "removed": []},
            }
        ],
    )
    success: bool = True
    mode: Literal["dry-run"] = "dry-run"
    suppliers: list[DryRunSupplier]


@router.post(
    "/sync",
    operation_id="startSync",
    summary="Start a sync of one supplier or of all active ones",
    status_code=202,
    response_model=QueuedAnswer,
    responses={
        200: {"model": DirectAnswer | DryRunAnswer, "description": "A direct sync that is done, or a dry run"},
        **problem_answers(403, 404, 408, 409, 502),
    },
)
async def start_sync(
    request: Request,
    services: ServicesNeeded,
    caller: Operator,
    body: Annotated[Asked, Body(default_factory=StartSync, openapi_examples=BODY_EXAMPLES)],
    idempotency_key: Annotated[
        str | None,
        Header(
            alias="Idempotency-Key",
            min_length=1,
            max_length=255,
            description="Of a call and its repeats, for 24 hours.",
        ),
    ] = None,
) -> JSONResponse:
    """Start runs and answer at once, or, with `useQueue: false`, when they are done.

    With an `Idempotency-Key` a repeated call answers what the first one did; the key is kept for 24 hours. A refusal
    (404, 409) is repeated like any other answer, also when its reason is gone: another attempt takes another key. Of a
    5xx nothing is kept.
    """
    return await answer_once(request, caller, idempotency_key, body, lambda: _start(request, services, body))


async def _start(request: Request, services: Services, asked: StartSync) -> tuple[int, dict[str, Any]]:
    answer: Out
    audit.mention(asked.supplier_id, **({"dryRun": True} if asked.dry_run else {}))
    if asked.dry_run:
        asks_the_feed(request)
        answer, status = await _dry_run(services, asked), 200
    elif asked.use_queue:
        answer, status = _queued_answer(await start_queued(services, asked.request())), 202
    else:
        results = await sync_direct(services, asked.request(), tell=lambda _: takes_long(request))
        answer, status = _direct_answer(results), 200
    return status, shown_json(answer)


def _queued_answer(started: Sequence[Started]) -> QueuedAnswer:
    jobs = [
        StartedJob(
            supplier=run.supplier,
            job_id=run.job_id,
            run_id=run.run_id,
            status="enqueued" if run.started else "already-running",
        )
        for run in started
    ]
    return QueuedAnswer(suppliers_enqueued=sum(run.started for run in started), jobs=jobs)


def _direct_answer(results: Sequence[DirectResult]) -> DirectAnswer:
    suppliers = [
        DirectSupplier(
            supplier=result.supplier,
            products_processed=result.products_processed,
            errors=result.errors,
            skipped=result.skipped,
            duration=f"{result.duration_s:.2f}s",
            run_id=result.run_id,
        )
        for result in results
    ]
    success = all(result.succeeded for result in results)
    return DirectAnswer(success=success, suppliers_processed=len(suppliers), results=suppliers)


async def _dry_run(services: Services, asked: StartSync) -> DryRunAnswer:
    results = await dry_run(services, asked.request())
    return DryRunAnswer(suppliers=[DryRunSupplier.model_validate(msgspec.structs.asdict(result)) for result in results])
