"""An address to a picture that may be stored.

url ─ outbound: limits, address check ─▶ bytes ─▶ facts and sha256 in one go ─▶ DownloadedPicture
    └ 304 to the validators that were passed ─▶ NotModified
"""

from __future__ import annotations

from dataclasses import dataclass

from app import traces
from app.images.inspect import PictureFacts, PictureInspector
from app.images.store import media_key
from app.outbound import FetchLimits, OutboundClient


@dataclass(frozen=True, slots=True)
class DownloadedPicture:
    """A whole picture, inspected, not stored yet."""

    body: bytes
    sha256: str
    facts: PictureFacts
    etag: str | None
    last_modified: str | None

    @property
    def key(self) -> str:
        """Where it belongs in the store."""
        return media_key(self.sha256, self.facts.extension)


@dataclass(frozen=True, slots=True)
class NotModified:
    """The origin says that what we have is what it has."""

    etag: str | None


async def download_picture(
    client: OutboundClient,
    inspector: PictureInspector,
    url: str,
    *,
    limits: FetchLimits,
    etag: str | None = None,
    last_modified: str | None = None,
    place_within_s: float | None = None,
) -> DownloadedPicture | NotModified:
    """Fetch and judge the picture; `etag` and `last_modified` are those of the copy in the store, if there is one.

    Raises:
        NoPlace: its host was not to be asked within `place_within_s` seconds.
        OriginUnavailable: transient; also a picture that ended early.
        OriginRefused, AddressRefused, BodyTooLarge: as `OutboundClient.get`.
        PictureRefused: whole, and not a picture that we store.
    """
    validators = {"If-None-Match": etag, "If-Modified-Since": last_modified}
    headers = {"Accept": "image/*", **{name: value for name, value in validators.items() if value}}
    with traces.span("download", kind="client", url=url) as span:
        fetched = await client.get(url, kind="picture", limits=limits, headers=headers, place_within_s=place_within_s)
        span.note(bytes=len(fetched.body), outcome="not modified" if fetched.not_modified else "fetched")
    if fetched.not_modified:
        return NotModified(fetched.etag or etag)
    with traces.span("inspect", bytes=len(fetched.body)):
        facts, sha256 = await inspector.inspect(fetched.body)
    return DownloadedPicture(fetched.body, sha256, facts, fetched.etag, fetched.last_modified)
