"""Every key in Redis that the service uses, by name: the one place that makes such names. There are no channels.

    <prefix>supplier-sync, product-family, image-upload     a queue's sorted set, as ARQ has it
    <prefix><queue>:wake  :fair  :marker  :health-check     beside it
    <prefix>arq:job:<id>  arq:in-progress:<id>  …           ARQ's own keys of a job
    <prefix>promidata:…                                     workers, budgets, which installation it is

REDIS_PREFIX is empty by default, so that the names are ARQ's (KEDA reads the sorted sets by them).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

QUEUE_NAMES = ("supplier-sync", "product-family", "image-upload")
PREFIX_PATTERN = re.compile(r"[A-Za-z0-9_.:{}/-]{0,64}")
"""What a prefix may hold: nothing that an ACL's pattern or a script would read in another way."""


@dataclass(frozen=True, slots=True)
class RedisKeys:
    """The names under one prefix.

    >>> RedisKeys("shop:").wake("image-upload"), RedisKeys().job("x")
    ('shop:image-upload:wake', 'arq:job:x')
    """

    prefix: str = ""

    def queue(self, name: str) -> str:
        """ARQ's sorted set of a queue's job ids."""
        return f"{self.prefix}{name}"

    def wake(self, name: str) -> str:
        """The marker that idle workers of a queue block on."""
        return f"{self.prefix}{name}:wake"

    def fair(self, name: str) -> str:
        """Each run's last turn in a queue."""
        return f"{self.prefix}{name}:fair"

    def marker(self, name: str) -> str:
        """Gone when Redis was emptied: everything open in the queue is then sent again at once."""
        return f"{self.prefix}{name}:marker"

    def job(self, job_id: str) -> str:
        """ARQ's message."""
        return f"{self.prefix}arq:job:{job_id}"

    def held(self, job_id: str) -> str:
        """ARQ's lease: who works on a job."""
        return f"{self.prefix}arq:in-progress:{job_id}"

    def retry(self, job_id: str) -> str:
        """ARQ's count of starts."""
        return f"{self.prefix}arq:retry:{job_id}"

    @property
    def workers(self) -> str:
        """The sorted set of workers by their last beat."""
        return f"{self.prefix}promidata:workers"

    def worker(self, worker_id: str) -> str:
        """A worker's beat."""
        return f"{self.prefix}promidata:worker:{worker_id}"

    def room(self, worker_id: str) -> str:
        """How many jobs an idle worker takes with the wake-up."""
        return f"{self.worker(worker_id)}:room"

    def budget(self, host: str) -> str:
        """What all processes together may ask of an origin host."""
        return f"{self.prefix}promidata:budget:{host}"

    def shares(self, host: str) -> str:
        """What each process has of it."""
        return f"{self.budget(host)}:shares"

    @property
    def check(self) -> str:
        """Written to see whether Redis takes writes."""
        return f"{self.prefix}promidata:check"

    @property
    def installation(self) -> str:
        """Which installation's keys these are: the database."""
        return f"{self.prefix}promidata:installation"

    @property
    def schema(self) -> str:
        """And the schema in it."""
        return f"{self.prefix}promidata:installation:schema"

    @property
    def patterns(self) -> tuple[str, ...]:
        """What a user of Redis must be granted, as patterns of its ACL.

        >>> RedisKeys("shop:").patterns
        ('~shop:*',)
        """
        if self.prefix:
            return (f"~{self.prefix}*",)
        return (*(f"~{name}*" for name in QUEUE_NAMES), "~arq:*", "~promidata:*")


DEFAULT_KEYS = RedisKeys()
"""Those without a prefix."""
