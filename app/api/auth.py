"""Keys and roles: `viewer` reads, `operator` starts and retries, `admin` manages suppliers.

Without any key configured everybody who gets through the local door may do everything.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Sequence
from typing import Annotated

import msgspec
from fastapi import Depends, Request, Security
from fastapi.security import APIKeyHeader, HTTPBearer
from fastapi.security.http import HTTPAuthorizationCredentials

from app.api.problems import ProblemError
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


async def identify(
    request: Request,
    credentials: Annotated[HTTPAuthorizationCredentials | None, Security(bearer)],
    api_key: Annotated[str | None, Security(header)],
) -> Caller:
    """The caller behind a request's key."""
    keys: tuple[ApiKey, ...] = request.app.state.settings.api_keys
    if not keys:
        return LOCAL
    given = [secret for secret in (credentials.credentials if credentials else None, api_key) if secret]
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


def _unknown(detail: str) -> ProblemError:
    return ProblemError(401, detail, headers={"WWW-Authenticate": "Bearer"})


def require(role: Role) -> Callable[..., Caller]:
    """A dependency that gives the caller, or refuses one with a smaller role."""

    def permitted(caller: Annotated[Caller, Depends(identify)]) -> Caller:
        if RANKS[caller.role] < RANKS[role]:
            raise ProblemError(403, f"this needs the role {role}; the key {caller.name} has {caller.role}")
        return caller

    return permitted


Viewer = Annotated[Caller, Depends(require("viewer"))]
Operator = Annotated[Caller, Depends(require("operator"))]
Admin = Annotated[Caller, Depends(require("admin"))]
