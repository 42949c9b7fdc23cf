"""`promidata-sync media`: does the object store have what is recorded, and what in it does nobody need.

`verify` changes nothing without --repair, `orphans` nothing without --delete. Both may run beside syncs.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from app.cli.exits import EPILOG, ExitCode
from app.wording import counted

if TYPE_CHECKING:
    from app.cli.telling import Teller
    from app.sync.operating.media import OrphanReport, VerifyReport, WrongObject

T = TypeVar("T")

media_app = typer.Typer(help="The pictures' store: check it, or clean it up.", no_args_is_help=True, epilog=EPILOG)
Json = Annotated[bool, typer.Option("--json", help="One JSON document, for scripts.")]
SHOWN_AT_MOST = 20
OLDEST_S = 36_500 * 86_400
"""A hundred years: what is beyond any interval of PostgreSQL's is a slip of the hand."""
_AGE = re.compile(r"(\d+)([smhd])")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


def read_age_s(text: str) -> float:
    """Seconds of an age like `24h`, `90m`, `7d`, `0s`.

    Raises:
        typer.BadParameter: it is none.
    """
    found = _AGE.fullmatch(text.strip().lower())
    if found is None:
        raise typer.BadParameter(f"{text} is no age: write 24h, 90m or 7d", param_hint="--older-than")
    age_s = int(found[1]) * _SECONDS[found[2]]
    if age_s > OLDEST_S:
        raise typer.BadParameter(f"{text} is too old: at most {OLDEST_S // 86_400}d", param_hint="--older-than")
    return float(age_s)


@media_app.command("verify", epilog=EPILOG)
def verify(
    *,
    repair: Annotated[
        bool, typer.Option("--repair", help="Fetch what is missing again and put it back, or forget it.")
    ] = False,
    json: Json = False,
) -> None:
    """Look whether each recorded picture is in the store with its size; exit code 1 when one is not."""
    from app.cli.acting import act_of
    from app.cli.surroundings import with_services
    from app.cli.telling import Teller, tell_json
    from app.sync.operating.media import verify_media

    with Teller(quiet=json).during("looking for each recorded picture"):
        act = act_of("repairMedia") if repair else None
        report = with_services(lambda services: verify_media(services, repair=repair), act)
    if json:
        tell_json({"ok": report.is_whole, "checked": report.checked, "wrong": report.wrong})
    else:
        _tell_verified(report, Teller())
    raise typer.Exit(ExitCode.OK if report.is_whole else ExitCode.FAILED)


@media_app.command("orphans", epilog=EPILOG)
def orphans(
    *,
    delete: Annotated[bool, typer.Option("--delete", help="Remove them; without it they are only listed.")] = False,
    older_than: Annotated[str, typer.Option(help="Leave what is younger: 24h, 90m, 7d.")] = "24h",
    json: Json = False,
) -> None:
    """List, or remove, addresses, recorded pictures and objects that nothing in the catalogue shows."""
    from app.cli.acting import act_of
    from app.cli.surroundings import with_services
    from app.cli.telling import Teller, tell_json
    from app.sync.operating.media import find_orphans

    older_than_s = read_age_s(older_than)
    with Teller(quiet=json).during("looking for what nothing shows"):
        act = act_of("deleteOrphans") if delete else None
        report = with_services(lambda services: find_orphans(services, older_than_s=older_than_s, delete=delete), act)
    if json:
        tell_json({"dryRun": not delete, **_as_json(report)})
    else:
        _tell_orphans(report, Teller(), deleted=delete, older_than=older_than)


def _tell_verified(report: VerifyReport, teller: Teller) -> None:
    for wrong in report.wrong[:SHOWN_AT_MOST]:
        teller.say(f"{wrong.key}: {wrong.found}\n    {_end_of(wrong)}", whole=True)
    _tell_more(report.wrong, teller)
    counts = report.count()
    forgotten = f", {counts['forgotten']} forgotten" if "forgotten" in counts else ""
    teller.say(
        f"{counted(report.checked, 'picture')} checked, {counted(len(report.wrong), 'was', 'were')} missing or wrong, "
        f"{counts['repaired']} put back{forgotten}"
    )


def _end_of(wrong: WrongObject) -> str:
    if wrong.repaired:
        return "put back"
    if wrong.forgotten:
        return "no address leads to it any more: forgotten"
    return wrong.reason or "`--repair` fetches it again, or forgets it where no address leads to it"


def _tell_orphans(report: OrphanReport, teller: Teller, *, deleted: bool, older_than: str) -> None:
    unneeded = sorted({*report.media, *report.objects})
    for key in unneeded[:SHOWN_AT_MOST]:
        teller.say(key)
    _tell_more(unneeded, teller)
    for key in report.foreign[:SHOWN_AT_MOST]:
        teller.say(f"{key}: none of ours, left alone", whole=True)
    needless = (
        f"{counted(report.addresses, 'address', 'addresses')}, {counted(len(report.media), 'picture')} and "
        f"{counted(len(report.objects), 'unknown object')}"
    )
    teller.say(f"{needless} that nothing shows, older than {older_than}")
    teller.say(f"{counted(report.deleted, 'object')} removed" if deleted else "--delete removes them")


def _tell_more(items: list[T], teller: Teller) -> None:
    if len(items) > SHOWN_AT_MOST:
        teller.say(f"... and {len(items) - SHOWN_AT_MOST} more; --json lists all")


def _as_json(report: OrphanReport) -> dict[str, object]:
    return {
        "addresses": report.addresses,
        "media": report.media,
        "objects": report.objects,
        "foreign": report.foreign,
        "deleted": report.deleted,
    }
