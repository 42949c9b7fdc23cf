"""Whether the last line of a manifest looks cut: a hash that is missing, or of another length than all others."""

from __future__ import annotations


class LineLengths:
    """The lengths of the hashes seen, told apart by whether a line is the last one."""

    def __init__(self) -> None:
        self._before: set[int] = set()
        self._last: int | None = None

    def add_document(self, token: str | None) -> None:
        """The next document line; a length of 0 is a line without a hash."""
        self.add_other()
        self._last = len(token or "")

    def add_other(self) -> None:
        """The next line that is known and no document."""
        if self._last is not None:
            self._before.add(self._last)
        self._last = None

    def last_stands_out(self) -> bool:
        """The last line's hash is missing where all others have one, or unlike all others that are alike.

        Where the others' lengths differ among themselves, only a hash shorter than every one of them stands out.
        """
        if self._last is None or not self._before or 0 in self._before:
            return False
        if len(self._before) == 1:
            return self._last not in self._before
        return self._last < min(self._before)
