"""A bucket that is opened when it is first used: boto takes a second of a processor to import and to make a client.

Most processes hardly ever use it: supplier and family workers, commands.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack

from app.images.store import ObjectStore, StoredObject

Opening = Callable[[], AbstractAsyncContextManager[ObjectStore]]


class OpenedLater:
    """An ObjectStore; close it in the end."""

    def __init__(self, opening: Opening) -> None:
        self._opening = opening
        self._turn = asyncio.Lock()
        self._stack = AsyncExitStack()
        self._store: ObjectStore | None = None

    async def put(self, key: str, body: bytes, content_type: str) -> None:
        """See ObjectStore."""
        await (await self._opened()).put(key, body, content_type)

    async def head(self, key: str) -> StoredObject | None:
        """See ObjectStore."""
        return await (await self._opened()).head(key)

    async def get(self, key: str) -> bytes:
        """See ObjectStore."""
        return await (await self._opened()).get(key)

    async def delete(self, key: str) -> None:
        """See ObjectStore."""
        await (await self._opened()).delete(key)

    async def list_objects(self, prefix: str = "", after: str = "") -> AsyncIterator[StoredObject]:
        """See ObjectStore."""
        async for found in (await self._opened()).list_objects(prefix, after):
            yield found

    def public_url(self, key: str) -> str:
        """See ObjectStore.

        Raises:
            RuntimeError: it is not open, and a signature may take a request; who shows addresses opens it at once.
        """
        if self._store is None:
            raise RuntimeError("addresses of pictures need an open store")
        return self._store.public_url(key)

    async def sweep(self) -> int:
        """See ObjectStore. A bucket has nothing to sweep, so it is not opened for it."""
        return 0 if self._store is None else await self._store.sweep()

    async def check(self) -> None:
        """See ObjectStore."""
        await (await self._opened()).check()

    async def close(self) -> None:
        """Close it, if it was opened."""
        await self._stack.aclose()

    async def _opened(self) -> ObjectStore:
        async with self._turn:
            if self._store is None:
                self._store = await self._stack.enter_async_context(self._opening())
            return self._store
