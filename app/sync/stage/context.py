"""What every stage is given, and what it does once its results are committed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from structlog import get_logger

from app.jobs.messages import Message
from app.jobs.queue import Queue
from app.logs import mask_address
from app.sync.services import Services
from app.sync.stage.expected import ExpectedJobs
from app.sync.stage.progress import ProgressBoard
from app.sync.stage.sending import send_committed

log = get_logger()


@dataclass(frozen=True, slots=True)
class Stage:
    """The surroundings of a running job: the process's services, where to send what it leads to, and its progress."""

    services: Services
    queue: Queue
    progress: ProgressBoard
    expected: ExpectedJobs = field(default_factory=ExpectedJobs)

    async def dispatch(self, messages: Sequence[Message]) -> None:
        """Tell Redis of jobs that are committed."""
        await send_committed(self.queue, messages)


def messages_of(queue: str, run_id: str, job_ids: Sequence[str]) -> list[Message]:
    """The messages of jobs that may run now."""
    return [Message(job_id, queue, run_id) for job_id in job_ids]


def plain_reason(message: str, url: str) -> str:
    """A reason without its address, so that equal reasons can be counted; the problem names the address beside it."""
    reason = message
    for address in (url, mask_address(url)):
        for written in (f"{address}: ", f": {address}", address):
            reason = reason.replace(written, "")
    return reason.strip() or message
