"""The HTTP client: one a process, limits a request, nothing that the address check did not see.

    get ─▶ parse, allowed hosts ─▶ place ─▶ connect │ headers │ body, each with its limit ─▶ redirect? again, at most 5
        ─▶ judge the status ─▶ read under the cap ─▶ compare with what was announced ─▶ Fetched

aiohttp is used straight (docs/decisions/0004-http-transport.md). No proxy, cookie or credential is taken from the
environment; certificates are always verified, by the name and not by the address.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Self

import aiohttp
from aiohttp.http import HttpProcessingError

from app.errors import AddressRefused, OriginRefused, OriginUnavailable
from app.metrics.traffic import OutboundRequest, RequestKind
from app.outbound.addresses import AddressPolicy, Network
from app.outbound.answers import REDIRECT_STATUSES, header_text, judge_status, wished_wait_s
from app.outbound.body import check_size, decoder_for, read_body
from app.outbound.connections import Connections
from app.outbound.gate import Gate, OpenGate, Place
from app.outbound.patience import Patience
from app.outbound.resolver import CheckedResolver, Lookup, system_lookup
from app.outbound.urls import Shown, WebAddress, parse_address, resolve_redirect
from app.scarce import shortage
from app.signs_of_life import sign_of_life
from app.time_limits import within

MAX_REDIRECTS = 5
WHOLE_BODY_STATUSES = frozenset({200, 203})
CONDITIONAL_HEADERS = frozenset({"if-none-match", "if-modified-since"})
HEADERS_FOR_ANY_HOST = CONDITIONAL_HEADERS | {"accept", "cache-control", "pragma"}
"""Only these go along when a redirect leads to another origin."""


@dataclass(frozen=True, slots=True)
class FetchLimits:
    """What one request may cost. Bytes are counted both on the wire and decompressed."""

    max_bytes: int
    connect_timeout_s: float = 10.0
    first_byte_timeout_s: float = 30.0
    """From the connection (or a look for one) to the end of the answer's headers."""
    total_timeout_s: float = 120.0
    """Redirects and the whole body included."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """A whole answer: 200 or 203 with its body, or 304 without one.

    Its headers are printable ASCII that can be stored and sent back; one that cannot is None, as if it were not there.
    """

    status: int
    body: bytes
    """Decompressed."""
    url: str
    """Where it came from, after redirects. May hold a credential: mask it wherever it is shown."""
    etag: str | None
    last_modified: str | None
    content_type: str | None
    not_modified: bool
    end_marked: bool
    """A length or chunks said where the body ends; else the connection was closed, as it is when one breaks off."""


@dataclass(frozen=True, slots=True)
class _Redirect:
    """An answer that leads elsewhere."""

    to: WebAddress
    status: int


class OutboundClient:
    """The one way out. An async context manager; safe to use from many tasks of one event loop.

    `allow_private` are the exceptions of ALLOW_PRIVATE_ADDRESSES, compared with the address connected to. `lookup` and
    `tls` replace the name resolution and the trusted certificates where the system's are not wanted; `gate` decides
    who may ask a host now.
    """

    def __init__(
        self,
        *,
        allow_private: Sequence[Network] = (),
        lookup: Lookup = system_lookup,
        tls: ssl.SSLContext | None = None,
        gate: Gate | None = None,
    ) -> None:
        self._policy = AddressPolicy(allow_private)
        self._lookup = lookup
        self._gate: Gate = gate or OpenGate()
        self._connections = Connections(self._policy, lookup, tls)

    async def __aenter__(self) -> Self:
        await self._connections.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._connections.__aexit__()

    async def get(
        self,
        url: str,
        *,
        kind: RequestKind = "other",
        limits: FetchLimits,
        allowed_hosts: frozenset[str] | None = None,
        headers: Mapping[str, str] | None = None,
        place_within_s: float | None = None,
    ) -> Fetched:
        """Fetch `url` whole; `kind` says what is counted.

        `allowed_hosts` holds `host` or `host:port` entries, redirects included; None allows every public one. For each
        request, a redirect's too, a place among those to its host is waited for, `place_within_s` seconds in all at
        most; none is held meanwhile.

        Raises:
            NoPlace: there was none in that time, at one of the hosts.
            OriginUnavailable: transient, with the wait that the origin asked for, if any.
            OriginRefused: a 4xx, or redirects that lead nowhere.
            AddressRefused: it, or what it redirects or resolves to, must not be fetched.
            BodyTooLarge: over the cap.
            PermanentError: a content encoding that was not asked for.
        """
        address = self._admit(parse_address(url), allowed_hosts)
        sent, shown = {name.lower(): value for name, value in (headers or {}).items()}, Shown(address)
        patience = Patience(limits.total_timeout_s, place_within_s)
        for _ in range(MAX_REDIRECTS + 1):
            async with patience.place(self._gate, address) as place:
                with OutboundRequest(address.host, kind) as request:
                    async with patience.answer(shown):
                        found = await self._get(address, sent, limits, allowed_hosts, place)
                    if isinstance(found, Fetched):
                        request.answered(len(found.body), not_modified=found.not_modified)
                        return found
                    request.redirected()
            if found.to.origin != address.origin:
                sent = {name: value for name, value in sent.items() if name in HEADERS_FOR_ANY_HOST}
            address = found.to
        raise OriginRefused(f"{shown} redirects more than {MAX_REDIRECTS} times", found.status)

    async def _get(
        self,
        address: WebAddress,
        headers: Mapping[str, str],
        limits: FetchLimits,
        allowed_hosts: frozenset[str] | None,
        place: Place,
    ) -> Fetched | _Redirect:
        """One request in its place: the whole answer, or where it leads."""
        async with self._asked("GET", address, headers=headers, limits=limits) as answer:
            place.note(answer.status, wished_wait_s(answer.headers))
            if answer.status in REDIRECT_STATUSES:
                return _Redirect(self._admit(_redirect_target(answer, address), allowed_hosts), answer.status)
            return await _read(answer, address, limits, conditional=not CONDITIONAL_HEADERS.isdisjoint(headers))

    async def post(self, url: str, *, body: bytes, headers: Mapping[str, str], limits: FetchLimits) -> int:
        """Send `body` and give the status, a 2xx. Redirects are not followed and the answer's body is not read.

        Raises:
            OriginUnavailable: transient, with the wait that the receiver asked for, if any.
            OriginRefused: a 3xx or 4xx.
            AddressRefused: the address must not be connected to.
        """
        async with _limited(limits.total_timeout_s, Shown(url), "the whole answer"):
            address = self._admit(parse_address(url), None)
            with OutboundRequest(address.host, "webhook"):
                return await self._post(address, body, headers, limits)

    async def _post(self, address: WebAddress, body: bytes, headers: Mapping[str, str], limits: FetchLimits) -> int:
        async with self._asked("POST", address, headers=headers, limits=limits, body=body) as answer:
            judge_status(answer.status, answer.headers, shown=Shown(address), whole=frozenset(range(200, 300)))
            return answer.status

    async def check(self, url: str) -> None:
        """Refuse an address that could not be sent to as things are; a name that does not resolve yet is let pass.

        Raises:
            AddressRefused: it is malformed, or it or what it resolves to must not be connected to.
        """
        address = self._admit(parse_address(url), None)
        if not address.is_literal:
            with suppress(OSError):
                await CheckedResolver(self._policy, self._lookup).resolve(address.host, address.port)

    def _admit(self, address: WebAddress, allowed_hosts: frozenset[str] | None) -> WebAddress:
        if allowed_hosts is not None and not address.is_on(allowed_hosts):
            raise AddressRefused(f"{Shown(address)} is not on an allowed host", kind="host-not-allowed")
        if address.is_literal:
            self._policy.check(address.host)
        return address

    @asynccontextmanager
    async def _asked(
        self,
        method: str,
        address: WebAddress,
        *,
        headers: Mapping[str, str],
        limits: FetchLimits,
        body: bytes | None = None,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Send one request and give the answer once its headers are there; always releases the connection."""
        shown = Shown(address)
        try:
            async with _limited(limits.connect_timeout_s + limits.first_byte_timeout_s, shown, "the headers"):
                answer = await self._connections.request(
                    method, address, headers=headers, body=body, connect_s=limits.connect_timeout_s
                )
            sign_of_life()
            async with answer:
                yield answer
        except (aiohttp.ClientError, OSError) as error:
            raise OriginUnavailable(f"{shown}: {_explain(error)}") from error


