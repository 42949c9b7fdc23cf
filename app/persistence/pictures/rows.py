"""An address and what is behind it, as the image stage needs them."""

from __future__ import annotations

from typing import Any

import msgspec


class Address(msgspec.Struct, frozen=True):
    """A picture's address, as an image job needs it."""

    id: int
    url: str
    state: str
    etag: str | None
    last_modified: str | None
    named: bool
    """Whether a generation of a variant that is sold still names it."""
    key: str | None
    size_bytes: int | None
    """Where its media is stored, and its size, when it is."""


class FailedPicture(msgspec.Struct, frozen=True):
    """An address whose picture could not be had."""

    address_id: int
    reason: str
    dead: bool


class FlippedVariant(msgspec.Struct, frozen=True):
    """A variant that shows another generation, or another picture of the one it showed."""

    id: int
    supplier_id: int
    sku: str
    product_sku: str
    old: list[dict[str, Any]]
    """What they saw: role, position and sha256 of each picture, in order."""
    new: list[dict[str, Any]]
    untold: bool
    """What they saw waited for more, and nobody was told of it."""
    stamped: bool
    """Its row says already that it changed just now, if it looks otherwise."""

    @property
    def looks_otherwise(self) -> bool:
        """Whether readers see another role, place or sha256 somewhere; another address of the same bytes is nothing."""
        return self.untold or self.old != self.new


class HeldAddress(msgspec.Struct, frozen=True):
    """What an address led to before this transaction."""

    state: str
    media_id: int | None


class NamedAddress(msgspec.Struct, frozen=True):
    """An address that a family names, held until the end of the transaction."""

    id: int
    state: str
    due: bool
    """It may be asked now: its pause, if it has one, is over."""

    @property
    def wanted(self) -> bool:
        """Whether an image job is to be made for it."""
        return self.state != "stored" and self.due
