"""The object store's contract: pictures by the hash of their bytes, on S3/R2 or in a local folder.

    put(key, body) ─▶ written whole and compared, or StoreUnavailable ─▶ head, get, list, public_url

Both implementations pass one test suite. The store holds pictures and nothing else: every key is a `media_key`, nothing
is put there to probe it, and nothing that was not verified to have arrived unharmed is reported as stored.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Protocol

from app.errors import StoreDeclines

PRESIGNED_S = 3600
"""For how long a presigned address is good, in seconds."""
CACHE_CONTROL = "public, max-age=31536000, immutable"
CONTENT_TYPES = {"jpg": "image/jpeg", "png": "image/png", "webp": "image/webp", "gif": "image/gif"}
_KEY = re.compile(r"([0-9a-f]{2})/([0-9a-f]{2})/((?:\1\2)[0-9a-f]{60})\.(jpg|png|webp|gif)")


@dataclass(frozen=True, slots=True)
class StoredObject:
    """An object as the store lists it."""

    key: str
    size: int
    """In bytes."""
    modified_at_s: float
    """Seconds since the epoch, by the store's clock."""


class ObjectStore(Protocol):
    """Where pictures are kept. Every method may raise StoreUnavailable, which spends no attempt."""

    async def put(self, key: str, body: bytes, content_type: str) -> None:
        """Write `body`; when this returns, exactly these bytes are in the store. Writing it again changes nothing."""

    async def head(self, key: str) -> StoredObject | None:
        """What the store says of the object, or None when there is none."""

    async def get(self, key: str) -> bytes:
        """The object's bytes, compared with the hash in their key.

        Raises:
            StoreUnavailable: also when the object is missing or its bytes are not the ones that its key names.
        """

    async def delete(self, key: str) -> None:
        """Remove the object; it is no error when there is none."""

    def list_objects(self, prefix: str = "", after: str = "") -> AsyncIterator[StoredObject]:
        """Every object whose key begins with `prefix` and comes after `after`, by key."""

    def public_url(self, key: str) -> str:
        """An address that a shop can fetch the picture from; `/media/…` for a local folder, below the API's own."""

    async def sweep(self) -> int:
        """Remove what puts that never ended left more than a day ago; returns how many there were.

        In a bucket a lifecycle rule does it (docs/operations.md), so there it removes nothing.
        """

    async def check(self) -> None:
        """Return when the store can be read and written now; leaves no object behind.

        Raises:
            StoreUnavailable: says what to set or to allow.
        """


def media_key(sha256: str, extension: str) -> str:
    """The key of a picture: `ab/cd/abcd….jpg`, from the hash of its bytes in hex and `jpg`, `png`, `webp` or `gif`."""
    return require_media_key(f"{sha256[:2]}/{sha256[2:4]}/{sha256}.{extension}")


def is_media_key(key: str) -> bool:
    """Whether `key` has the form that `media_key` gives; anything else is never read, written or served."""
    return _KEY.fullmatch(key) is not None


def require_media_key(key: str) -> str:
    """Give `key` back, or raise ValueError: the bucket holds pictures and nothing else."""
    if not is_media_key(key):
        raise ValueError(f"not the key of a picture: {key[:100]!r}")
    return key


def require_bytes(key: str, body: bytes) -> bytes:
    """Give `body` back when its hash is the one in `key`.

    Raises:
        StoreDeclines: the bytes were changed on the way or in the store.
    """
    if hashlib.sha256(body).hexdigest() != key.rpartition("/")[2].partition(".")[0]:
        raise StoreDeclines(f"the object store gave other bytes than were stored as {key}", for_itself=False)
    return body
