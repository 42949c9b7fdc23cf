"""Pictures on S3 or R2, through one long-lived client a process.

    put ─ up to 8 MB ─▶ PutObject + Content-MD5, straight (s3_put.py) ─┐
        └ larger ─▶ parts of 8 MB, each with its MD5, complete ────────┴▶ ETag as expected? ─ no ─▶ read back, compared

The server checks each MD5 and this side checks the ETag, so bytes that changed on the way are noticed by one of them.
Where the ETag is not an MD5 (server-side encryption with a key of one's own) the object is read back.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlsplit

import aioboto3
from aiobotocore.config import AioConfig
from aiobotocore.httpsession import AIOHTTPSession
from aiobotocore.session import AioSession
from botocore.exceptions import BotoCoreError, ClientError
from botocore.handlers import add_expect_header
from pydantic import SecretStr

from app.errors import SettingsError, StoreUnavailable
from app.images.s3_errors import explained, status_of
from app.images.s3_presign import Presigner, credentials_of
from app.images.s3_put import MAX_ATTEMPTS, StraightPut
from app.images.store import CACHE_CONTROL, StoredObject, require_bytes, require_media_key
from app.metrics.traffic import measured
from app.settings import Settings

if TYPE_CHECKING:
    from types_aiobotocore_s3 import S3Client
    from types_aiobotocore_s3.type_defs import CompletedPartTypeDef

PART_BYTES = 8 * 1024 * 1024
PUTS_A_SLOT = 2
"""A slot's picture and the one that gave its slot away for it (docs/decisions/0048)."""
SPARE_CONNECTIONS = 4
PROBE_KEY = "readiness-probe"
"""Named in a multipart upload that is always given up, so it never becomes an object."""
NO_PROFILES: dict[str, Any] = {
    "profile": (None, [], None, None),
    "config_file": (None, [], os.devnull, None),
    "credentials_file": (None, [], os.devnull, None),
}
"""Neither AWS_PROFILE nor the files that profiles stand in; the SDK's other variables, as AWS_CA_BUNDLE, hold."""


