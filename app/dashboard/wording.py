"""How values are written on pages: numbers, times, durations, words for states, and which addresses become links."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import orjson

from app.jobs.definitions import IMAGE_UPLOAD, PRODUCT_FAMILY, SUPPLIER_SYNC
from app.views.progress import DAY_S, duration
from app.wording import noun

QUEUE_TITLES = {SUPPLIER_SYNC: "Suppliers", PRODUCT_FAMILY: "Families", IMAGE_UPLOAD: "Pictures"}
RUN_STATES = {
    "queued": "Queued",
    "running": "Running",
    "cancelling": "Cancelling",
    "completed": "Completed",
    "completed_with_errors": "Completed with errors",
    "failed": "Failed",
    "cancelled": "Cancelled",
}
TONES = {
    "running": "busy", "active": "busy", "queued": "wait", "waiting": "wait", "delayed": "wait", "pending": "wait",
    "cancelling": "wait", "completed": "good", "delivered": "good", "completed_with_errors": "warn", "failed": "bad",
    "discontinued": "wait", "cancelled": "wait",
}  # fmt: skip
"""The colour of a state; its word always stands beside it."""
LANGUAGES = ("en", "nl", "de", "fr")
HEX = re.compile(r"#?([0-9a-fA-F]{6})")
CUT = "…"
"""Where something was taken out of an address (app/logs.py) or a text."""
UNITS = ((DAY_S, "d"), (3600, "h"), (60, "min"))


def number(value: float) -> str:
    """A count with thin spaces between thousands: 12 345."""
    return f"{value:,.0f}".replace(",", " ")


def counted(value: int, one: str, several: str) -> str:
    """A count and what it counts.

    >>> counted(1, "job", "jobs"), counted(2000, "job", "jobs")
    ('1 job', '2 000 jobs')
    """
    return f"{number(value)} {noun(value, one, several)}"


def moment(at: datetime | None) -> str:
    """A time in UTC, such as 2026-01-05 03:02:35; a dash for none."""
    return "–" if at is None else at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S")


def minute(at: datetime) -> str:
    """A time in UTC to the minute, with its day: 05 Jan 03:02."""
    return at.astimezone(UTC).strftime("%d %b %H:%M")


def size(count: float) -> str:
    """Bytes in the unit that fits.

    >>> [size(count) for count in (0, 2_500, 734_003_200)]
    ['0 bytes', '2 kB', '734 MB']
    """
    for unit, below in ((10**9, "GB"), (10**6, "MB"), (10**3, "kB")):
        if count >= unit:
            return (
                f"{count / unit:.0f} {below}" if count >= 10 * unit or below == "kB" else f"{count / unit:.1f} {below}"
            )
    return f"{count:.0f} bytes"


def iso(at: datetime) -> str:
    """A time for machines."""
    return at.astimezone(UTC).isoformat(timespec="seconds")


def from_epoch_ms(value: int | None) -> datetime | None:
    """A job's time as the API gives it, as a time."""
    return None if value is None else datetime.fromtimestamp(value / 1000, UTC)


def ago(at: datetime | None) -> str:
    """How long ago, or how soon, in one unit."""
    if at is None:
        return "never"
    seconds = (datetime.now(UTC) - at).total_seconds()
    length = abs(seconds)
    size, unit = next(((size, unit) for size, unit in UNITS if length >= size), (1, "s"))
    text = f"{length / size:.0f} {unit}"
    return f"in {text}" if seconds < 0 else f"{text} ago"


def link_to(address: object) -> str | None:
    """The address where it may become a link: the feed's texts are not ours, and `javascript:` is an address, too.

    One that is masked leads nowhere.

    >>> link_to("https://promi-dl.de/a.json"), link_to(" javascript:alert(1)"), link_to(None)
    ('https://promi-dl.de/a.json', None, None)
    >>> link_to("https://promi-dl.de/Profiles/Live/0f3c…/A23/A23-1.json")
    """
    text = str(address or "")
    return text if text.startswith(("http://", "https://")) and CUT not in text else None


def segment(text: str) -> str:
    """A text as one segment of a path."""
    return quote(text, safe="")


def best(texts: Mapping[str, str]) -> str:
    """A text in the first language that it is there in."""
    return next((texts[language] for language in (*LANGUAGES, *texts) if texts.get(language)), "")


def hex_color(value: str | None) -> str | None:
    """A colour that is one, as `#rrggbb`."""
    found = HEX.fullmatch(value or "")
    return None if found is None else f"#{found[1]}"


def short(value: Any, most: int = 240) -> str:
    """A value on one line."""
    text = value if isinstance(value, str) else orjson.dumps(value, default=str).decode()
    return text if len(text) <= most else text[:most] + CUT


def tail(text: str, most: int) -> str:
    """The end of a text: addresses begin alike."""
    return text if len(text) <= most else CUT + text[-most:]


def stately(state: str) -> str:
    """A state's word."""
    return RUN_STATES.get(state, state.capitalize())


FILTERS: dict[str, Callable[..., Any]] = {
    "number": number, "moment": moment, "minute": minute, "size": size, "iso": iso,
    "epoch": from_epoch_ms, "duration": duration, "ago": ago,
    "link": link_to, "seg": segment, "best": best, "hex": hex_color, "short": short, "tail": tail, "stately": stately,
    "tone": lambda state: TONES.get(state, "wait"),
}  # fmt: skip
