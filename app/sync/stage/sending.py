"""Telling Redis of jobs that are committed. A failure costs time only: the reconciler sends what is missing."""

from __future__ import annotations

from collections.abc import Sequence

from app.errors import QueueUnavailable
from app.jobs.messages import Message
from app.jobs.queue import Queue
from app.outages import outages


async def send_committed(queue: Queue | None, messages: Sequence[Message]) -> None:
    """Send the messages of jobs that are in the ledger; without Redis, or while it is away, nothing is sent."""
    if queue is None or not messages:
        return
    try:
        await queue.send(messages)
    except QueueUnavailable as error:
        outages.noted(error, "messages not sent, the reconciler will")
