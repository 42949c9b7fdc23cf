"""A real object store that is counted, and that may be told to be away for a put."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace

from app.errors import StoreUnavailable
from app.images.store import ObjectStore, StoredObject
from tests.support.stack import Stack

AWAY_AFTER_S = 0.1
"""A store that is away does not say so at once: others arrive with the same bytes meanwhile."""


@dataclass
class CountingStore:
    """Passes everything on to `inner`; `puts` are the keys that were put, in order."""

    inner: ObjectStore
    puts: list[str] = field(default_factory=list)
    deletes: list[str] = field(default_factory=list)
    away_for_puts: int = 0

    async def put(self, key: str, body: bytes, content_type: str) -> None:
        if self.away_for_puts:
            self.away_for_puts -= 1
            await asyncio.sleep(AWAY_AFTER_S)
            raise StoreUnavailable("the store is away")
        self.puts.append(key)
        await self.inner.put(key, body, content_type)

    async def head(self, key: str) -> StoredObject | None:
        return await self.inner.head(key)

    async def get(self, key: str) -> bytes:
        return await self.inner.get(key)

    async def delete(self, key: str) -> None:
        self.deletes.append(key)
        await self.inner.delete(key)

    def list_objects(self, prefix: str = "", after: str = "") -> AsyncIterator[StoredObject]:
        return self.inner.list_objects(prefix, after)

    def public_url(self, key: str) -> str:
        return self.inner.public_url(key)

    async def sweep(self) -> int:
        return await self.inner.sweep()

    async def check(self) -> None:
        await self.inner.check()

    async def keys(self) -> list[str]:
        """What is in it."""
        return [found.key async for found in self.inner.list_objects()]


def counted(stack: Stack) -> tuple[Stack, CountingStore]:
    """The stack with its store counted."""
    store = CountingStore(stack.services.store)
    return replace(stack, services=replace(stack.services, store=store)), store
