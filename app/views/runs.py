"""A run and its problems, as the API shows them."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from app.persistence.run_lists import ProblemRow, RunRow
from app.settings import Settings
from app.views.masking import mask_base, mask_optional
from app.views.shapes import Out, RunStatus, example

RUN: dict[str, Any] = {
    "id": "5b0c9c1e-0d7c-4f5e-9a53-0c7ad4f4d1c8",
    "supplier": "A360",
    "mode": "queued",
    "trigger": "api",
    "status": "completed",
    "createdAt": "2026-01-05T03:00:00Z",
    "startedAt": "2026-01-05T03:00:01Z",
    "finishedAt": "2026-01-05T03:02:35.2Z",
    "repairedAt": None,
    "durationSeconds": 154.2,
    "error": None,
    "guard": None,
    "manifest": {"entries": 100, "new": 5, "changed": 0, "unchanged": 95, "removed": 0, "invalid": 0},
    "documents": {"fetched": 5, "unchanged": 0, "failed": 0},
    "families": {"total": 5, "completed": 5, "failed": 0, "cancelled": 0},
    "variants": {"created": 20, "updated": 0, "unchanged": 0, "discontinued": 0, "reactivated": 0},
    "images": {"total": 60, "uploaded": 48, "deduplicated": 12, "failed": 0, "cancelled": 0},
}
PROBLEM: dict[str, Any] = {
    "severity": "error",
    "stage": "image",
    "kind": "http-404",
    "url": "https://images.promi-dl.de/Images/LiveR2/5b0c/1f.jpg",
    "sku": None,
    "line": None,
    "reason": "the origin answered 404",
    "jobId": "image-upload-5f0c",
    "at": "2026-01-05T03:01:00Z",
}


class ManifestCounts(Out):
    """What the manifest said of the supplier."""

    entries: int
    new: int
    changed: int
    unchanged: int
    removed: int
    invalid: int


class DocumentCounts(Out):
    """What came of the documents that were asked for; `unchanged` are those that left their families as they were."""

    fetched: int
    unchanged: int
    failed: int


class FamilyCounts(Out):
    """What came of the family jobs; a family that is written again in the run has one more."""

    total: int
    completed: int
    failed: int
    cancelled: int


class VariantCounts(Out):
    """What was written, and once for each, what was left as it was (`unchanged`)."""

    created: int
    updated: int
    unchanged: int
    discontinued: int
    reactivated: int


class ImageCounts(Out):
    """What came of the addresses that had to be settled."""

    total: int
    uploaded: int
    deduplicated: int
    failed: int
    cancelled: int


class Guard(Out):
    """Why nothing was removed."""

    would_remove: int
    active: int
    share: float
    limit: int
    manifest_sha256: str


class Run(Out):
    """One sync of one supplier; `durationSeconds` counts from its start, to now while it runs."""

    model_config = example(**RUN)
    id: str
    supplier: str
    mode: Literal["queued", "direct"]
    trigger: Literal["api", "cli", "schedule", "dashboard"]
    status: RunStatus
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    repaired_at: datetime | None
    duration_seconds: float | None
    error: str | None
    guard: Guard | None
    manifest: ManifestCounts
    documents: DocumentCounts
    families: FamilyCounts
    variants: VariantCounts
    images: ImageCounts


class RunProblem(Out):
    """One thing that a run could not read, fetch or write."""

    model_config = example(**PROBLEM)
    severity: Literal["error", "warning"]
    stage: Literal["supplier", "family", "image"]
    kind: str
    url: str | None
    sku: str | None
    line: int | None
    reason: str
    job_id: str | None
    at: datetime


class ConfirmedRun(Out):
    """The run that may remove what was confirmed."""

    model_config = example(
        supplier="A360",
        queueName="supplier-sync",
        jobId="supplier-sync-1730000000000-A360",
        runId="5b0c9c1e-0d7c-4f5e-9a53-0c7ad4f4d1c8",
        status="enqueued",
    )
    supplier: str
    queue_name: str = "supplier-sync"
    job_id: str
    run_id: str
    status: Literal["enqueued"] = "enqueued"


def run_out(settings: Settings, row: RunRow) -> Run:
    """A run's row, or one that was kept as JSON, as a view."""

    def group(name: str) -> dict[str, int]:
        return {key.removeprefix(f"{name}_"): row[key] for key in row if key.startswith(f"{name}_")}

    return Run.model_validate(
        {
            **{name: row[name] for name in ("supplier", "mode", "trigger", "status", "guard")},
            **{name: row[name] for name in ("created_at", "started_at", "finished_at", "repaired_at")},
            **{name: group(name) for name in ("manifest", "documents", "families", "variants", "images")},
            "id": str(row["id"]),
            "error": mask_optional(settings, row["error"]),
            "duration_seconds": None if row["seconds"] is None else round(float(row["seconds"]), 3),
        }
    )


def problem_out(settings: Settings, row: ProblemRow) -> RunProblem:
    """A problem's row as a view."""
    masked = {"url": mask_optional(settings, row["url"]), "reason": mask_base(settings, row["reason"])}
    return RunProblem.model_validate({**row, **masked})
