"""From a picture's key to the address that it is given out with, which is absolute where a caller stands."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

import orjson

_URL = b'"url" : "'
"""As PostgreSQL writes the member in a variant's images, whose other texts are roles, types and hashes."""
_KEY = re.compile(_URL + rb'([^"]*)"')


@dataclass(frozen=True, slots=True)
class PictureAddresses:
    """Addresses of stored pictures: the same beginning for all, or signed one by one and good for a while."""

    of: Callable[[str], str]
    prefix: str | None
    """What an address has before its key; None where each is signed by itself."""
    stamp: str
    """Differs as soon as addresses given out before are not those of now, or end too soon."""

    def in_images(self, images: str) -> bytes:
        """A variant's images as JSON, with addresses in place of keys."""
        if self.prefix is not None:
            return images.encode().replace(_URL, _URL + _inner(self.prefix))
        return _KEY.sub(lambda found: _URL + _inner(self.of(found[1].decode())) + b'"', images.encode())


def _inner(text: str) -> bytes:
    """A text as it stands within a JSON string."""
    return orjson.dumps(text)[1:-1]
