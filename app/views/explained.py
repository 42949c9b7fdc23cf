"""Why a product is as it is: its documents, hashes, last run and error, and what is pending."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from app.errors import NotFound, SeveralSuppliers
from app.persistence import explained, product_lists
from app.persistence.database import Connection, Database
from app.persistence.explained import ExplainedDocument, PictureStates
from app.persistence.product_lists import ProductKey
from app.persistence.suppliers import find_supplier
from app.settings import Settings
from app.views.masking import mask_base, mask_optional
from app.views.shapes import Out, example
from app.views.suppliers import LastRun, last_run_out

EXPLAINED: dict[str, Any] = {
    "sku": "A360-100804",
    "supplier": "A360",
    "status": "active",
    "documents": [
        {
            "fileName": "A360-100804.json",
            "url": "https://promi-dl.de/Profiles/Live/0f3c…/A360/A360-100804.json",
            "present": True,
            "seenHash": "9d1f",
            "fetchedHash": "9d1f",
            "appliedHash": "9d1f",
            "version": 12,
            "appliedVersion": 12,
            "suspect": False,
            "failures": 0,
            "nextTryAt": None,
            "error": None,
        }
    ],
    "lastRun": None,
    "lastError": None,
    "picturesPending": 0,
    "picturesFailed": 0,
}


class Document(Out):
    """A document of the family, and how far it was taken."""

    file_name: str
    url: str
    present: bool
    seen_hash: str | None
    fetched_hash: str | None
    applied_hash: str | None
    version: int | None
    applied_version: int | None
    suspect: bool
    failures: int
    next_try_at: datetime | None
    error: str | None


class Explained(Out):
    """Why a product is as it is; `status` is null when it was never written."""

    model_config = example(**EXPLAINED)
    sku: str
    supplier: str
    status: str | None
    documents: list[Document]
    last_run: LastRun | None
    last_error: str | None
    pictures_pending: int
    pictures_failed: int


async def explain(settings: Settings, database: Database, sku: str, supplier: str | None) -> Explained:
    """Everything that is known about how a product came about.

    Raises:
        NotFound: neither a product nor a document has this SKU.
        SeveralSuppliers: none was named and more than one has it.
    """
    async with database.read() as db:
        products = await product_lists.find_keys(db, sku, supplier)
        documents = await explained.documents_named(db, sku)
        code = await _supplier_meant(db, sku, supplier, products, documents)
        product = next((row for row in products if row.supplier == code), None)
        pictures = PictureStates(0, 0, None) if product is None else await explained.picture_states(db, product.id)
        last_run = await explained.last_run_of(db, code)
    mine = [document for document in documents if document["supplier"] == code]
    error = next((document["error"] for document in mine if document["error"]), pictures.error)
    return Explained(
        sku=sku,
        supplier=code,
        status=None if product is None else product.status,
        documents=[_document(settings, document) for document in mine],
        last_run=last_run_out(settings, last_run),
        last_error=mask_optional(settings, error),
        pictures_pending=pictures.pending,
        pictures_failed=pictures.failed,
    )


async def _supplier_meant(
    db: Connection,
    sku: str,
    supplier: str | None,
    products: Sequence[ProductKey],
    documents: Sequence[ExplainedDocument],
) -> str:
    codes = {row.supplier for row in products} | {document["supplier"] for document in documents}
    if supplier is not None:
        found = await find_supplier(db, supplier)
        codes &= {found.code} if found else set()
    if not codes:
        raise NotFound(f"there is no product {sku}, and no document of that name")
    if len(codes) > 1:
        raise SeveralSuppliers(sku, sorted(codes))
    return codes.pop()


def _document(settings: Settings, document: ExplainedDocument) -> Document:
    masked = {"url": mask_base(settings, document["url"]), "error": mask_optional(settings, document["error"])}
    return Document.model_validate({**document, **masked})
