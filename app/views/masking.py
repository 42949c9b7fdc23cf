"""Taking the feed's base address out of what is shown: it is a credential (API.md, "Around it").

Only its secret part goes, the profile's id; a document's address stays readable from the supplier on.
"""

from __future__ import annotations

import re
from functools import lru_cache
from urllib.parse import urlsplit

from app.logs import mask_address, shorten_secret
from app.settings import Settings

PROFILE = re.compile(r"(/Profiles/[^/\s]+/)([^/\s…]+)(?=[/\s]|$)")
"""A profile's id in any address: a feed that has moved names others than the one that is set."""
ID_MIN_CHARS = 12
USER_INFO = re.compile(r"(?<=://)[^/\s@]+@")


def mask_base(settings: Settings, text: str) -> str:
    """`text` without the parts of the feed's base address that are secret, and without user info in any address."""
    base = settings.promidata_base_url
    for secret, shown in _secrets("" if base is None else base.get_secret_value()):
        text = text.replace(secret, shown)
    return PROFILE.sub(_shorten_profile, USER_INFO.sub("", text))


def _shorten_profile(match: re.Match[str]) -> str:
    return match[1] + shorten_secret(match[2])


def mask_optional(settings: Settings, text: str | None) -> str | None:
    """The same for what may be absent."""
    return None if text is None else mask_base(settings, text)


@lru_cache(maxsize=8)
def _secrets(base_url: str) -> tuple[tuple[str, str], ...]:
    """The base's path, and by themselves those of its segments that cannot be taken for an innocent word."""
    path = urlsplit(base_url).path.rstrip("/")
    before, after = path.split("/"), urlsplit(mask_address(base_url)).path.rstrip("/").split("/")
    if path and before[-1] == after[-1]:
        after[-1] = shorten_secret(before[-1])
    alone = [(old, new) for old, new in zip(before, after, strict=True) if old != new and len(old) >= ID_MIN_CHARS]
    return ((path, "/".join(after)), *alone) if before != after else ()
