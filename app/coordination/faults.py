"""Redis's own errors as ours, so that nobody further up needs to know its client."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from redis.exceptions import RedisError

from app.errors import QueueUnavailable


@contextmanager
def told_as_outage(what: str) -> Iterator[None]:
    """Say `what` Redis cannot do in place of its client's error, which stays the cause.

    Raises:
        QueueUnavailable: Redis is away, or refused.
    """
    try:
        yield
    except (RedisError, OSError) as error:
        raise QueueUnavailable(f"Redis cannot {what}: {error}") from error
