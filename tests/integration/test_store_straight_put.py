"""Puts past the client's machinery: by whom they are signed, where they go, what is tried again."""

from __future__ import annotations

import hashlib
import json
import random
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from app.errors import StoreUnavailable
from app.images.s3_signing import SigningScope, scope_of, signed_put
from app.images.store import CACHE_CONTROL, media_key
from app.images.store_s3 import S3Store, open_s3_store
from tests.support.raw_http import KEEP, RawServer, Script, answer, serve
from tests.support.s3_servers import s3_settings

NOW = datetime(2026, 3, 1, 12, 30, 59, tzinfo=UTC)
SLOW_DOWN = b"<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"
SKEWED = b"<Error><Code>RequestTimeTooSkewed</Code></Error>"
ELSEWHERE = b"<Error><Code>AuthorizationHeaderMalformed</Code><Region>eu-west-1</Region></Error>"


@pytest.fixture(autouse=True)
def _no_waits_between_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("botocore.retries.standard.ExponentialBackoff.delay_amount", lambda _self, _context: 0.0)


def picture(seed: int) -> tuple[str, bytes]:
    body = random.Random(seed).randbytes(3_000)
    return media_key(hashlib.sha256(body).hexdigest(), "png"), body


def stored(body: bytes) -> bytes:
    etag = hashlib.md5(body, usedforsecurity=False).hexdigest()
    return answer(ETag=f'"{etag}"')


def header(head: str, name: str) -> str:
    """The value of a request's header; empty where it has none."""
    lines = [line.partition(":") for line in head.split("\r\n")[1:]]
    return next((value.strip() for key, _, value in lines if key.lower() == name), "")


def signer(head: str) -> str:
    return header(head, "authorization").partition("Credential=")[2].partition("/")[0]


Scripts = Callable[[str], Script]


@asynccontextmanager
async def warm(script: Scripts, **settings: Any) -> AsyncIterator[tuple[S3Store, RawServer]]:
    """A store that has put one picture through the client, which may not put any more."""
    _, first = picture(0)

    def answers(head: str) -> Script:
        return [stored(first), KEEP] if len(server.requests) == 1 else script(head)

    async with serve(answers) as server:
        with pytest.MonkeyPatch.context() as environment:
            environment.setenv("AWS_ENDPOINT_URL_S3", server.url(""))  # where the settings name none, as for AWS itself
            async with open_s3_store(s3_settings(server.url("")).model_copy(update=settings)) as store:
                await store.put(picture(0)[0], first, "image/png")
                yield store, server


def forbid_the_client(store: S3Store, monkeypatch: pytest.MonkeyPatch) -> None:
    async def refuse(**_: object) -> None:
        raise AssertionError("the client was asked to put")

    monkeypatch.setattr(store._client, "put_object", refuse)


@pytest.mark.parametrize("token", ["", "a/borrowed+token=="])
@pytest.mark.parametrize("service", ["s3", "s3-outposts"])
def test_a_signature_is_the_one_that_the_client_makes(
    monkeypatch: pytest.MonkeyPatch, token: str, service: str
) -> None:
    key, body = picture(1)
    credentials = Credentials("an-access-key", "a-secret/key", token or None)
    headers = {"cache-control": CACHE_CONTROL, "content-md5": "bWQ1", "content-type": "image/png"}
    request = AWSRequest("PUT", f"https://pictures.test:8443/some%20bucket/{key}", headers=dict(headers), data=body)
    request.context["payload_signing_enabled"] = True
    scope = SigningScope("eu-central-1", service)
    signed_by_us = signed_put(
        credentials, scope, f"/some%20bucket/{key}", headers | {"host": "pictures.test:8443"},
        hashlib.sha256(body).hexdigest(), now=NOW,
    )  # fmt: skip
    request.context["client_config"] = type("Config", (), {"s3": {"payload_signing_enabled": True}})
    monkeypatch.setattr("botocore.auth.get_current_datetime", lambda: NOW)
    S3SigV4Auth(credentials, service, "eu-central-1").add_auth(request)
    assert signed_by_us["authorization"] == request.headers["Authorization"]
    assert scope_of(signed_by_us["authorization"]) == scope


@pytest.mark.parametrize("other", ["", "AWS4-ECDSA-P256-SHA256 Credential=a/b/c/d/aws4_request, x", "AWS key:abc"])
def test_what_is_signed_in_another_way_shows_no_way(other: str) -> None:
    assert scope_of(other) is None


async def test_the_first_put_is_the_clients_and_shows_the_others_their_way(monkeypatch: pytest.MonkeyPatch) -> None:
    key, body = picture(2)
    async with warm(lambda _: [stored(body), KEEP]) as (store, server):
        forbid_the_client(store, monkeypatch)
        await store.put(key, body, "image/png")
    first, second = server.requests
    assert server.connections == 1
    assert second.startswith(f"PUT /pictures/{key} ")
    assert header(second, "x-amz-content-sha256") == hashlib.sha256(body).hexdigest()
    for name in ("content-type", "cache-control", "host", "user-agent"):
        assert header(second, name) == header(first, name) != ""
    assert not header(second, "expect")
    assert not header(second, "transfer-encoding")


