"""`promidata-sync audit`: who did what to what."""

from __future__ import annotations

import json

from rich.text import Text

from app.cli.surroundings import with_services
from app.cli.telling import Teller, in_one_line, tell_json
from app.persistence.audit import AuditFilter, list_entries
from app.sync.services import Services
from app.views.audit import AuditEntry, entry_out
from app.views.shapes import shown_json

STYLES = {"refused": "yellow", "failed": "bold red"}


def show_audit(wanted: AuditFilter, *, limit: int, as_json: bool) -> None:
    """Print the newest entries.

    Raises:
        DatabaseUnavailable: it is away; says which address was tried.
    """

    async def read(services: Services) -> list[AuditEntry]:
        async with services.database.read() as db:
            return [entry_out(row) for row in await list_entries(db, wanted, before=None, limit=limit)]

    entries = with_services(read)
    if as_json:
        tell_json([shown_json(entry) for entry in entries])
        return
    teller = Teller()
    for entry in entries:
        teller.say(_line(entry))
        teller.say(f"    {_rest(entry)}")
    if not entries:
        teller.say("nobody has done anything of that kind yet")


def _line(entry: AuditEntry) -> Text:
    who = entry.actor if entry.role is None else f"{entry.actor} ({entry.role})"
    said = Text(in_one_line(f"{entry.at:%Y-%m-%d %H:%M:%S}  {who} by {entry.via}: {entry.action} "))
    return said.append(entry.result, STYLES.get(entry.result, "green"))


def _rest(entry: AuditEntry) -> str:
    """What it was about, in full: an id that is cut is none."""
    detail = json.dumps(entry.detail, ensure_ascii=False) if entry.detail else ""
    return in_one_line(" ".join(part for part in (entry.target, detail, entry.address) if part))
