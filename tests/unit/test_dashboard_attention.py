"""What the overview says needs attention: each line says no more than is known."""

from __future__ import annotations

import pytest

from app.dashboard.attention import Seen, concerns
from app.jobs.definitions import IMAGE_UPLOAD
from app.persistence.job_lists import QueueNumbers
from app.views.jobs import queue_stats


def seen(**states: int) -> Seen:
    queues = {IMAGE_UPLOAD: queue_stats(QueueNumbers(IMAGE_UPLOAD, paused=False, states=states))}
    return Seen(suppliers=[], runs={}, queues=queues, workers=[], no_redis=None, has_feed=True)


@pytest.mark.parametrize(
    ("failed", "said"),
    [(1, "1 job has failed."), (1200, "1 200 jobs have failed; what fails in every sync counts each time.")],
)
def test_failed_jobs_have_failed_whatever_they_had_left_of_their_attempts(failed: int, said: str) -> None:
    assert said in [concern.why for concern in concerns(seen(failed=failed))]


@pytest.mark.parametrize(("waiting", "said"), [(1, "1 job waits."), (2, "2 jobs wait.")])
def test_what_waits_without_a_worker_is_counted(waiting: int, said: str) -> None:
    assert said in [concern.why for concern in concerns(seen(waiting=waiting))]
