"""Families that are asked for by name (`skus`): which documents may be theirs, and which the feed does not have.

    skus ─▶ documents that were one's when last read, or are named after one ─▶ fetched ─▶ whose are they now?
                                                         a family of that name: written ◀─┴─▶ none: an error of the run

Whose a document is stands in it alone. One that was never read is found by its name, or not at all: to read all of them
on the chance would make a typing error cost as much as a first sync.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from app.catalogue.file_names import SpokenFor, names_of, stem_of
from app.persistence.documents import WantedDocument
from app.wording import counted


class AskedFamilies(msgspec.Struct, frozen=True):
    """What the feed makes of the SKUs that were asked for."""

    skus: frozenset[str] | None
    """The families that are meant; None for all."""
    not_in_feed: tuple[tuple[str, str], ...] = ()
    """SKUs that no family of the feed has, each with what is known of it."""


class Asked:
    """The SKUs that a run of one supplier is for; without any it is for all families."""

    def __init__(self, supplier: str, skus: Sequence[str] | None, spoken_for: SpokenFor) -> None:
        self._supplier = supplier
        self._spoken_for = spoken_for
        self._skus = None if skus is None else dict.fromkeys(skus)

    def documents(self, wanted: list[WantedDocument]) -> list[WantedDocument]:
        """Those of the wanted documents that are to be worked on: of families that are meant, as far as can be known.

        A file is named after a SKU with the supplier's prefix, too, where no file has the plain name, as `SpokenFor`
        judges, and no document is known to be of that family.
        """
        if self._skus is None:
            return wanted
        asked = self._skus.keys()
        left = asked - {name for item in wanted for name in (item.family_sku, stem_of(item.file_name))}
        return [
            item
            for item in wanted
            if item.family_sku in asked or stem_of(item.file_name) in asked or not left.isdisjoint(self._names(item))
        ]

    def means(self, file_name: str, family_sku: str) -> bool:
        """Whether a family is meant, by its SKU or by the name of its own file.

        Before a feed was read only the names of its files are known: that of one whose SKUs lack the supplier's prefix
        is as good as the SKU.

        >>> spoken_for = SpokenFor("A360", ["A360-1.json"])
        >>> [Asked("A360", skus, spoken_for).means("A360-1.json", "1") for skus in (None, ["1"], ["A360-1"], ["2"])]
        [True, True, True, False]
        >>> Asked("A360", ["A360-1"], spoken_for).means("A360-1.json", "A360-1B")
        False
        """
        return self._skus is None or family_sku in self._skus or self._is_meant_by_name(file_name, family_sku)

    def settle(self, wanted: list[WantedDocument], families: Mapping[int, str]) -> AskedFamilies:
        """Judge the SKUs when the documents have been read: `families` is document id to family.

        A document that could not be read has an error of its own; it may be the family's that it is named after.
        """
        if self._skus is None:
            return AskedFamilies(None)
        meant, had, others = set(self._skus), set[str](), dict[str, str]()
        for item in self.documents(wanted):
            family, names = families.get(item.id), self._names(item)
            if family is None:
                had.update(names)
                continue
            had.add(family)
            if self._is_meant_by_name(item.file_name, family):
                meant.add(family)
                had.add(stem_of(item.file_name))
            for name in (*names, item.family_sku or family):
                others.setdefault(name, f": {item.file_name} is of {family}")
        unread = sum(item.family_sku is None and item.id not in families for item in wanted)
        not_in_feed = tuple((sku, _reason(others.get(sku, ""), unread)) for sku in self._skus if sku not in had)
        return AskedFamilies(frozenset(meant), not_in_feed)

    def _is_meant_by_name(self, file_name: str, family_sku: str) -> bool:
        named = self._skus is not None and stem_of(file_name) in self._skus
        return named and self._spoken_for.certainly_by(file_name, family_sku)

    def _names(self, item: WantedDocument) -> tuple[str, ...]:
        return names_of(self._supplier, item.file_name)


def _reason(other: str, unread: int) -> str:
    if not unread:
        return f"no document of the manifest is this family's{other}"
    left = counted(unread, "document that was never read", "documents that were never read")
    return f"no document that was read is this family's{other}; a sync without skus reads the {left}"
