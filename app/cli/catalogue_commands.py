"""Reading the catalogue: `products`, `product`, `variants`, `categories`, `history`, `changes`.

--json       one document, the items as the API gives them
--ndjson     an item a line as it is read, for pipes: all of them unless --limit says how many
neither      lines for people, with whole SKUs and ids
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

import typer

from app.cli.exits import EPILOG
from app.cli.times import time_option

catalogue_app = typer.Typer(help="The catalogue.", epilog=EPILOG)

SHOWN = 20
Json = Annotated[bool, typer.Option("--json", help="One JSON document, for scripts.")]
Ndjson = Annotated[bool, typer.Option("--ndjson", help="One JSON object a line, for pipes.")]
Whose = Annotated[str | None, typer.Option("--supplier", help="Whose, where several have it: a code or documentId.")]
Supplier = Annotated[str | None, typer.Option(help="Only this supplier's: a code or documentId.")]
Status = Annotated[Literal["active", "discontinued"] | None, typer.Option(help="Only those in this state.")]
Since = Annotated[datetime | None, time_option("Only what changed at this time or later")]
Most = Annotated[int | None, typer.Option(min=1, max=1_000_000, help=f"How many; {SHOWN}, with --ndjson all.")]


def _one_of(*, json: bool, ndjson: bool) -> None:
    if json and ndjson:
        raise typer.BadParameter("is a document, --ndjson lines: give one of them", param_hint="--json")


@catalogue_app.command(epilog=EPILOG)
def products(
    *,
    supplier: Supplier = None,
    q: Annotated[str | None, typer.Option(help="Words of names, or the beginning of a SKU or an EAN.")] = None,
    status: Status = None,
    category: Annotated[str | None, typer.Option(help="Only this category and what lies below it.")] = None,
    updated_since: Since = None,
    sort: Annotated[Literal["sku", "updatedAt"], typer.Option(help="In which order.")] = "sku",
    limit: Most = None,
    json: Json = False,
    ndjson: Ndjson = False,
) -> None:
    """List products; with --ndjson whole ones with their variants, as of one moment."""
    from app.cli import product_reads
    from app.persistence.product_lists import ProductFilter

    _one_of(json=json, ndjson=ndjson)
    wanted = ProductFilter(supplier, status, category, updated_since, q)
    if ndjson:
        product_reads.stream_products(wanted, sort=sort, limit=limit)
    else:
        product_reads.show_products(wanted, sort=sort, limit=limit or SHOWN, as_json=json)


@catalogue_app.command(epilog=EPILOG)
def product(
    sku: Annotated[str, typer.Argument(help="A family's SKU.")], *, supplier: Whose = None, json: Json = False
) -> None:
    """Show one product with its variants, prices and pictures."""
    from app.cli.product_reads import show_product

    show_product(sku, supplier=supplier, as_json=json)


@catalogue_app.command(epilog=EPILOG)
def variants(
    *,
    sku: Annotated[str | None, typer.Option(help="Only those with this SKU.")] = None,
    ean: Annotated[str | None, typer.Option(help="Only those with this EAN.")] = None,
    product: Annotated[str | None, typer.Option(help="Only those of this product.")] = None,
    supplier: Supplier = None,
    status: Status = None,
    updated_since: Since = None,
    limit: Most = None,
    json: Json = False,
    ndjson: Ndjson = False,
) -> None:
    """List variants by SKU."""
    from app.cli import product_reads
    from app.persistence.variant_lists import VariantFilter

    _one_of(json=json, ndjson=ndjson)
    wanted = VariantFilter(ean, sku, supplier, product, status, updated_since)
    if ndjson:
        product_reads.stream_variants(wanted, limit=limit)
    else:
        product_reads.show_variants(wanted, limit=limit or SHOWN, as_json=json)


@catalogue_app.command(epilog=EPILOG)
def categories(*, json: Json = False) -> None:
    """List the categories by path."""
    from app.cli.change_reads import show_categories

    show_categories(as_json=json)


@catalogue_app.command(epilog=EPILOG)
def history(
    sku: Annotated[str, typer.Argument(help="A family's SKU.")],
    *,
    supplier: Whose = None,
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="How many.")] = SHOWN,
    json: Json = False,
) -> None:
    """Say what changed about a product and its variants, old and new, the newest first."""
    from app.cli.change_reads import show_history

    show_history(sku, supplier=supplier, limit=limit, as_json=json)


@catalogue_app.command(epilog=EPILOG)
def changes(
    *,
    since: Annotated[int | None, typer.Option(min=0, help="The last number that was seen; the newest ones.")] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what comes, until Ctrl-C.")] = False,
    limit: Most = None,
    json: Json = False,
    ndjson: Ndjson = False,
) -> None:
    """Say what changed in the catalogue, in order: the newest changes, or all after --since."""
    from app.cli.change_reads import show_changes

    _one_of(json=json, ndjson=ndjson)
    if json and follow:
        raise typer.BadParameter("has no end, which a document needs: give --ndjson", param_hint="--follow")
    show_changes(since=since, follow=follow, limit=limit, form="json" if json else "ndjson" if ndjson else "text")
