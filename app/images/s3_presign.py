"""Presigned addresses, made without a request: an hour of reading one picture for whoever has the address."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import cast
from urllib.parse import quote

import aioboto3
from aiobotocore.credentials import AioCredentials
from botocore.auth import S3SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from app.images.store import PRESIGNED_S


class Presigner:
    """Signs addresses of one bucket. `refresh` first: credentials of a machine's role change every few hours."""

    def __init__(self, session: aioboto3.Session, bucket: str, *, endpoint_url: str | None, region: str) -> None:
        self._session = session
        self._region = region
        host = f"https://{bucket}.s3.{region}.amazonaws.com"
        self._base = f"{endpoint_url.rstrip('/')}/{quote(bucket)}" if endpoint_url else host
        self._credentials: Credentials | None = None

    async def refresh(self) -> None:
        """Take the session's present credentials, which may be none."""
        found = await credentials_of(self._session)
        if found is not None:
            frozen = await found.get_frozen_credentials()
            self._credentials = Credentials(frozen.access_key or "", frozen.secret_key or "", frozen.token)

    def url(self, key: str) -> str:
        """An address of `key` that is good for PRESIGNED_S; unsigned when there are no credentials."""
        request = AWSRequest(method="GET", url=f"{self._base}/{quote(key)}")
        if self._credentials is not None:
            S3SigV4QueryAuth(self._credentials, "s3", self._region, expires=PRESIGNED_S).add_auth(request)
        return str(request.url)


async def credentials_of(session: aioboto3.Session) -> AioCredentials | None:
    """Who signs: the settings' key pair, or what the machine has, which is refreshed when it is asked for."""
    return await cast("Awaitable[AioCredentials | None]", session.get_credentials())  # the stubs say no await
