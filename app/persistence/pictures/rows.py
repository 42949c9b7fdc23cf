"""An address and what is behind it, as the image stage needs them."""

from __future__ import annotations

import msgspec


class Address(msgspec.Struct, frozen=True):
    """A picture's address, as an image job needs it."""

    id: int
    url: str
    state: str
    etag: str | None
    last_modified: str | None
    named: bool
    """Whether some variant's generation still names it."""
    key: str | None
    size_bytes: int | None
    """Where its media is stored, and its size, when it is."""


class FailedPicture(msgspec.Struct, frozen=True):
    """An address whose picture could not be had."""

    address_id: int
    reason: str
    dead: bool


class FlippedVariant(msgspec.Struct, frozen=True):
    """A variant whose visible pictures changed."""

    supplier_id: int
    sku: str
    product_sku: str


class HeldAddress(msgspec.Struct, frozen=True):
    """What an address led to before this transaction."""

    state: str
    media_id: int | None