async def _read(
    answer: aiohttp.ClientResponse, address: WebAddress, limits: FetchLimits, *, conditional: bool
) -> Fetched:
    shown = Shown(address)
    not_modified = conditional and answer.status == 304
    body = b""
    if not not_modified:
        judge_status(answer.status, answer.headers, shown=shown, whole=WHOLE_BODY_STATUSES)
        body = await _read_whole(answer, shown, limits.max_bytes)
    return Fetched(
        status=answer.status,
        body=body,
        url=str(address),
        etag=header_text(answer.headers.get("ETag")),
        last_modified=header_text(answer.headers.get("Last-Modified")),
        content_type=header_text(answer.headers.get("Content-Type")),
        not_modified=not_modified,
        end_marked=answer.content_length is not None or "Transfer-Encoding" in answer.headers,
    )


async def _read_whole(answer: aiohttp.ClientResponse, shown: Shown, max_bytes: int) -> bytes:
    check_size(answer.content_length or 0, max_bytes, shown)
    decoder = decoder_for(",".join(answer.headers.getall("Content-Encoding", ())))
    connection = answer.connection
    protocol = connection.protocol if connection is not None else None
    body = await read_body(answer.content.iter_any(), decoder, max_bytes=max_bytes, shown=shown)
    # aiohttp hands out the announced bytes and puts its complaint about more of them on the connection.
    if protocol is not None and isinstance(protocol.exception(), HttpProcessingError):
        raise OriginUnavailable(f"{shown}: the body is longer than announced")
    return body


def _redirect_target(answer: aiohttp.ClientResponse, address: WebAddress) -> WebAddress:
    location = answer.headers.get("Location")
    if not location:
        raise OriginRefused(f"{Shown(address)} redirects to nowhere", answer.status)
    return resolve_redirect(address, location)


def _limited(seconds: float, shown: Shown, what: str) -> AbstractAsyncContextManager[None]:
    return within(seconds, lambda: OriginUnavailable(f"{shown}: {what} took over {seconds:g} s"))


def _explain(error: aiohttp.ClientError | OSError) -> str:
    """What went wrong, without the address, which aiohttp's own messages may hold."""
    if (lacking := shortage(error)) is not None:
        return f"not asked, since this process ran short of {lacking}"
    known: tuple[tuple[type[Exception], str], ...] = (
        (aiohttp.ClientConnectorDNSError, "its name cannot be resolved"),
        (aiohttp.ClientSSLError, "no trusted TLS connection could be made"),
        (TimeoutError, "no connection could be made in time"),
        (aiohttp.ClientConnectorError, "no connection could be made"),
        (aiohttp.ClientPayloadError, "the body ended early"),
        (aiohttp.ServerDisconnectedError, "the connection was closed before an answer"),
        (aiohttp.ClientResponseError, "the answer is not HTTP, or longer than announced"),
    )
    return next((text for kind, text in known if isinstance(error, kind)), "the connection was lost")
