"""A label whose values come from outside, kept to so many: each value is a series for as long as the process lives."""

from __future__ import annotations

OTHER = "other"


class BoundedLabel:
    """The first `most` different values stay themselves; every later one is `other`.

    >>> label = BoundedLabel(1)
    >>> label.of("promi-dl.de"), label.of("cdn.example"), label.of("promi-dl.de")
    ('promi-dl.de', 'other', 'promi-dl.de')
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._known: set[str] = set()

    def of(self, value: str) -> str:
        """The value to label with."""
        if value in self._known:
            return value
        if len(self._known) >= self._most:
            return OTHER
        self._known.add(value)
        return value
