"""The categories, a set for each profile, and when a profile's category file was looked at.

What is read are those of the profile whose file was looked at last. A look is taken for a few minutes and then either
booked, for a day, or given back; one whose process died comes back by itself.
"""

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
WHERE c.profile = (SELECT profile FROM category_files ORDER BY checked_at DESC LIMIT 1)
    AND c.key COLLATE "C" > :after_key
ORDER BY c.key COLLATE "C" LIMIT :limit
"""


async def list_categories(db: AsyncConnection, *, after_key: str, limit: int) -> list[CategoryRow]:
    """A page of categories by path, from after `after_key`."""
    rows = await db.execute(text(CATEGORIES), {"after_key": after_key, "limit": limit})
    return [CategoryRow(**row) for row in rows.mappings()]


async def claim_look(db: AsyncConnection, profile: bytes, url: str) -> tuple[str | None, str | None] | None:
    """Take the day's one look at the category file; its validators, or None when it was looked at already.

    Without categories there is nothing that "not modified" could mean, so there are no validators then.
    """
    row = (
        await db.execute(
            text("""
            INSERT INTO category_files AS c (profile, url, checked_at)
            VALUES (:profile, :url, clock_timestamp() - interval '1 day' + interval '10 minutes')
            ON CONFLICT (profile) DO UPDATE SET checked_at = EXCLUDED.checked_at, url = EXCLUDED.url
            WHERE c.checked_at < clock_timestamp() - interval '1 day'
            RETURNING etag, last_modified, EXISTS (SELECT FROM categories k WHERE k.profile = c.profile) AS known"""),
            {"profile": profile, "url": url},
        )
    ).one_or_none()
    if row is None:
        return None
    return (row.etag, row.last_modified) if row.known else (None, None)


async def book_look(db: AsyncConnection, profile: bytes) -> None:
    """The look that was taken was the day's."""
    await db.execute(
        text("UPDATE category_files SET checked_at = clock_timestamp() WHERE profile = :profile"), {"profile": profile}
    )


async def give_look_back(db: AsyncConnection, profile: bytes) -> None:
    """The look that was taken failed: the next run looks again."""
    await db.execute(
        text("""
        UPDATE category_files SET checked_at = clock_timestamp() - interval '1 day' WHERE profile = :profile"""),
        {"profile": profile},
    )


async def known_keys(db: AsyncConnection, profile: bytes) -> set[str]:
    """The paths of a profile's categories."""
    return set(await db.scalars(text("SELECT key FROM categories WHERE profile = :profile"), {"profile": profile}))


async def replace_categories(
    db: AsyncConnection, profile: bytes, names: dict[str, dict[str, str]], etag: str | None, last_modified: str | None
) -> None:
    """Replace a profile's categories, as a set, and keep the validators of the file that names them."""
    await db.execute(text("DELETE FROM categories WHERE profile = :profile"), {"profile": profile})
    await db.execute(
        text("""
        INSERT INTO categories (profile, key, name)
        SELECT :profile, r.key, r.value FROM jsonb_each(CAST(:names AS jsonb)) AS r"""),
        {"profile": profile, "names": msgspec.json.encode(names).decode()},
    )
    await db.execute(
        text("UPDATE category_files SET etag = :etag, last_modified = :last_modified WHERE profile = :profile"),
        {"profile": profile, "etag": etag, "last_modified": last_modified},
    )
