"""Pictures: addresses, how they are settled, and which of them a variant shows, by generation.

The family stage writes which addresses a variant shows as a new generation. Readers see the newest generation with
nothing pending, until then the one before; for a first generation, what is there (ENGINE.md 6). `shown_generation` 0
says that the first one is still incomplete, and that nothing was told of its pictures. A generation whose pictures have
failed one and all is not shown in place of one before it: the variant keeps what it has until one of them comes.
"""

from __future__ import annotations

from app.persistence.pictures.addresses import (
    addresses,
    hold,
    hold_addresses,
    record_failed,
    record_unchanged,
    url_sha256,
)
from app.persistence.pictures.due import due_for_checking, unsettled_of_supplier
from app.persistence.pictures.generations import (
    lock_showing,
    show_settled,
    showing_already,
    touch_products_showing,
    write_generations,
    write_shown,
)
from app.persistence.pictures.rows import Address, FailedPicture, FlippedVariant, HeldAddress, NamedAddress

__all__ = [
    "Address",
    "FailedPicture",
    "FlippedVariant",
    "HeldAddress",
    "NamedAddress",
    "addresses",
    "due_for_checking",
    "hold",
    "hold_addresses",
    "lock_showing",
    "record_failed",
    "record_unchanged",
    "show_settled",
    "showing_already",
    "touch_products_showing",
    "unsettled_of_supplier",
    "url_sha256",
    "write_generations",
    "write_shown",
]
