"""Families read: the stored documents of several in, each family as it is stored out, or why it cannot be read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import zstandard

from app.catalogue.content import FamilyContent, prepare
from app.catalogue.types import ReadingWarning
from app.feed.document import read_family
from app.persistence.documents import StoredDocument
from app.settings import Settings


@dataclass(frozen=True, slots=True)
class FamilyRead:
    """A family as its documents say it is."""

    chosen: list[StoredDocument]
    """The documents that speak for it."""
    family: FamilyContent
    warnings: tuple[ReadingWarning, ...]
    size_bytes: int
    """Of the documents, unpacked."""

    @property
    def version(self) -> int:
        """The newest version among its documents."""
        return max(document.version for document in self.chosen)


def read_families(families: Sequence[list[StoredDocument]], settings: Settings) -> list[FamilyRead | Exception]:
    """Read families one by one: what one of them raises is its own."""
    return [_read_or_why_not(chosen, settings) for chosen in families]


def _read_or_why_not(chosen: list[StoredDocument], settings: Settings) -> FamilyRead | Exception:
    try:
        return _read(chosen, settings)
    except Exception as error:  # noqa: BLE001  whoever asked for this family raises it
        return error


def _read(chosen: list[StoredDocument], settings: Settings) -> FamilyRead:
    bodies = [(document.file_name, zstandard.decompress(document.body)) for document in chosen]
    family, warnings = read_family(
        bodies,
        supplier=chosen[0].supplier,
        price_regions=settings.price_regions,
        languages=settings.languages,
        scheme=chosen[0].url.partition(":")[0].lower(),
        family_sku=chosen[0].family_sku,
    )
    return FamilyRead(chosen, prepare(family), warnings, sum(len(body) for _, body in bodies))
