"""How far a run is, in its three stages."""

from __future__ import annotations

from typing import Any

from app.views.progress import StageProgress, stages
from app.views.runs import RUN, Run


def documents_of(manifest: dict[str, int], documents: dict[str, int], **more: Any) -> StageProgress:
    run = {**RUN, "manifest": {**RUN["manifest"], **manifest}, "documents": {**RUN["documents"], **documents}, **more}
    return stages(Run.model_validate(run))[0]


def test_a_document_that_changed_nothing_is_one_that_was_fetched() -> None:
    found = documents_of({"new": 0, "changed": 4}, {"fetched": 4, "unchanged": 4, "failed": 0})
    assert (found.done, found.total, found.share) == (4, 4, 100.0)


def test_what_failed_is_done_too_and_what_is_left_takes_as_long_as_the_rest_did() -> None:
    under_way = {"status": "running", "finishedAt": None, "durationSeconds": 10.0}
    found = documents_of({"new": 8, "changed": 2}, {"fetched": 4, "unchanged": 1, "failed": 1}, **under_way)
    assert (found.done, found.failed, found.total, found.a_second, found.left_s) == (5, 1, 10, 0.5, 10.0)
