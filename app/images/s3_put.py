"""Whole objects put without the client's machinery, which costs more than the request (docs/decisions/0018).

    put ─ way known? ─ no ─▶ None: the client puts, and its request shows the way (address, region, service)
        └─ yes ─▶ sign ─▶ send through the client's own session ─▶ ETag
                          ├─ worth trying again (the client's rules), 3 times in all ─▶ pause, sign anew
                          ├─ led elsewhere: another region ─▶ way forgotten, None: the client finds it
                          └─ refused ─▶ ClientError, as the client raises it

Connections, TLS, proxies and time-outs are the client's: it is the same session. So are the rules of what is tried
again. Credentials are asked for at each attempt, since a role's change every few hours.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import urlsplit

import yarl
from botocore.awsrequest import AWSPreparedRequest, AWSResponse
from botocore.exceptions import BotoCoreError, ClientError
from botocore.model import OperationModel
from botocore.retries.standard import ExponentialBackoff, RetryContext, StandardRetryConditions

from app.images.s3_signing import FrozenCredentials, SigningScope, scope_of, signed_put

MAX_ATTEMPTS = 3
LONGEST_WAIT_S = 10.0
"""Of what a store asks for with Retry-After."""
SEGMENTS_OF_A_KEY = 3
_CODE = re.compile(rb"<Code>([^<]{1,100})</Code>")
_ELSEWHERE = frozenset({"AuthorizationHeaderMalformed", "IllegalLocationConstraintException", "PermanentRedirect"})


class Sender(Protocol):
    """aiobotocore's session of connections."""

    async def send(self, request: Any) -> Any: ...  # noqa: D102


class Credentials(Protocol):
    """aiobotocore's credentials, which may be refreshed while they are asked for."""

    async def get_frozen_credentials(self) -> FrozenCredentials: ...  # noqa: D102


@dataclass(frozen=True, slots=True)
class _Way:
    """How to reach the bucket, as the client resolved it."""

    base_url: str
    """Up to the key, with the slash before it."""
    scope: SigningScope
    user_agent: str

    @property
    def host(self) -> str:
        """As the header names it."""
        return yarl.URL(self.base_url, encoded=True).host_port_subcomponent or ""

    @property
    def path(self) -> str:
        """The base's, quoted as it is sent."""
        return urlsplit(self.base_url).path


@dataclass(frozen=True, slots=True)
class _Outcome:
    """What became of one attempt: an answer, or an error on the way."""

    status: int = 0
    headers: Mapping[str, str] | None = None
    code: str = ""
    error: BotoCoreError | None = None
    moved: bool = False
    answer: AWSResponse | None = None

    @property
    def leads_elsewhere(self) -> bool:
        return not self.is_stored and (self.moved or 300 <= self.status < 400 or self.code in _ELSEWHERE)

    @property
    def is_stored(self) -> bool:
        return 200 <= self.status < 300

    @property
    def wished_wait_s(self) -> float:
        wish = (self.headers or {}).get("retry-after", "")
        return min(float(wish), LONGEST_WAIT_S) if wish.isdecimal() else 0.0


class StraightPut:
    """Puts whole objects in one bucket, once it has seen how the client does it."""

    def __init__(self, sender: Sender, credentials: Credentials, operation: OperationModel) -> None:
        self._sender = sender
        self._operation = operation
        self._credentials = credentials
        self._way: _Way | None = None
        self._conditions = StandardRetryConditions(max_attempts=MAX_ATTEMPTS)
        self._backoff = ExponentialBackoff()

    def watch(self, request: AWSPreparedRequest, **_: object) -> None:
        """Learn the way from a request that the client is about to send (`before-send.s3.PutObject`)."""
        scope = scope_of(_text(request.headers.get("Authorization", "")))
        address, agent = str(request.url), _text(request.headers.get("User-Agent", ""))
        self._way = None
        if scope is not None and scope.service == "s3" and "?" not in address:
            base_url = f"{address.rsplit('/', SEGMENTS_OF_A_KEY)[0]}/"
            self._way = _Way(base_url, scope, agent)

    async def put(self, key: str, body: bytes, headers: Mapping[str, str]) -> str | None:
        """The ETag that the store gave, or None where the client has to put.

        Args:
            key: a media key.
            body: the bytes that its hash is of.
            headers: of the object, in lower case.

        Raises:
            ClientError, BotoCoreError: as the client.
        """
        attempt = 1
        while (way := self._way) is not None:
            outcome = await self._attempt(way, key, body, headers)
            if outcome.is_stored:
                return (outcome.headers or {}).get("etag", "")
            if outcome.leads_elsewhere:
                self._way = None
            else:
                await self._pause_or_raise(outcome, attempt)
                attempt += 1
        return None

    async def _attempt(self, way: _Way, key: str, body: bytes, headers: Mapping[str, str]) -> _Outcome:
        sha256 = key.rpartition("/")[2].partition(".")[0]
        frozen = await self._credentials.get_frozen_credentials()
        signed = signed_put(frozen, way.scope, way.path + key, {**headers, "host": way.host}, sha256)
        signed["user-agent"] = way.user_agent  # unsigned, as the client's: what stands in between may change it
        request = AWSPreparedRequest("PUT", way.base_url + key, signed, body, stream_output=False)  # type: ignore[arg-type]
        try:
            answer = await self._sender.send(request)
        except BotoCoreError as error:
            return _Outcome(error=error)
        code = "" if answer.status_code < 300 else _code(answer.status_code, await answer.content)
        return _Outcome(answer.status_code, answer.headers, code, moved=bool(answer.raw.history), answer=answer)

    async def _pause_or_raise(self, outcome: _Outcome, attempt: int) -> None:
        context = RetryContext(
            attempt,
            self._operation,
            parsed_response={"Error": {"Code": outcome.code}},
            http_response=outcome.answer,
            caught_exception=outcome.error,
        )
        if self._conditions.is_retryable(context):
            await asyncio.sleep(max(self._backoff.delay_amount(context), outcome.wished_wait_s))
        elif outcome.error is not None:
            raise outcome.error
        else:
            told: Any = {"Error": {"Code": outcome.code}, "ResponseMetadata": {"HTTPStatusCode": outcome.status}}
            raise ClientError(told, "PutObject")


def _code(status: int, body: bytes) -> str:
    found = _CODE.search(body[:8192])
    if found is not None:
        return found[1].decode("ascii", "replace")
    return "SlowDown" if status == 429 else str(status)


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value
