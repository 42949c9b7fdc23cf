"""Reading the categories of the profile whose category file was looked at last."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection


class CategoryRow(msgspec.Struct, frozen=True):
    """A category's path and its names by language."""

    key: str
    name: Mapping[str, str]


CATEGORIES = """
SELECT c.key, c.name FROM categories c
WHERE c.profile = (SELECT profile FROM category_files ORDER BY checked_at DESC LIMIT 1) AND c.key > :after_key
ORDER BY c.key LIMIT :limit
"""


async def list_categories(db: AsyncConnection, *, after_key: str, limit: int) -> list[CategoryRow]:
    """A page of categories by path, from after `after_key`."""
    rows = await db.execute(text(CATEGORIES), {"after_key": after_key, "limit": limit})
    return [CategoryRow(**row) for row in rows.mappings()]
