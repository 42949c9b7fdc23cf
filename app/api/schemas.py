"""What all parameters have in common: UTC, texts that PostgreSQL can take, and the parts that answers are made with."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from fastapi import Depends, Path, Query, Request
from pydantic import BeforeValidator, StringConstraints

from app.errors import NotFound
from app.jobs.definitions import QUEUES, QueueName
from app.persistence.database import Database
from app.sync.services import Services
from app.views.bodies import Storable
from app.views.moments import Moment

MAX_PARAMETER_CHARS = 300

Word = Annotated[str, Query(min_length=1, max_length=MAX_PARAMETER_CHARS), Storable]
"""A query parameter's text."""
Typed = Annotated[str, Query(max_length=MAX_PARAMETER_CHARS), StringConstraints(strip_whitespace=True), Storable]
"""What somebody typed into a field of a page, without blanks around it, or left empty."""


_DIGITS = re.compile(r"-?[0-9]+")


def _in_digits(given: object) -> object:
    if isinstance(given, str) and not _DIGITS.fullmatch(given):
        raise ValueError("should be a whole number")
    return given


Digits = BeforeValidator(_in_digits)
"""Of a query's whole number: the parser would take `1_0`, `1.0` and `+1`, too."""


def services_of(request: Request) -> Services:
    """The process's parts."""
    services: Services = request.app.state.services
    return services


async def get_services(request: Request) -> Services:
    """The same as a dependency: one that is no coroutine costs each request a hop to a thread and back."""
    return services_of(request)


async def get_database(request: Request) -> Database:
    """The process's way to PostgreSQL."""
    return services_of(request).database


SupplierNamed = Annotated[Word | None, Query(description="A supplier's code or `documentId`.")]
WhoseSku = Annotated[Word | None, Query(description="Code or `documentId`, where several suppliers have the SKU.")]
UpdatedSince = Annotated[
    Moment | None,
    Query(
        description="Changed at this time or later; UTC without an offset. `updatedAt` is stamped when a change is "
        "written and seen once it is committed, so one with a later stamp may be seen before it: who polls with the "
        "latest `updatedAt` that he has should ask from 15 minutes before it and take what he sees twice as the same, "
        "or follow `/changes`, which has no such gap."
    ),
]
ProductStatus = Annotated[
    Literal["active", "discontinued"] | None,
    Query(description="Only these; without it both, the discontinued ones as they were last."),
]
QueueNamed = Annotated[
    str, Path(alias="queueName", description=f"One of {', '.join(QUEUES)}.", examples=["supplier-sync"])
]


async def get_queue_name(queue_name: QueueNamed) -> QueueName:
    """The queue that a path names."""
    for queue in QUEUES:
        if queue == queue_name:
            return queue
    raise NotFound(f"there is no queue {queue_name}: there are {', '.join(QUEUES)}")


ServicesNeeded = Annotated[Services, Depends(get_services)]
DatabaseNeeded = Annotated[Database, Depends(get_database)]
QueueNeeded = Annotated[QueueName, Depends(get_queue_name)]
