"""Is the service alive, and is it ready: what a process manager and a load balancer ask."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Literal

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse

from app.api.answer_in_time import abandon
from app.api.auth import GuardedRoute
from app.api.problems import problem_answer, problem_response
from app.errors import OutageError, SchemaTooNew
from app.persistence.migrations import check_schema
from app.persistence.taking_writes import try_to_write
from app.sync.services import Services
from app.views.shapes import Out, example

router = APIRouter(tags=["service"], route_class=GuardedRoute)

ANSWER_WITHIN_S = 3.0
NO_ANSWER = f"no answer within {ANSWER_WITHIN_S:.0f} s"
State = Literal["up", "down"]
NOT_READY = "a part has not answered yet, or the database does not answer"


class Alive(Out):
    """The process answers."""

    model_config = example(status="ok")
    status: Literal["ok"] = "ok"


class Ready(Out):
    """The state of each part; one that answers but refuses writes is down."""

    model_config = example(database="up", redis="up", storage="up")
    database: State
    redis: State
    storage: State


class Readiness:
    """Remembers which parts have answered since the start: until all have, nobody should be sent here."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._schema_is_waited_for = True
        self._checks: dict[str, Callable[[], Awaitable[None]]] = {
            "database": self._check_database,
            "storage": services.store.check,
        }
        if services.queue is not None:
            self._checks["redis"] = services.queue.check
        self._waited_for = set(self._checks)

    async def look(self) -> tuple[bool, dict[str, State], str]:
        """Whether requests should be sent here, the state of each part, and what is wrong with those that are down."""
        async with asyncio.TaskGroup() as group:
            tasks = {name: group.create_task(_complaint(check)) for name, check in self._checks.items()}
        complaints = {name: task.result() for name, task in tasks.items()}
        if complaints["database"] == NO_ANSWER:  # who waits for a connection hears of the refusals only at the end
            complaints["database"] = self._services.database.refusal or NO_ANSWER
        states: dict[str, State] = {"database": "down", "redis": "down", "storage": "down"}
        states |= {name: "down" if complaint else "up" for name, complaint in complaints.items()}
        self._waited_for -= {name for name, state in states.items() if state == "up"}
        why = "; ".join(f"{name}: {complaint}" for name, complaint in complaints.items() if complaint)
        return not self._waited_for and states["database"] == "up", states, why

    async def _check_database(self) -> None:
        """The schema counts at the start alone: while it moves on later, programs of the version before go on."""
        await self._services.database.check()
        if self._schema_is_waited_for:
            await check_schema(self._services.database)
            self._schema_is_waited_for = False
        await try_to_write(self._services.database)


async def _complaint(check: Callable[[], Awaitable[None]]) -> str | None:
    asked = asyncio.ensure_future(check())
    try:
        answered, _ = await asyncio.wait([asked], timeout=ANSWER_WITHIN_S)
    finally:
        if not asked.done():
            abandon(asked)
    if not answered:
        return NO_ANSWER
    try:
        await asked
    except (OutageError, SchemaTooNew) as error:
        return str(error)
    return None


@router.get(
    "/healthz", operation_id="getHealth", summary="Whether the process is alive", responses={422: problem_answer(422)}
)
async def get_health() -> Alive:
    """Looks at no dependency."""
    return Alive()


@router.get(
    "/readyz",
    operation_id="getReadiness",
    summary="Whether requests should be sent here",
    response_model=Ready,
    responses={422: problem_answer(422), 503: problem_answer(503)},
)
async def get_readiness(request: Request) -> JSONResponse:
    """503 until database, Redis and storage have all answered once; from then on only without the database."""
    readiness: Readiness = request.app.state.readiness
    ready, states, why = await readiness.look()
    if ready:
        return JSONResponse(dict(states))
    return problem_response(503, f"{NOT_READY} ({why})" if why else NOT_READY, headers=None, **states)
