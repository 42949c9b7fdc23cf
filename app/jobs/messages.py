"""What goes to Redis of a job, and what comes back: ARQ's data, put together and taken apart."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
from arq.jobs import serialize_job

PAYLOAD_TTL_MS = 14 * 24 * 3600 * 1000
"""How long ARQ's payload key lives; a queue that was paused for longer is sent again by the reconciler."""
FUNCTIONS = {"supplier-sync": "sync_supplier", "product-family": "write_family", "image-upload": "settle_image"}
"""Queue to the name of the function that a stock ARQ worker registers."""


class Message(msgspec.Struct, frozen=True):
    """A job to be dispatched; `wait_ms` None means that it may run now, in its run's turn."""

    job_id: str
    queue: str
    run_id: str
    wait_ms: int | None = None


class Exchanged(msgspec.Struct, frozen=True):
    """What an exchange with Redis brought."""

    ids: list[str]
    next_ms: int | None
    """Milliseconds until something may be ready; None when the queue is empty."""


def pack(value: Any) -> bytes:
    """ARQ's serializer: msgpack, never pickle."""
    return msgspec.msgpack.encode(value)


def unpack(value: bytes) -> dict[str, Any]:
    """ARQ's deserializer."""
    return msgspec.msgpack.decode(value, type=dict[str, Any])


def alike(messages: Sequence[Message]) -> Iterable[tuple[str, list[Message]]]:
    """Messages by queue, those whose ids are of one length together, in their order."""
    groups: dict[tuple[str, int], list[Message]] = {}
    for message in messages:
        groups.setdefault((message.queue, len(message.job_id.encode())), []).append(message)
    return [(queue, group) for (queue, _), group in groups.items()]


def send_args(messages: Sequence[Message]) -> list[str | bytes | int]:
    """The script's arguments for messages of one queue whose ids are of one length."""
    first = messages[0]
    return [
        PAYLOAD_TTL_MS,
        serialize_job(FUNCTIONS[first.queue], (first.job_id,), {}, None, 0, serializer=pack),
        "\n".join(message.job_id for message in messages),
        "\n".join(message.run_id for message in messages),
        "\n".join("-" if message.wait_ms is None else str(message.wait_ms) for message in messages),
    ]


def exchanged(answer: Any) -> Exchanged:
    """What the script of an exchange answered."""
    ids, next_ms = answer
    return Exchanged([text_of(job_id) for job_id in ids], None if next_ms < 0 else int(next_ms))


def text_of(value: bytes | str) -> str:
    """A word of Redis's, which is bytes."""
    return value.decode() if isinstance(value, bytes) else value
