"""Pages of lists: which one is asked for, how many rows to read for it, and how it is given out.

limit, cursor ─▶ Paging ─▶ after(key) ─▶ one row more than is shown ─▶ page: items, and nextCursor where others follow
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Generic, TypeVar

import msgspec
from fastapi import Depends, Query

from app.api.cursors import Cursor, Key, read_cursor, write_cursor
from app.api.schemas import Digits
from app.views.shapes import Out

T = TypeVar("T")
Row = TypeVar("Row")

DEFAULT_LIMIT = 50
MAX_LIMIT = 500

Limit = Annotated[int, Query(ge=1, le=MAX_LIMIT, description="How many items at most."), Digits]


class Page(Out, Generic[T]):
    """A page of a list; `nextCursor` is null on the last one."""

    items: list[T]
    next_cursor: str | None


@dataclass(frozen=True, slots=True)
class Paging:
    """The page that a caller asks for."""

    limit: int
    """How many items it has at most."""
    cursor: str | None

    @property
    def rows(self) -> int:
        """How many rows to read: one more than are shown, which says whether others follow."""
        return self.limit + 1

    def after(self, kind: type[Key]) -> Key | None:
        """The key that the page begins after; None for the first one.

        Raises:
            ProblemError: 422, the cursor is not of a list by this key.
        """
        return read_cursor(kind, self.cursor)

    def cut(self, rows: Sequence[Row]) -> tuple[Sequence[Row], bool]:
        """The rows to show, and whether others follow."""
        return cut(rows, self.limit)

    def page(
        self, rows: Sequence[Row], item_of: Callable[[Row], T], key_of: Callable[[Row], msgspec.Struct]
    ) -> Page[T]:
        """The page out of the rows that were read: each as an item, and the last one's key for the page after."""
        shown, more = self.cut(rows)
        next_cursor = write_cursor(key_of(shown[-1])) if more else None
        return Page(items=[item_of(row) for row in shown], next_cursor=next_cursor)


async def get_paging(limit: Limit = DEFAULT_LIMIT, cursor: Cursor = None) -> Paging:
    """The page that a request names; the first one where it names none."""
    return Paging(limit, cursor)


PagingNeeded = Annotated[Paging, Depends(get_paging)]


def cut(rows: Sequence[Row], limit: int) -> tuple[Sequence[Row], bool]:
    """The first `limit` of rows that were read with one more than asked for, and whether there are others."""
    return rows[:limit], len(rows) > limit


def page_example(item: dict[str, Any]) -> dict[int | str, dict[str, Any]]:
    """The example of a list's answer."""
    body = {"items": [item], "nextCursor": None}
    return {200: {"content": {"application/json": {"example": body}}}}