class S3Store:
    """An ObjectStore in one bucket; made by `open_s3_store`."""

    def __init__(
        self,
        client: S3Client,
        bucket: str,
        *,
        public_url: str | None,
        presigner: Presigner,
        straight: StraightPut | None = None,
    ) -> None:
        self._client = client
        self.host = urlsplit(client.meta.endpoint_url).netloc
        self._straight = straight
        self._bucket = bucket
        self._public_url = public_url.rstrip("/") if public_url else None
        self._presigner = presigner

    @measured("put")
    async def put(self, key: str, body: bytes, content_type: str) -> None:
        """See ObjectStore."""
        require_media_key(key)
        with explained("write to", self._bucket):
            write = self._put_whole if len(body) <= PART_BYTES else self._put_in_parts
            expected, etag = await write(key, body, content_type)
            if etag != expected:
                await self._compare(key)

    @measured("head")
    async def head(self, key: str) -> StoredObject | None:
        """See ObjectStore."""
        require_media_key(key)
        with explained("read from", self._bucket):
            try:
                found = await self._client.head_object(Bucket=self._bucket, Key=key)
            except self._client.exceptions.ClientError as error:
                if status_of(error) == 404:
                    return None
                raise await self._with_reason(key, error) from error
            return StoredObject(key, found["ContentLength"], found["LastModified"].timestamp())

    @measured("get")
    async def get(self, key: str) -> bytes:
        """See ObjectStore."""
        require_media_key(key)
        with explained("read from", self._bucket):
            found = await self._client.get_object(Bucket=self._bucket, Key=key)
            async with found["Body"] as stream:
                body = await stream.read()
        return await asyncio.to_thread(require_bytes, key, body)

    @measured("delete")
    async def delete(self, key: str) -> None:
        """See ObjectStore."""
        require_media_key(key)
        with explained("remove a picture from", self._bucket):
            await self._client.delete_object(Bucket=self._bucket, Key=key)

    async def list_objects(self, prefix: str = "", after: str = "") -> AsyncIterator[StoredObject]:
        """See ObjectStore."""
        with explained("list", self._bucket):
            pages = self._client.get_paginator("list_objects_v2").paginate(
                Bucket=self._bucket, Prefix=prefix, StartAfter=after
            )
            async for page in pages:
                for item in page.get("Contents", ()):
                    yield StoredObject(item["Key"], item["Size"], item["LastModified"].timestamp())

    def public_url(self, key: str) -> str:
        """See ObjectStore. Under S3_PUBLIC_URL, or presigned and good for an hour."""
        require_media_key(key)
        return f"{self._public_url}/{key}" if self._public_url else self._presigner.url(key)

    async def sweep(self) -> int:
        """See ObjectStore."""
        return 0

    @measured("check")
    async def check(self) -> None:
        """See ObjectStore. Needs the rights to list the bucket and to put objects."""
        with explained("reach", self._bucket):
            await self._presigner.refresh()
            await self._client.list_objects_v2(Bucket=self._bucket, MaxKeys=1)
            upload = await self._client.create_multipart_upload(Bucket=self._bucket, Key=PROBE_KEY)
            await self._give_up(PROBE_KEY, upload["UploadId"])

    async def _with_reason(self, key: str, refusal: ClientError) -> ClientError:
        """Why a HEAD is refused: its answer has no body to say so, that of a GET has one."""
        if not 400 <= status_of(refusal) < 500:
            return refusal
        try:
            found = await self._client.get_object(Bucket=self._bucket, Key=key, Range="bytes=0-0")
        except self._client.exceptions.ClientError as error:
            return error if status_of(error) == status_of(refusal) else refusal
        found["Body"].close()
        return refusal

    async def _put_whole(self, key: str, body: bytes, content_type: str) -> tuple[str, str]:
        digest = hashlib.md5(body, usedforsecurity=False)
        md5, etag = base64.b64encode(digest.digest()).decode(), None
        if self._straight is not None:
            headers = {"cache-control": CACHE_CONTROL, "content-md5": md5, "content-type": content_type}
            etag = await self._straight.put(key, body, headers)
        if etag is None:
            answer = await self._client.put_object(
                Bucket=self._bucket,
                Key=key,
                Body=body,
                ContentType=content_type,
                CacheControl=CACHE_CONTROL,
                ContentMD5=md5,
            )
            etag = answer.get("ETag")
        return digest.hexdigest(), _plain(etag)

    async def _put_in_parts(self, key: str, body: bytes, content_type: str) -> tuple[str, str]:
        upload = await self._client.create_multipart_upload(
            Bucket=self._bucket, Key=key, ContentType=content_type, CacheControl=CACHE_CONTROL
        )
        upload_id = upload["UploadId"]
        try:
            digests, parts = await self._send_parts(key, upload_id, body)
            answer = await self._client.complete_multipart_upload(
                Bucket=self._bucket, Key=key, UploadId=upload_id, MultipartUpload={"Parts": parts}
            )
        except BaseException:
            await asyncio.shield(self._give_up(key, upload_id))
            raise
        whole = hashlib.md5(b"".join(digests), usedforsecurity=False).hexdigest()
        return f"{whole}-{len(digests)}", _plain(answer.get("ETag"))

    async def _send_parts(
        self, key: str, upload_id: str, body: bytes
    ) -> tuple[Sequence[bytes], Sequence[CompletedPartTypeDef]]:
        digests: list[bytes] = []
        parts: list[CompletedPartTypeDef] = []
        for number, at in enumerate(range(0, len(body), PART_BYTES), start=1):
            part = body[at : at + PART_BYTES]
            digests.append(hashlib.md5(part, usedforsecurity=False).digest())
            answer = await self._client.upload_part(
                Bucket=self._bucket,
                Key=key,
                UploadId=upload_id,
                PartNumber=number,
                Body=part,
                ContentMD5=base64.b64encode(digests[-1]).decode(),
            )
            parts.append({"PartNumber": number, "ETag": answer["ETag"]})
        return digests, parts

    async def _give_up(self, key: str, upload_id: str) -> None:
        """Best effort: what is left of an upload costs space, never correctness, and the bucket's rules expire it."""
        with suppress(Exception):
            await self._client.abort_multipart_upload(Bucket=self._bucket, Key=key, UploadId=upload_id)

    async def _compare(self, key: str) -> None:
        """Read back what was written; take it away again when it is not what was sent."""
        try:
            await self.get(key)
        except StoreUnavailable:
            with suppress(Exception):
                await self._client.delete_object(Bucket=self._bucket, Key=key)
            raise