async def test_credentials_of_a_role_are_asked_for_at_each_put(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """They are over in a minute and hence fetched anew each time, here by a command, as from a machine's role."""
    (tmp_path / "count").write_text("0")
    (tmp_path / "hand_out.py").write_text(
        "import json, pathlib\n"
        f"count = pathlib.Path({str(tmp_path / 'count')!r})\n"
        "number = int(count.read_text()) + 1\n"
        "count.write_text(str(number))\n"
        f"over = {(datetime.now(UTC) + timedelta(minutes=1)).isoformat()!r}\n"
        "print(json.dumps({'Version': 1, 'AccessKeyId': f'key-{number}', 'SecretAccessKey': 'secret',\n"
        "    'SessionToken': f'token-{number}', 'Expiration': over}))\n"
    )
    (tmp_path / "config").write_text(
        f"[default]\ncredential_process = {json.dumps(sys.executable)} {tmp_path / 'hand_out.py'}\n"
    )
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    bodies = [picture(seed) for seed in (3, 4)]
    answers = iter([stored(body) for _, body in bodies])
    none = {"s3_access_key_id": None, "s3_secret_access_key": None, "s3_endpoint_url": None}
    async with warm(lambda _: [next(answers), KEEP], **none) as (store, server):
        forbid_the_client(store, monkeypatch)
        for key, body in bodies:
            await store.put(key, body, "image/png")
    signers = [signer(head) for head in server.requests]
    assert len(set(signers)) == 3
    assert [header(head, "x-amz-security-token") for head in server.requests] == [
        who.replace("key", "token") for who in signers
    ]


@pytest.mark.parametrize(
    ("trouble", "requests"),
    [
        ([answer(SLOW_DOWN, status=503), KEEP], 1),
        ([answer(SLOW_DOWN, status=503, Retry_After="0"), KEEP], 1),
        ([answer(status=429), KEEP], 1),
        ([answer(status=500), KEEP], 1),
        ([b""], 2),  # aiohttp sends once more by itself what a connection broke off at
        ([b"HTTP/1.1 200 OK\r\nContent-"], 2),
    ],
    ids=["slow down", "slow down, with a wait", "too many requests", "an error of its own", "reset", "cut answer"],
)
async def test_a_store_in_trouble_is_asked_three_times_in_all(
    monkeypatch: pytest.MonkeyPatch, trouble: Script, requests: int
) -> None:
    key, body = picture(5)
    left: list[Script] = []
    async with warm(lambda _: left.pop()) as (store, server):
        forbid_the_client(store, monkeypatch)
        left[:] = [[stored(body), KEEP], *[trouble] * 2 * requests]
        await store.put(key, body, "image/png")
        assert len(server.requests) == 1 + 2 * requests + 1
        left[:] = [[stored(body), KEEP], *[trouble] * 3 * requests]
        with pytest.raises(StoreUnavailable, match="cannot write to bucket pictures"):
            await store.put(key, body, "image/png")
        assert len(left) == 1


@pytest.mark.parametrize(
    ("refusal", "advice"),
    [
        (answer(SKEWED, status=403), "this machine's clock is wrong"),
        (answer(b"<Error><Code>AccessDenied</Code></Error>", status=403), "access is denied"),
        (answer(b"<Error><Code>NoSuchBucket</Code></Error>", status=404), "set S3_BUCKET"),
        (answer(b"a page", status=418), "the object store answered 418"),
    ],
)
async def test_a_refusal_is_explained_and_not_asked_for_twice(
    monkeypatch: pytest.MonkeyPatch, refusal: bytes, advice: str
) -> None:
    key, body = picture(6)
    async with warm(lambda _: [refusal, KEEP]) as (store, server):
        forbid_the_client(store, monkeypatch)
        with pytest.raises(StoreUnavailable, match=advice):
            await store.put(key, body, "image/png")
        assert len(server.requests) == 2


@pytest.mark.parametrize(
    "refusal",
    [
        answer(b"<Error><Code>PermanentRedirect</Code></Error>", status=301, x_amz_bucket_region="eu-west-1"),
        answer(ELSEWHERE, status=400),
        answer(b"<Error><Code>TemporaryRedirect</Code></Error>", status=307),
    ],
    ids=["301", "400", "307"],
)
async def test_a_bucket_that_is_in_another_region_is_left_to_the_client_which_shows_the_way_anew(
    monkeypatch: pytest.MonkeyPatch, refusal: bytes
) -> None:
    bodies = [picture(seed) for seed in (7, 8)]
    answers = iter([refusal, stored(bodies[0][1]), stored(bodies[1][1])])
    async with warm(lambda _: [next(answers), KEEP]) as (store, server):
        await store.put(*bodies[0], "image/png")
        assert len(server.requests) == 3
        forbid_the_client(store, monkeypatch)
        await store.put(*bodies[1], "image/png")
        assert len(server.requests) == 4


async def test_an_etag_of_other_bytes_is_read_back_and_taken_away() -> None:
    key, body = picture(9)

    def script(head: str) -> Script:
        if head.startswith("DELETE"):
            return [answer(status=204), KEEP]
        return [answer(b"other bytes", ETag='"' + "0" * 32 + '"'), KEEP]

    async with warm(script) as (store, server):
        with pytest.raises(StoreUnavailable, match="other bytes"):
            await store.put(key, body, "image/png")
    assert [head.split()[0] for head in server.requests] == ["PUT", "PUT", "GET", "DELETE"]
