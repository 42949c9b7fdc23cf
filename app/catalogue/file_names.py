"""Documents by their file names: which one is a family's own.

Of several documents with one family SKU, the one whose file name equals it speaks for the family, else the first by
name (ENGINE.md 5). The extension counts in any case, so `A-1.JSON` is named after A-1 as `A-1.json` is; of the two
the first by name speaks. PostgreSQL judges alike, in `document_stem` and the view `speaking_documents`.
"""

from __future__ import annotations

from collections.abc import Iterable

EXTENSION = ".json"


def stem_of(file_name: str) -> str:
    """A document's file name without its extension.

    >>> stem_of("A360-1.json"), stem_of("A360-1.JSON"), stem_of("A360-1.json.txt")
    ('A360-1', 'A360-1', 'A360-1.json.txt')
    """
    return file_name[: -len(EXTENSION)] if file_name[-len(EXTENSION) :].lower() == EXTENSION else file_name


def names_of(supplier: str, file_name: str) -> tuple[str, ...]:
    """The SKUs that a document's file may be named after: the stem first, then that without the supplier's prefix.

    >>> names_of("A360", "A360-1.json"), names_of("A360", "x.json")
    (('A360-1', '1'), ('x',))
    """
    stem, prefix = stem_of(file_name), f"{supplier}-"
    return (stem, stem.removeprefix(prefix)) if stem.startswith(prefix) else (stem,)


class SpokenFor:
    """The file names that a manifest gives for one supplier, asked before the documents are read."""

    def __init__(self, supplier: str, file_names: Iterable[str]) -> None:
        self._prefix = f"{supplier}-"
        self._first: dict[str, str] = {}
        for name in file_names:
            stem = stem_of(name)
            self._first[stem] = min(name, self._first.get(stem, name))

    def certainly_by(self, file_name: str, family_sku: str) -> bool:
        """Whether no other document can be the family's, whatever the others turn out to hold.

        Feeds whose SKUs lack the supplier's prefix name the file with it; that counts too, as long as no file has the
        plain name.

        >>> names = SpokenFor("A360", ["A360-1.json", "A360-2.JSON", "A360-2.json", "3.json", "A360-3.json", "x.json"])
        >>> names.certainly_by("A360-1.json", "A360-1"), names.certainly_by("A360-1.json", "1")
        (True, True)
        >>> names.certainly_by("A360-2.JSON", "A360-2"), names.certainly_by("A360-2.json", "A360-2")
        (True, False)
        >>> names.certainly_by("A360-3.json", "3"), names.certainly_by("x.json", "A360-4")
        (False, False)
        """
        stem = stem_of(file_name)
        if self._first.get(stem) != file_name:
            return False
        return stem == family_sku or (stem == self._prefix + family_sku and family_sku not in self._first)
