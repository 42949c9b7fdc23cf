"""`fields=sku,name,variants.prices`: which members of products an answer has."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

from fastapi import Query

from app.api.problems import ProblemError
from app.views.bodies import Storable
from app.views.products import ListedProduct, Product, Variant
from app.views.shapes import Out
from app.views.whole import Form

VARIANTS = "variants"
Fields = Annotated[
    str | None,
    Query(
        max_length=2_000,
        description="Only these members, separated by commas; of variants as `variants.prices`.",
        examples=["sku,name,variants.sku,variants.prices"],
    ),
    Storable,
]


def _names(model: type[Out]) -> list[str]:
    return [field.alias or name for name, field in model.model_fields.items()]


OF_VARIANT = [f"{VARIANTS}.{name}" for name in _names(Variant)]
OF_PRODUCT = [*_names(Product), *OF_VARIANT]
OF_LISTED = [*dict.fromkeys([*_names(ListedProduct), *OF_PRODUCT])]


def form_of(fields: str | None, possible: list[str], whole: Form) -> Form:
    """The form that a caller asks for, out of the one with everything; naming anything of variants brings them in.

    Raises:
        ProblemError: 422, `fields` names what there is not; says what there is.
    """
    if fields is None:
        return whole
    named = list(dict.fromkeys(name.strip() for name in fields.split(",")))
    unknown = [name for name in named if name not in possible]
    if unknown:
        raise _refused(unknown, possible)
    of_variants = {name.removeprefix(f"{VARIANTS}.") for name in named if name.startswith(f"{VARIANTS}.")}
    product = {name.partition(".")[0] for name in named}
    variant = None if VARIANTS in named else of_variants
    return replace(whole, product=product, variant=variant, expanded=VARIANTS in product)


def _refused(unknown: list[str], possible: list[str]) -> ProblemError:
    there_is_not = ", ".join(repr(name[:100]) for name in unknown[:5])
    message = f"there is no {there_is_not}; possible are {', '.join(possible)}"
    return ProblemError(422, f"fields: {message}", errors=[{"field": "fields", "message": message}])
