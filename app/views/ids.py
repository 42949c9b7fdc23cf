"""Ids of runs, webhooks and deliveries as callers write them."""

from __future__ import annotations

from uuid import UUID


def uuid_in(text: str) -> str | None:
    """A UUID in the one spelling that PostgreSQL takes for sure, however it was written; None for what is none.

    >>> uuid_in("urn:uuid:5B0C9C1E-0D7C-4F5E-9A53-0C7AD4F4D1C8"), uuid_in("supplier-sync-1730000000000-A360")
    ('5b0c9c1e-0d7c-4f5e-9a53-0c7ad4f4d1c8', None)
    """
    try:
        return str(UUID(text))
    except ValueError:
        return None
