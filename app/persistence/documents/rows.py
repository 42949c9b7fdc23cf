"""A document on its way: said by the manifest, wanted, fetched, failed, stored."""

from __future__ import annotations

import msgspec


class SaidEntry(msgspec.Struct, frozen=True):
    """One line of the manifest, as far as the diff needs it."""

    file_name: str
    url: str
    hash: str | None


class WantedDocument(msgspec.Struct, frozen=True):
    """A document that is new, changed or was never finished."""

    id: int
    file_name: str
    url: str
    hash: str | None
    sku: str | None
    family_sku: str | None
    """As last fetched; None for a document that never was."""
    is_new: bool
    differs: bool
    """It is new, changed or unfinished; False for one that is only here by `force`."""
    stored: bool
    """Its body is here already, fetched under this very hash: no request is needed."""
    paused: bool
    """It failed repeatedly and its pause is not over."""
    suspect: bool
    """Its last reading is in doubt: ask past caches."""
    failed_here: bool
    """It failed in this very run already, which has reported it."""


class ManifestDiff(msgspec.Struct, frozen=True):
    """What a manifest means for one supplier."""

    entries: int
    wanted: list[WantedDocument]
    removed: int

    @property
    def nothing_to_do(self) -> bool:
        """Whether everything that the manifest names is applied, and nothing else is there."""
        return not self.wanted and not self.removed

    @property
    def new(self) -> int:
        """How many entries were never applied."""
        return sum(document.is_new for document in self.wanted)

    @property
    def changed(self) -> int:
        """How many entries were applied, under another hash or none."""
        return sum(document.differs and not document.is_new for document in self.wanted)

    @property
    def unchanged(self) -> int:
        """How many entries are as they were applied."""
        return self.entries - self.new - self.changed


class FetchedDocument(msgspec.Struct, frozen=True):
    """A document that arrived whole and can be read."""

    id: int
    file_name: str
    hash: str | None
    sku: str
    family_sku: str
    has_children: bool
    child_skus: tuple[str, ...]
    sha256: bytes
    size_bytes: int
    body: bytes
    """zstd."""


class FailedDocument(msgspec.Struct, frozen=True):
    """A document that could not be fetched or read."""

    id: int
    url: str
    kind: str
    reason: str
    dead: bool
    """Gone or forbidden rather than passing: asked for with growing pauses."""


class StoredDocument(msgspec.Struct, frozen=True):
    """A document's body as stored, to be read by the family stage."""

    id: int
    supplier: str
    """The code of its supplier."""
    file_name: str
    url: str
    sku: str
    family_sku: str
    """A document that came without its children stays its family's while that is doubted, whatever its ANumber says."""
    has_children: bool
    version: int
    applied_version: int | None
    fetched_run_id: str | None
    """The run that asked the origin for this body."""
    reread: bool
    """It was in doubt and was read once more since, and lists every variant again that it listed then."""
    stale: bool
    """It is in doubt and will be read once more: its bytes are the old ones, though its hash is new, or it was not
    believed."""
    speaks: bool
    """It makes the family, alone or with others; another of the family's documents does where it does not."""
    outlived: bool
    """Its body was never applied, and the manifest says another hash by now."""
    body: bytes
    """zstd."""

    @property
    def confirms(self) -> bool:
        """Whether it says once more, unapplied as it is, what was doubted, or takes less away."""
        return self.reread and not self.stale and self.applied_version != self.version

    @property
    def contradicts(self) -> bool:
        """Whether it was read anew and is no confirmation; one that is new itself takes nothing away."""
        return not self.reread and not self.stale and self.applied_version not in {None, self.version}

    @property
    def is_unknown(self) -> bool:
        """Whether nothing of it counts: neither its body nor one before that."""
        return self.outlived and self.applied_version is None
