"""What a job is asked to do: the queues, their policies, and the argument model of each, shared by API and workers.

A message carries ids, never documents. Arguments live in the ledger and are validated when a worker takes the job.
"""

from __future__ import annotations

from typing import Any, Literal, TypeVar

import msgspec

from app.errors import PayloadInvalid
from app.settings import Settings

QueueName = Literal["supplier-sync", "product-family", "image-upload"]
SUPPLIER_SYNC: QueueName = "supplier-sync"
PRODUCT_FAMILY: QueueName = "product-family"
IMAGE_UPLOAD: QueueName = "image-upload"
QUEUES: tuple[QueueName, ...] = (SUPPLIER_SYNC, PRODUCT_FAMILY, IMAGE_UPLOAD)
StageName = Literal["supplier", "family", "image"]
QUEUE_OF: dict[StageName, QueueName] = {"supplier": SUPPLIER_SYNC, "family": PRODUCT_FAMILY, "image": IMAGE_UPLOAD}
"""The queue of a stage's jobs; its workers are named for the stage."""
STAGE_OF: dict[str, StageName] = {queue: stage for stage, queue in QUEUE_OF.items()}


class SupplierJob(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Sync one supplier: what to sync and how stands with the run."""

    supplier_id: int


class FamilyJob(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Write one family from its stored documents."""

    family_sku: str
    version: int
    """The newest version among the family's documents when the job was made; a newer one supersedes the job."""
    judged: bool = False
    """Variants are missing because the manifest lost their documents, which the guard has judged already."""


class ImageJob(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Settle one picture address; it names no variant (ENGINE.md 6)."""

    address_id: int
    revalidate: bool = False
    """Ask the origin although the address is stored, conditionally."""
    after: str | None = None
    """A job that was retried together with this one and asks the address for both; what becomes of it counts here."""


class SupplierResult(msgspec.Struct, frozen=True, rename="camel"):
    """What a supplier job came to (API.md, "Jobs and queues")."""

    families_enqueued: int
    families_skipped: int
    """Families of the supplier that the run had no reason to write; a direct sync answers with it, too."""
    efficiency: str
    """Skipped of all, such as `80%`."""


class FamilyResult(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """What a family job came to."""

    sku: str
    variants: int
    images_enqueued: int
    deferred: bool = False
    """Nothing was written: the end of the run decides, when every document has been seen."""
    suspect: bool = False
    """Nothing was written: the document is read once more in the next run before it is believed."""
    documents_unchanged: int = 0
    """Nothing was written: so many documents that the run fetched for it changed nothing."""


class ImageResult(msgspec.Struct, frozen=True, rename="camel"):
    """What an image job came to."""

    sha256: str | None
    deduplicated: bool
    """The bytes, or the address, were known."""


class Superseded(msgspec.Struct, frozen=True):
    """A family or image job without effect: a newer state had been applied."""

    superseded: bool = True


Result = SupplierResult | FamilyResult | ImageResult | Superseded
J = TypeVar("J", SupplierJob, FamilyJob, ImageJob)


def read_arguments(model: type[J], arguments: dict[str, Any]) -> J:
    """Validate a job's arguments on arrival.

    Raises:
        PayloadInvalid: they do not fit; says which field and why.
    """
    try:
        return msgspec.convert(arguments, model)
    except msgspec.ValidationError as error:
        raise PayloadInvalid(f"the job's arguments do not fit {model.__name__}: {error}") from None


class QueuePolicy(msgspec.Struct, frozen=True):
    """How the jobs of one queue are run."""

    slots: int
    timeout_s: float
    """Bounds one attempt; for a supplier a slice between two checkpoints."""
    max_attempts: int


def policies(settings: Settings) -> dict[QueueName, QueuePolicy]:
    """Each queue's policy as the settings have it."""
    attempts = settings.job_max_attempts
    return {
        SUPPLIER_SYNC: QueuePolicy(settings.concurrency_supplier, settings.job_timeout_supplier_ms / 1000, attempts),
        PRODUCT_FAMILY: QueuePolicy(settings.concurrency_families, settings.job_timeout_family_ms / 1000, attempts),
        IMAGE_UPLOAD: QueuePolicy(settings.concurrency_images, settings.job_timeout_image_ms / 1000, attempts),
    }
