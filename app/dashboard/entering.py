"""The dashboard's door: who asks, whether the role is enough, and errors as pages.

no key configured ─▶ everybody at the local door is an admin
a session, or a key in a header ─▶ its role       nothing ─▶ to the sign-in page
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Annotated, Any, ClassVar
from urllib.parse import quote

from fastapi import Depends, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from fastapi.security.utils import get_authorization_scheme_param
from starlette.responses import RedirectResponse

from app.api.auditing import READING, audited
from app.api.auth import LOCAL, RANKS, Caller, find_caller
from app.api.encodings import weights_of
from app.api.field_problems import in_words, problems_in
from app.api.problems import ProblemError, problem_response, status_of
from app.api.sessions import session_key
from app.dashboard.showing import asked_for, came_from, leave_word, own_path, root_of, show
from app.errors import PromidataSyncError
from app.persistence.audit import Act
from app.settings import Role, Settings
from app.views.masking import mask_base

Handler = Callable[[Request], Coroutine[Any, Any, Response]]


NOTHING_DONE = "Nothing was done: nobody is signed in any more. Sign in, and press the button again."


class SignInNeeded(Exception):
    """Nobody is signed in."""


class Entry:
    """A dependency that gives whoever is signed in, or refuses one with a smaller role than it names."""

    def __init__(self, role: Role) -> None:
        self.role = role

    async def __call__(self, request: Request) -> Caller:
        """Whoever is signed in.

        Raises:
            SignInNeeded: nobody is.
            ProblemError: 403, the role is too small.
        """
        caller = caller_of(request)
        if caller is None:
            raise SignInNeeded
        if RANKS[caller.role] < RANKS[self.role]:
            raise ProblemError(403, f"this needs the role {self.role}; the key {caller.name} has {caller.role}")
        return caller


def caller_of(request: Request) -> Caller | None:
    """Who asks: everybody local where no key is configured, else the owner of a session or of a key in a header."""
    keys = request.app.state.settings.api_keys
    if not keys:
        return LOCAL
    scheme, credentials = get_authorization_scheme_param(request.headers.get("authorization"))
    bearer = credentials if scheme.lower() == "bearer" else ""
    for secret in filter(None, (bearer, request.headers.get("x-api-key"))):
        if found := find_caller(keys, secret):
            return found
    key = session_key(request, keys)
    return None if key is None else Caller(key.name, key.role)


Reader = Annotated[Caller, Depends(Entry("viewer"))]
Starter = Annotated[Caller, Depends(Entry("operator"))]
Keeper = Annotated[Caller, Depends(Entry("admin"))]


class PageRoute(APIRoute):
    """A route whose errors are pages, which asks strangers to sign in, and whose forms are in the audit trail.

    A form's route is named as the API's operation that does the same.
    """

    audits: ClassVar[bool] = True

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The handler, with errors as pages."""
        handler = super().get_route_handler()
        is_form = not READING.issuperset(self.methods or ())
        entered = _audited(handler, self.name) if is_form and self.audits else handler

        async def shown(request: Request) -> Response:
            try:
                return await entered(request)
            except SignInNeeded:
                return to_sign_in(request)
            except (PromidataSyncError, ProblemError, RequestValidationError) as error:
                return _refused(request, error)

        return shown


class SignInRoute(PageRoute):
    """A route for strangers, who have no name for the audit trail yet; what comes of it writes itself."""

    audits = False


def _audited(handler: Handler, action: str) -> Handler:
    async def entered(request: Request) -> Response:
        caller = caller_of(request)
        if caller is None:
            raise SignInNeeded
        async with audited(request, actor=caller.name, role=caller.role, via="dashboard", action=action) as act:
            request.state.act = act
            return await handler(request)

    return entered


def call_it(request: Request, action: str, target: str) -> None:
    """Say what a form does and to what, where its path alone does not."""
    act: Act = request.state.act
    act.action, act.target = action, target


def _refused(request: Request, error: Exception) -> Response:
    """Back to the page that the form was on, with why it came to nothing; without such a page, an error page."""
    status, text = what_went_wrong(request, error)
    back = getattr(request.state, "back", None)
    if back is not None:
        return leading(request, back, text, kind="error")
    return show(request, caller_of(request), "error.html", status=status, title="Not possible", said=text)


def leading(request: Request, to: str, said: str, *, kind: str = "done", secret: str = "") -> Response:
    """To a path of the dashboard, with a line, and perhaps a secret, to be shown there once."""
    answer = RedirectResponse(root_of(request) + own_path(to), 303)
    leave_word(request, answer, kind, said, secret)
    return answer


def wants_page(request: Request) -> bool:
    """Whether somebody reads what is answered: a browser names HTML, and what is below `/api` is for programs."""
    path = request.url.path.removeprefix(root_of(request))
    weights = weights_of(",".join(request.headers.getlist("accept")))
    return request.method in READING and not path.startswith("/api/") and weights.get("text/html", 0) > 0


async def nothing_here(request: Request, _: Exception) -> Response:
    """The answer for a path that leads nowhere: a page in a browser, else the API's problem document."""
    said = f"there is nothing at {request.url.path}"
    if not wants_page(request):
        return problem_response(404, said)
    return show(request, caller_of(request), "error.html", status=404, title="Nothing here", said=said)


def to_sign_in(request: Request) -> Response:
    """Off to the sign-in page, which leads back to the page that was asked for; of a form it says what became of it."""
    is_form = request.method not in READING
    wanted = came_from(request) if is_form else asked_for(request)
    answer = RedirectResponse(f"{root_of(request)}/sign-in?to={quote(wanted, safe='/')}", 303)
    if is_form:
        leave_word(request, answer, "error", NOTHING_DONE)
    return answer


def what_went_wrong(request: Request, error: Exception) -> tuple[int, str]:
    """An error's status and its text for people, without what is secret."""
    settings: Settings = request.app.state.settings
    if isinstance(error, ProblemError):
        return error.status, mask_base(settings, error.detail)
    if isinstance(error, PromidataSyncError):
        return status_of(error), mask_base(settings, str(error))
    assert isinstance(error, RequestValidationError)
    return 422, in_words(problems_in(error))