@asynccontextmanager
async def open_s3_store(settings: Settings) -> AsyncIterator[S3Store]:
    """The bucket of the settings. Without a key pair in them, the machine's own credentials are used.

    Raises:
        SettingsError: there is no bucket in them, or the SDK refuses what its own variables say.
    """
    if settings.s3_bucket is None:
        raise SettingsError("S3_BUCKET is not set: set it to the bucket's name")
    async with AsyncExitStack() as stack:
        try:
            store = await _open(settings, settings.s3_bucket, stack)
        except BotoCoreError as error:
            said = str(error).rstrip(".")
            raise SettingsError(f"S3_BUCKET: {said}: correct this among the AWS_ variables, or unset it") from error
        yield store


async def _open(settings: Settings, bucket: str, stack: AsyncExitStack) -> S3Store:
    session = _session(settings)
    presigner = Presigner(session, bucket, endpoint_url=settings.s3_endpoint_url, region=settings.s3_region)
    await presigner.refresh()
    connections: list[AIOHTTPSession] = []
    config = _config(settings, connections)
    client = await stack.enter_async_context(session.client("s3", endpoint_url=settings.s3_endpoint_url, config=config))
    # `Expect: 100-continue` costs a round trip a picture, and a store that never says "continue" would be waited
    # for without any time-out.
    client.meta.events.unregister("before-call.s3", add_expect_header)
    straight = await _straight(session, client, connections)
    return S3Store(client, bucket, public_url=settings.s3_public_url, presigner=presigner, straight=straight)


def _session(settings: Settings) -> aioboto3.Session:
    """Who asks. A key pair of ours is all that it takes: the profiles of whoever starts the service do not matter."""
    key, secret = _secret(settings.s3_access_key_id), _secret(settings.s3_secret_access_key)
    return aioboto3.Session(
        aws_access_key_id=key,
        aws_secret_access_key=secret,
        region_name=settings.s3_region,
        botocore_session=AioSession(NO_PROFILES) if key and secret else None,
    )


async def _straight(
    session: aioboto3.Session, client: S3Client, connections: Sequence[AIOHTTPSession]
) -> StraightPut | None:
    """Puts through the client's own connections; None where there is nobody to sign."""
    credentials = await credentials_of(session)
    if credentials is None or not connections:
        return None
    straight = StraightPut(connections[0], credentials, client.meta.service_model.operation_model("PutObject"))
    client.meta.events.register("before-send.s3.PutObject", straight.watch)
    return straight


def _config(settings: Settings, connections: list[AIOHTTPSession]) -> AioConfig:
    """The client's. What it sends its requests through is put into `connections`."""

    def connect(*arguments: Any, **options: Any) -> AIOHTTPSession:
        connections.append(AIOHTTPSession(*arguments, **options))
        return connections[-1]

    return AioConfig(
        http_session_cls=cast("type[AIOHTTPSession]", connect),
        connect_timeout=5,
        read_timeout=15,
        retries={"mode": "standard", "max_attempts": MAX_ATTEMPTS},
        max_pool_connections=settings.concurrency_images * PUTS_A_SLOT + SPARE_CONNECTIONS,
        s3={"addressing_style": "path" if settings.s3_endpoint_url else "auto"},
        # R2 refuses the checksums that newer SDKs add on their own.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
    )


def _secret(value: SecretStr | None) -> str | None:
    return value.get_secret_value() if value is not None else None


def _plain(etag: str | None) -> str:
    return (etag or "").strip('"').lower()
