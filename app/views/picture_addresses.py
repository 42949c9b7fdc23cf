"""From a picture's key to the address that it is given out with, which is absolute where a caller stands."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import urlsplit

import orjson

from app.images.store import PRESIGNED_S, ObjectStore, media_key
from app.settings import Settings

A_KEY = media_key("0" * 64, "jpg")
RENEWED_S = PRESIGNED_S // 2
"""Presigned addresses are given out anew that often, in seconds; one that a 304 lets stand is good as long."""
_URL = b'"url":"'
"""As the member stands in a variant's images (`whole_variants`), whose other texts are roles, types and hashes."""
_KEY = re.compile(_URL + rb'([^"]*)"')


@dataclass(frozen=True, slots=True)
class PictureAddresses:
    """Addresses of stored pictures: the same beginning for all, or signed one by one and good for a while."""

    of: Callable[[str], str]
    prefix: str | None
    """What an address has before its key; None where each is signed by itself."""
    stamp: str
    """Differs as soon as addresses given out before are not those of now, or end too soon."""

    def in_images(self, images: bytes) -> bytes:
        """A variant's images as JSON, with addresses in place of keys."""
        if self.prefix is not None:
            return images.replace(_URL, _URL + _inner(self.prefix))
        return _KEY.sub(lambda found: _URL + _inner(self.of(found[1].decode())) + b'"', images)


def public_base(settings: Settings, *, seen: str, prefix: str) -> str:
    """The address that the service is reached at, without a slash at its end.

    PUBLIC_URL, as it is or, where it names no path, with the `prefix`; without it as it is `seen` from here.
    """
    if settings.public_url is None:
        return seen
    return settings.public_url if urlsplit(settings.public_url).path else settings.public_url + prefix


def addresses_of(store: ObjectStore, base: str) -> PictureAddresses:
    """The addresses of stored pictures: the bucket's, or those of a local store below `base`, the service's own."""

    def address(key: str) -> str:
        known = store.public_url(key)
        return base + known if known.startswith("/") else known

    before, key, after = address(A_KEY).partition(A_KEY)
    if key and not after:
        return PictureAddresses(address, before, before)
    return PictureAddresses(address, None, f"{before} presigned {int(time.time()) // RENEWED_S}")


@lru_cache(maxsize=8)
def _inner(text: str) -> bytes:
    """A text as it stands within a JSON string."""
    return orjson.dumps(text)[1:-1]
