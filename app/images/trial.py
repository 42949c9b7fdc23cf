"""Whether a store takes pictures at all: a small one of ours is put and taken away again.

`ObjectStore.check`, which is asked every few seconds, writes no object, so it cannot know that; this is asked when the
store declines a picture. Should the process die in between, the picture stays, and `media orphans` finds it.
"""

from __future__ import annotations

import hashlib
from contextlib import suppress

from app.errors import StoreUnavailable
from app.images.store import ObjectStore, media_key

_COMMENT = b"promidata-sync looks whether this store takes pictures. "
_BLOCKS = 20
"""Together a body of a kilobyte, as a small picture's."""
TRIAL_PICTURE = (
    b"GIF89a\x01\x00\x01\x00\x80\x00\x00\xff\xff\xff\x00\x00\x00"
    b"\x21\xfe"
    + (bytes([len(_COMMENT)]) + _COMMENT) * _BLOCKS
    + b"\x00"
    + b"\x2c\x00\x00\x00\x00\x01\x00\x01\x00\x00\x02\x02\x44\x01\x00;"
)
"""One white pixel; with its comment the bytes are nobody else's."""
TRIAL_KEY = media_key(hashlib.sha256(TRIAL_PICTURE).hexdigest(), "gif")


async def try_store(store: ObjectStore) -> None:
    """Return when the store takes pictures.

    Raises:
        StoreUnavailable: it does not, or is not well; says what to set or to allow.
    """
    await store.check()
    await store.put(TRIAL_KEY, TRIAL_PICTURE, "image/gif")
    with suppress(StoreUnavailable):  # what it keeps is an orphan
        await store.delete(TRIAL_KEY)
