"""Sessions of people who signed in with a key: a signed cookie, which the key itself ends.

    key ─▶ sealing secret of that key ─▶ cookie: its name, signed, with a time
    cookie ─▶ a key of that name? ─▶ its sealing secret fits? younger than 12 h? ─▶ the caller

Nothing is kept: the signing secret comes from the key, so a session survives a restart, is known to every process of
the API, and ends when its key is changed or taken out of API_KEYS (docs/decisions/0022).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import lru_cache

from fastapi import Request
from itsdangerous import BadSignature, URLSafeTimedSerializer
from starlette.responses import Response

from app.settings import ApiKey

COOKIE = "promidata_session"
LASTS_S = 12 * 3600
_SALT = "promidata-sync dashboard session"


def open_session(request: Request, response: Response, key: ApiKey) -> None:
    """Let the browser that gets this answer be known as the owner of `key`."""
    sealed = _serializer(key).dumps(key.name)
    value = sealed if isinstance(sealed, str) else sealed.decode()
    keep_cookie(request, response, COOKIE, value, lasts_s=LASTS_S)


def session_key(request: Request, keys: Sequence[ApiKey]) -> ApiKey | None:
    """The key that the request's session belongs to, if it has one that is good."""
    cookie = request.cookies.get(COOKIE)
    if not cookie:
        return None
    return next((key for key in keys if _fits(key, cookie)), None)


def keep_cookie(request: Request, response: Response, name: str, value: str, *, lasts_s: int | None = None) -> None:
    """Set a cookie that scripts cannot read, for the service's own paths; over HTTPS alone where it came so."""
    response.set_cookie(
        name,
        value,
        max_age=lasts_s,
        path=cookie_path(request),
        secure=request.url.scheme == "https",
        httponly=True,
        samesite="lax",
    )


def forget_cookie(request: Request, response: Response, name: str) -> None:
    """Take a cookie away again."""
    response.delete_cookie(name, path=cookie_path(request), httponly=True, samesite="lax")


def cookie_path(request: Request) -> str:
    """Where cookies are sent: below the service's path prefix and nowhere else on the host."""
    root: str = request.scope.get("root_path", "")
    return root.rstrip("/") or "/"


def _fits(key: ApiKey, cookie: str) -> bool:
    try:
        return bool(_serializer(key).loads(cookie, max_age=LASTS_S) == key.name)
    except BadSignature:
        return False


def _serializer(key: ApiKey) -> URLSafeTimedSerializer:
    return URLSafeTimedSerializer(_sealing_secret(key.name, key.role, key.secret.get_secret_value()), salt=_SALT)


@lru_cache(maxsize=256)
def _sealing_secret(name: str, role: str, secret: str) -> bytes:
    """Slow to make, so that a cookie that leaked is of no use for guessing the key."""
    return hashlib.scrypt(secret.encode(), salt=f"{_SALT}:{name}:{role}".encode(), n=2**14, r=8, p=1, dklen=32)
