"""Keys and roles: `viewer` reads, `operator` starts and retries, `admin` manages suppliers.

Without any key configured everybody who gets through the local door may do everything.

request ─▶ GuardedRoute: is the key known, is its role enough? ─▶ are there only query parameters that it has?
        ─▶ body, path and query are read ─▶ the operation ─▶ an entry in the audit trail, unless it only reads

A stranger learns so neither which queues or suppliers there are nor what is wrong with a body.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Coroutine, Sequence
from typing import Annotated, Any, ClassVar

import msgspec
from fastapi import Depends, Request, Response, Security
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from fastapi.security import APIKeyHeader, HTTPBearer
from fastapi.security.http import HTTPAuthorizationCredentials

from app.api.auditing import READING, audited, note_status
from app.api.problems import ProblemError
from app.api.query_names import QueryNames
from app.api.request_traces import note_key
from app.api.sessions import session_key
from app.persistence.audit import Via
from app.settings import ApiKey, Role

RANKS: dict[Role, int] = {"viewer": 0, "operator": 1, "admin": 2}


class Caller(msgspec.Struct, frozen=True):
    """Who asks."""

    name: str
    role: Role

    @property
    def sees_buying_prices(self) -> bool:
        """What things cost the seller is not for every reader."""
        return RANKS[self.role] >= RANKS["operator"]


LOCAL = Caller("local", "admin")

bearer = HTTPBearer(auto_error=False, description="A key of API_KEYS.")
header = APIKeyHeader(name="X-API-Key", auto_error=False, description="A key of API_KEYS.")


class Permission:
    """A dependency that gives the caller, or refuses one with a smaller role than it names."""

    def __init__(self, role: Role) -> None:
        self.role = role

    async def __call__(
        self,
        request: Request,
        credentials: Annotated[HTTPAuthorizationCredentials | None, Security(bearer)],
        api_key: Annotated[str | None, Security(header)],
    ) -> Caller:
        """The caller of a request.

        Raises:
            ProblemError: 401 without a known key, 403 with too little.
        """
        caller = self.identify(request, credentials, api_key)
        self.refuse_less(caller)
        return caller

    def identify(
        self, request: Request, credentials: HTTPAuthorizationCredentials | None, api_key: str | None
    ) -> Caller:
        """Who asks, whatever the role.

        Raises:
            ProblemError: 401 without a known key.
        """
        given = [secret for secret in (credentials.credentials if credentials else None, api_key) if secret]
        caller = _signed_in(request) if not given and request.method in READING else None
        return caller or identify(request.app.state.settings.api_keys, given)

    def refuse_less(self, caller: Caller) -> None:
        """Refuse a caller with a smaller role.

        Raises:
            ProblemError: 403.
        """
        if RANKS[caller.role] < RANKS[self.role]:
            raise ProblemError(403, f"this needs the role {self.role}; the key {caller.name} has {caller.role}")


class BlankBodyRequest(Request):
    """A request in which a body of blanks alone is no body."""

    async def body(self) -> bytes:
        """The body's bytes."""
        read = await super().body()
        return b"" if read.isspace() else read


class GuardedRoute(APIRoute):
    """A route that asks for its `Permission` before anything else of the request is looked at, then for odd names.

    What becomes of a request that is to change something is in the audit trail.
    """

    via: ClassVar[Via] = "api"

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The handler, with the questions before it and the entry after it."""
        handler = super().get_route_handler()
        asked, names = permission_of(self.dependant), QueryNames(self.dependant)

        async def answered(request: Request, caller: Caller) -> Response:
            if asked is not None:
                asked.refuse_less(caller)
            names.look(request)
            return await handler(BlankBodyRequest(request.scope, request.receive))

        async def guarded(request: Request) -> Response:
            caller = LOCAL
            if asked is not None:
                caller = asked.identify(request, await bearer(request), await header(request))
                note_key(request, caller.name)
            if READING.issuperset(self.methods or ()):
                return await answered(request, caller)
            action = self.operation_id or self.name
            async with audited(request, actor=caller.name, role=caller.role, via=self.via, action=action) as act:
                response = await answered(request, caller)
                note_status(act, response.status_code)
                return response

        return guarded


def permission_of(dependant: Dependant) -> Permission | None:
    """The permission among the dependencies of an operation."""
    for part in dependant.dependencies:
        found = part.call if isinstance(part.call, Permission) else permission_of(part)
        if found is not None:
            return found
    return None


def identify(keys: Sequence[ApiKey], given: Sequence[str]) -> Caller:
    """The caller behind the secrets that a request gives.

    Raises:
        ProblemError: 401 when none is known.
    """
    if not keys:
        return LOCAL
    if not given:
        raise _unknown("a key is needed: send it as Authorization: Bearer … or X-API-Key")
    for secret in given:
        caller = find_caller(keys, secret)
        if caller is not None:
            return caller
    raise _unknown("this key is not known")


def find_caller(keys: Sequence[ApiKey], secret: str) -> Caller | None:
    """The caller whose secret this is; every key is compared, so that the time tells nothing."""
    found = None
    for key in keys:
        if hmac.compare_digest(key.secret.get_secret_value().encode(), secret.encode()):
            found = Caller(key.name, key.role)
    return found


def _signed_in(request: Request) -> Caller | None:
    """The caller whose browser has a session: it may read with it; what changes something needs the key, or a form."""
    key = session_key(request, request.app.state.settings.api_keys)
    return None if key is None else Caller(key.name, key.role)


def _unknown(detail: str) -> ProblemError:
    return ProblemError(401, detail, headers={"WWW-Authenticate": "Bearer"})


Viewer = Annotated[Caller, Depends(Permission("viewer"))]
Operator = Annotated[Caller, Depends(Permission("operator"))]
Admin = Annotated[Caller, Depends(Permission("admin"))]
