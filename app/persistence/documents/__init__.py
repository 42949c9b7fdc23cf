"""The feed's entries and their documents: what the manifest said, what was fetched, what was applied.

`seen_hash` is what the manifest said, `fetched_hash` what the stored body was fetched under, `applied_hash` what the
family stage wrote with the family's rows. The diff is against `applied_hash`, so whatever failed, was cancelled or was
never finished is taken up by the next ordinary sync (ENGINE.md 3).
"""

from __future__ import annotations

from app.persistence.documents.bodies import (
    any_may_come,
    any_unread,
    documents_of_families,
    forget_fetched,
    lock_versions,
    mark_applied,
    note_failed,
    reset_supplier,
    store_fetched,
    was_committed,
)
from app.persistence.documents.doubts import doubt, emptied_families, return_to_family, suspect, take_doubted
from app.persistence.documents.families import (
    SILENT,
    OpenFamily,
    SilentDocument,
    count_families,
    families_of,
    of_these_speaking,
    other_listers,
    pass_over_silent,
    silent_documents,
    stored_families,
    unapplied_families,
)
from app.persistence.documents.manifest import (
    DIFF,
    WANTED,
    Previewed,
    any_unfinished,
    as_lines,
    due_for_rereading,
    preview_manifest,
    take_manifest,
)
from app.persistence.documents.missing import (
    Lessened,
    count_families_missing,
    forget_former_families,
    former_families,
    note_missing,
    note_unwritten,
)
from app.persistence.documents.rows import (
    FailedDocument,
    FetchedDocument,
    ManifestDiff,
    SaidEntry,
    StoredDocument,
    WantedDocument,
)

__all__ = [
    "DIFF",
    "SILENT",
    "WANTED",
    "FailedDocument",
    "FetchedDocument",
    "Lessened",
    "ManifestDiff",
    "OpenFamily",
    "Previewed",
    "SaidEntry",
    "SilentDocument",
    "StoredDocument",
    "WantedDocument",
    "any_may_come",
    "any_unfinished",
    "any_unread",
    "as_lines",
    "count_families",
    "count_families_missing",
    "documents_of_families",
    "doubt",
    "due_for_rereading",
    "emptied_families",
    "families_of",
    "forget_fetched",
    "forget_former_families",
    "former_families",
    "lock_versions",
    "mark_applied",
    "note_failed",
    "note_missing",
    "note_unwritten",
    "of_these_speaking",
    "other_listers",
    "pass_over_silent",
    "preview_manifest",
    "reset_supplier",
    "return_to_family",
    "silent_documents",
    "store_fetched",
    "stored_families",
    "suspect",
    "take_doubted",
    "take_manifest",
    "unapplied_families",
    "was_committed",
]
