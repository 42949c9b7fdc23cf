"""A JSON object of the feed under its path, and what could not be read below it.

A `Node` gives the fields of one object as the types they should have. What makes no sense is noted with its path and
is absent. `Memo` reads equal raw bytes once: children of one family repeat nearly all of each other's imprint
positions and many of each other's prices.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping
from functools import lru_cache
from typing import TypeVar

import msgspec

from app.feed.jsontext import decode, kind_of, split_object
from app.feed.values import KEY_MAX_CHARS, Unfit, list_of, only_item, storable, text_of

Value = TypeVar("Value")
Part = TypeVar("Part")
Notes = list[tuple[str, str]]
"""Path (each step begins with `.` or `[`) and reason of what could not be read."""


class Node:
    """One object of the feed; `path` is relative to where its reader began."""

    __slots__ = ("_fields", "notes", "path")

    def __init__(self, fields: Mapping[str, object], path: str, notes: Notes) -> None:
        self._fields = fields
        self.path = path
        self.notes = notes

    def get(self, key: str) -> object:
        """The decoded value, None when it is not there."""
        return decode(self._fields.get(key))

    def raw(self, key: str) -> object:
        """The value as it came: raw bytes, or decoded where the document had to be read the slow way."""
        return self._fields.get(key)

    def keys(self) -> Iterator[str]:
        """The object's keys that can be stored; the others are noted."""
        for key in self._fields:
            if is_name(key):
                yield key
            else:
                self.note(key[:40], "the key cannot be stored")

    def note(self, key: str, reason: str) -> None:
        """Say why the field was left out."""
        self.notes.append((self._path(key), reason))

    def _path(self, key: str) -> str:
        return f"{self.path}.{key}" if key else self.path

    def read(self, key: str, reader: Callable[[object], Value | None]) -> Value | None:
        """The field as `reader` understands it; None, with a note, when it makes no sense."""
        value = self._fields.get(key)
        if value is None:
            return None
        try:
            return reader(decode(value))
        except Unfit as error:
            self.note(key, str(error))
            return None

    def text(self, key: str) -> str | None:
        """The field as a stripped text."""
        return self.read(key, text_of)

    def child(self, key: str, split: Callable[[object], object] = decode) -> Node:
        """The object under `key`, its fields split by `split`; one without fields when there is none."""
        path = self._path(key)
        return Node(fields_of(self._fields.get(key), path, self.notes, split), path, self.notes)

    def named(self, key: str) -> list[tuple[str, Node]]:
        """A map of objects (by language, by region), by name, without the empty ones."""
        outer = self.child(key)
        nodes = [(name.strip(), outer.child(name)) for name in sorted(outer.keys())]
        return [(name, node) for name, node in nodes if node]

    def items(self, key: str, marks: frozenset[str]) -> list[Node]:
        """A list of objects; `marks` are keys by which a single object is known where a list was expected."""
        path = self._path(key)
        items = ((f"{path}[{index}]", item) for index, item in enumerate(list_of(self.get(key), marks)))
        return [Node(fields_of(item, place, self.notes), place, self.notes) for place, item in items]

    def __bool__(self) -> bool:
        return bool(self._fields)


@lru_cache(maxsize=1024)
def is_name(key: str) -> bool:
    """Whether a map's key can be stored as one: not blank, not endless, no NUL, no half surrogate."""
    try:
        return bool(storable(key).strip()) and len(key) <= KEY_MAX_CHARS
    except Unfit:
        return False


def fields_of(
    value: object, path: str, notes: Notes, split: Callable[[object], object] = split_object
) -> Mapping[str, object]:
    """An object's fields, one level split; none (with a note) for what is no object."""
    value = split(value)
    if isinstance(value, list):
        value = only_item(value)
    if isinstance(value, dict):
        return value
    if value is not None and value not in ("", []):
        notes.append((path, f"{kind_of(value)} where an object was expected"))
    return {}


class Memo:
    """Results by raw bytes, for as long as one family is read."""

    def __init__(self) -> None:
        self._known: dict[Hashable, tuple[object, Notes]] = {}
        self._parts: list[object] = []  # kept alive, so that no id is given twice

    def read(self, value: object, at: Node, step: str, reader: Callable[[object, Notes], Value]) -> Value:
        """Read `value`, which stands at `step` below `at`, or take what the same bytes gave before.

        The result is shared between all who read these bytes, so nobody may change it.
        """
        key = (reader, bytes(value)) if isinstance(value, msgspec.Raw) else None
        known = self._known.get(key) if key else None
        if known is None:
            notes: Notes = []
            known = (reader(value, notes), notes)
            if key:
                self._known[key] = known
        at.notes.extend((f"{at.path}{step}{path}", reason) for path, reason in known[1])
        return known[0]  # type: ignore[return-value]  # the key holds the reader, so the result is that reader's

    def once(self, derive: Callable[[Part], Value], part: Part) -> Value:
        """What `derive` makes of a result of `read`: the same object for the same part, so that it is shared too."""
        key = (derive, id(part))
        if key not in self._known:
            self._known[key] = (derive(part), [])
            self._parts.append(part)
        return self._known[key][0]  # type: ignore[return-value]  # the key holds the function that made it
