"""Signing in with an API key, and out.

Both leave an entry in the audit trail. A key that is not known leaves a line in the log alone: strangers shall not be
able to fill the table.
"""

from __future__ import annotations

from fastapi import APIRouter, Request, Response
from starlette.responses import RedirectResponse
from structlog import get_logger

from app.api import sessions
from app.api.auditing import audited
from app.api.auth import find_caller
from app.dashboard.entering import SignInRoute
from app.dashboard.forms import Form
from app.dashboard.showing import own_path, root_of, show
from app.settings import ApiKey

router = APIRouter(include_in_schema=False, route_class=SignInRoute)

log = get_logger()

UNKNOWN = "This key is not known. Keys are set in API_KEYS, as name:role:secret; enter the secret."


@router.get("/sign-in")
async def get_sign_in(request: Request) -> Response:
    """The form; where no key is configured, or somebody is signed in, there is nothing to do here."""
    keys = request.app.state.settings.api_keys
    to = own_path(request.query_params.get("to", "/"))
    if not keys or sessions.session_key(request, keys):
        return RedirectResponse(root_of(request) + to, 303)
    return show_sign_in(request, to)


def show_sign_in(request: Request, to: str = "/", said: str | None = None) -> Response:
    """The form, perhaps once more; it leads to a path of ours."""
    status = 200 if said is None else 401
    return show(request, None, "sign_in.html", title="Sign in", status=status, said=said, to=to)


@router.post("/sign-in")
async def sign_in(request: Request, form: Form) -> Response:
    """Known by a key from here on, for twelve hours."""
    to = own_path(form.get("to", "/"))
    key = _key_with(request.app.state.settings.api_keys, form.get("key", ""))
    if key is None:
        log.warning("sign-in refused: the key is not known", address=request.client and request.client.host)
        return show_sign_in(request, to, UNKNOWN)
    async with audited(request, actor=key.name, role=key.role, via="dashboard", action="signIn"):
        answer = RedirectResponse(root_of(request) + to, 303)
        sessions.open_session(request, answer, key)
        return answer


@router.post("/sign-out")
async def sign_out(request: Request, form: Form) -> Response:  # noqa: ARG001  what comes from elsewhere is refused
    """Not known any more in this browser."""
    answer = RedirectResponse(root_of(request) + "/", 303)
    sessions.forget_cookie(request, answer, sessions.COOKIE)
    key = sessions.session_key(request, request.app.state.settings.api_keys)
    if key is not None:
        async with audited(request, actor=key.name, role=key.role, via="dashboard", action="signOut"):
            pass
    return answer


def _key_with(keys: tuple[ApiKey, ...], secret: str) -> ApiKey | None:
    caller = find_caller(keys, secret)
    return next((key for key in keys if caller is not None and key.name == caller.name), None)
