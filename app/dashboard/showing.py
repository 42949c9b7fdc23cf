"""From values to a page: the templates, what all of them know, and the headers of a page.

Whatever a template writes is escaped; an address from the feed becomes a link only where it begins with http.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
import secrets
from collections.abc import Iterable
from functools import cache
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

import orjson
from fastapi import Request
from fastapi.responses import HTMLResponse, Response
from jinja2 import Environment, PackageLoader, StrictUndefined

from app import VERSION
from app.api import sessions
from app.api.answer_headers import POLICY
from app.api.auth import RANKS, Caller
from app.dashboard import wording
from app.dashboard.static_files import fingerprint
from app.settings import Role

FLASH = "promidata_flash"
FLASH_MAX_CHARS = 600
FORM_COOKIE, FORM_BYTES = "promidata_form", 32
FRAGMENT = "x-fragment"
"""The header by which live.js asks for what may have changed, without the page around it. The answer's says who asked:
where somebody else has signed in since, live.js loads the whole page anew."""


@cache
def _templates() -> Environment:
    found = Environment(
        loader=PackageLoader("app.dashboard"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.filters |= wording.FILTERS
    found.globals |= {"version": VERSION, "asset": fingerprint, "queue_names": wording.QUEUE_TITLES}
    return found


def show(
    request: Request,
    caller: Caller | None,
    template: str,
    *,
    title: str,
    status: int = 200,
    pictures: Iterable[str] = (),
    **values: Any,
) -> HTMLResponse:
    """A page, or the part of it that moves where live.js asks for that; `pictures` are the addresses that it shows."""
    fragment = FRAGMENT in request.headers
    kept_cookie = _form_cookie(request)
    form_cookie = kept_cookie or secrets.token_hex(FORM_BYTES)
    flash = None if fragment else _flash(request)
    whom = "" if caller is None else quote(f"{caller.role} {caller.name}")
    text = (
        _templates()
        .get_template(template)
        .render(
            title=title,
            caller=caller,
            may=lambda role: may(caller, role),
            signed_in=bool(request.app.state.settings.api_keys) and caller is not None,
            root=root_of(request),
            path=request.url.path.removeprefix(root_of(request)) or "/",
            fragment=fragment,
            whom=whom,
            token=_token(form_cookie, request),
            flash=flash,
            query=request.query_params,
            more=lambda **changed: with_query(request, **changed),
            **values,
        )
    )
    answer = HTMLResponse(text, status, headers={FRAGMENT: whom} | _policy(pictures))
    if kept_cookie is None:
        sessions.keep_cookie(request, answer, FORM_COOKIE, form_cookie)
    if flash is not None:
        sessions.forget_cookie(request, answer, FLASH)
    return answer


def may(caller: Caller | None, role: Role) -> bool:
    """Whether somebody's role is enough: what it is not enough for is not offered."""
    return caller is not None and RANKS[caller.role] >= RANKS[role]


def root_of(request: Request) -> str:
    """The path prefix that the visitor sees, without a slash at its end."""
    root: str = request.scope.get("root_path", "")
    return root.rstrip("/")


def leave_word(request: Request, answer: Response, kind: str, said: str, secret: str = "") -> None:
    """Have the next page show a line, once; a secret goes no other way than to whoever is answered."""
    flash = orjson.dumps({"kind": kind, "said": said[:FLASH_MAX_CHARS], "secret": secret})
    sessions.keep_cookie(request, answer, FLASH, base64.urlsafe_b64encode(flash).decode(), lasts_s=60)


def asked_for(request: Request) -> str:
    """The path below the prefix as it was sent, with its query: what is encoded in it stays so."""
    path = request.scope["raw_path"].decode("latin-1").removeprefix(root_of(request)) or "/"
    return f"{path}?{request.url.query}" if request.url.query else path


def came_from(request: Request) -> str:
    """The page below the prefix that a form was on, as the browser names it; `/` where it does not."""
    page = urlsplit(request.headers.get("referer", ""))
    path = page.path.removeprefix(root_of(request)) or "/"
    return own_path(f"{path}?{page.query}" if page.query else path)


def own_path(text: str) -> str:
    r"""Where to lead somebody: a path of ours, and nowhere else.

    >>> [own_path(text) for text in ("/runs/1", "//evil.example", "https://evil.example", "/\\\\evil.example")]
    ['/runs/1', '/', '/', '/']
    """
    plain = text.startswith("/") and not text.startswith("//") and text.isprintable()
    return text if plain and "\\" not in text else "/"


def form_token(request: Request) -> str:
    """What a form of this browser and session has to carry."""
    return _token(_form_cookie(request) or secrets.token_hex(FORM_BYTES), request)


def with_query(request: Request, **changed: str | None) -> str:
    """The query of this page with other values for some parameters; None leaves one out."""
    kept = {**request.query_params, **changed}
    return "?" + urlencode({name: value for name, value in kept.items() if value})


def _form_cookie(request: Request) -> str | None:
    """The browser's random word, if it is one of ours: anything else would be a word that somebody else knows."""
    word = request.cookies.get(FORM_COOKIE, "")
    return word if re.fullmatch(f"[0-9a-f]{{{2 * FORM_BYTES}}}", word) else None


def _token(form_cookie: str, request: Request) -> str:
    session = request.cookies.get(sessions.COOKIE, "")
    return hmac.new(form_cookie.encode(), session.encode(), hashlib.sha256).hexdigest()


def _flash(request: Request) -> dict[str, str] | None:
    try:
        read = orjson.loads(base64.urlsafe_b64decode(request.cookies.get(FLASH, "")))
    except (binascii.Error, orjson.JSONDecodeError, ValueError):
        return None
    return {name: str(read.get(name, "")) for name in ("kind", "said", "secret")} if isinstance(read, dict) else None


def _policy(pictures: Iterable[str]) -> dict[str, str]:
    """A page that shows pictures of a bucket may load those from there; else the policy of all pages holds."""
    origins = sorted({f"{part.scheme}://{part.netloc}" for part in map(urlsplit, pictures) if part.netloc})
    if not origins:
        return {}
    return {"Content-Security-Policy": POLICY.replace("img-src 'self'", " ".join(["img-src 'self'", *origins]))}
