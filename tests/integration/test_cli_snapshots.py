"""Every list and command in a pipe, without colour, at 80 columns: compared with what people have looked at.

One stack, each command within this process; ids, times and ports become the same everywhere, and keep their length.
SNAPSHOTS=write takes what is printed now as what is to be printed (tests/snapshots); look at it before it is committed.
"""

from __future__ import annotations

import os
import re
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
from redis import Redis
from sqlalchemy import text

from app.coordination.heartbeats import WorkerBeat, write_beat
from app.sync.operating.webhooks import create_webhook
from app.views.bodies import NewWebhook
from tests.support.command_line import environment_of
from tests.support.commands_here import PROGRAM, command_of, commands_of, set_up, typed_here
from tests.support.receiver import Receiver, free_port, listening
from tests.support.sample_requests import SKU
from tests.support.stack import Servers, Stack, open_stack

FOLDER = Path(__file__).parents[1] / "snapshots"
COLUMNS = 80
PROGRAMS = {"api", "feed serve", "up", "worker"}
"""They serve until they are stopped."""
LONG = {"states"}
"""A drawing for another program."""
NO_RUN = "5b0c9c1e-0d7c-4f5e-9a53-0c7ad4f4d1c8"
TYPED = (
    "workers", "doctor", "suppliers", "suppliers --discover",
    "suppliers add C1 --name Three", "suppliers set C1 --name Trois --guard 0.25", "suppliers set C1",
    "suppliers schedule C1", "suppliers reset C1",
    "suppliers schedule C1 often", "suppliers deactivate C1", "suppliers activate C1", "suppliers add C1",
    "suppliers schedule C1 --none", "webhooks", "webhooks add {receiver} --event run.finished --inactive",
    "webhooks deactivate {webhook}", "webhooks activate {webhook}", "webhooks deliveries {webhook}",
    "webhooks retry {webhook} {delivery}", "webhooks ping {webhook}", "webhooks delete {webhook}", "webhooks delete x",
    "runs", "runs {held}", "runs {broken}", "runs --supplier C1", "stats", "jobs supplier", "jobs image --state failed",
    "jobs family", "retry {failed}", "retry --failed", "cancel {failed}", "delete {failed}", "cancel {run}",
    "confirm {held}", "pause image", "resume image", "sync A360 --dry-run", "sync A23 --dry-run", "sync A360",
    "sync A360 --sku A,1", "sync A360 --direct", "sync A999", "reparse A23", "feed check", "products --limit 4",
    "product {sku}", "variants --limit 4", "categories", "history {sku} --limit 1",
    "changes --limit 1", "explain {sku}",
    "audit --limit 8", "media verify --repair", "media orphans --delete", "migrate",
)  # fmt: skip
ALIKE = (
    (re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"), NO_RUN),
    (re.compile(r"\b[0-9a-f]{40,64}\b"), lambda found: ("0123456789abcdef" * 4)[: len(found[0])]),
    (re.compile(r"(?<=whsec_)\S+"), lambda found: "s" * len(found[0])),
    (re.compile(r"(Mon|Tue|Wed|Thu|Fri|Sat|Sun) (?=\d{4}-)"), "Mon "),
    (re.compile(r"\d{4}-\d\d-\d\d"), "2026-01-05"),
    (re.compile(r"(?<!\d)\d\d:\d\d:\d\d(\.\d+)?"), "03:02:01"),
    (re.compile(r"(?<=supplier-sync-)\d{13}"), "1730000000000"),
    (re.compile(r"(?<=127\.0\.0\.1:)\d{4,5}"), "50000"),
    (re.compile(r"\b\d+\.\d s\b"), "0.1 s"),
    (re.compile(r"(?<= )\d+\.\d(?= *$)", re.MULTILINE), "0.1"),
    (re.compile(r"(?<=/var/lib/promidata/media,)\s+"), " "),
    (re.compile(r"^\d+(?=  2026-01-05)", re.MULTILINE), "49"),
    (re.compile(r"(?<=PostgreSQL )[.\d]+"), "18.4"),
    (re.compile(r"(?<=the store has all of )\d+"), "30"),
    (re.compile(r"(?<=valkey )[.\d]+"), "9.1.2"),
    (re.compile(r"(?<=revision )\d{4}"), "0010"),
)  # fmt: skip
FAILED = """
INSERT INTO jobs (id, queue, run_id, supplier_id, key, args, state, attempts, error, created_at, started_at,
    finished_at)
SELECT 'image-upload-' || r.id || '-1', 'image-upload', r.id, r.supplier_id, 'x', '{"address_id": 1}', 'failed', 3,
    'http://origin.example/picture.jpg answered 503', r.created_at, r.created_at, r.created_at
FROM runs r WHERE r.id = :run RETURNING id
"""
ANSI = re.compile("\x1b")
BEAT = WorkerBeat(
    id="9f2c6c0b", queue_name="image-upload", hostname="sync-1", pid=4711, started_at="2026-01-05T03:00:00Z",
    last_heartbeat_at="2026-01-05T03:10:02Z", concurrency=10, active=4,
)  # fmt: skip


@dataclass(frozen=True)
class Shown:
    stack: Stack
    places: Mapping[str, str]


@pytest.fixture(scope="module")
async def shown(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Shown]:
    """Everything that there is to show: a run with a problem, one whose guard tripped, a failed job, a webhook."""
    async with (
        open_stack(servers, tmp_path_factory.mktemp("stack")) as stack,
        listening(Receiver(free_port())) as shop,
    ):
        webhook = await create_webhook(stack.services, NewWebhook(url=shop.url))
        stack.server.faults.add("*/A23/A23-100003.json", "broken_json", times=1)
        (broken,) = await stack.sync("A23")
        await stack.sync("A360")
        stack.feed.rename(SKU)
        await stack.sync("A23", skus=(SKU,))
        stack.feed.hide_supplier("A360")
        (held,) = await stack.sync("A360")
        places = {
            "webhook": webhook.id, "receiver": shop.url, "held": held.run_id, "broken": broken.run_id, "sku": SKU,
            "run": broken.run_id, "delivery": str(await stack.value("SELECT id FROM deliveries LIMIT 1")),
            "failed": await fail_a_job(stack),
        }  # fmt: skip
        yield Shown(stack, places)


async def fail_a_job(stack: Stack) -> str:
    """A picture's job of a queued run that has spent its attempts."""
    async with stack.services.database.begin() as db:
        failed = await db.scalar(text(FAILED), {"run": (await stack.run("A23"))["id"]})
    return str(failed)


def alike(said: str, stack: Stack) -> str:
    said = said.replace(str(stack.settings.data_dir), "/var/lib/promidata")
    for pattern, instead in ALIKE:
        said = pattern.sub(instead, said)
    return "".join(f"{line.rstrip()}\n" for line in said.splitlines())


def is_wide(line: str) -> bool:
    """An address that fills a line by itself stays whole: cut, it leads nowhere."""
    return len(line) > COLUMNS and " " in line.strip()


def name_of(typed: str) -> str:
    return re.sub(r"[^a-z0-9.]+", "-", typed.replace("{", "the ").lower()).strip("-")


async def test_every_command_is_shown_as_people_have_looked_at_it_within_80_columns(
    shown: Shown, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    set_up(monkeypatch, environment_of(shown.stack), tmp_path)
    monkeypatch.setattr("app.cli.acting.user_name", lambda: "operator")
    monkeypatch.setattr("app.cli.acting.socket.gethostname", lambda: "sync-1")
    assert shown.stack.settings.redis_url is not None
    with Redis.from_url(shown.stack.settings.redis_url.get_secret_value()) as redis:
        write_beat(redis, BEAT)
    wrong, files = [], set()
    for typed in TYPED:
        capsys.readouterr()
        code = await typed_here(*typed.format(**shown.places).split())
        printed = capsys.readouterr()
        said = alike(f"$ promidata-sync {typed}\n{printed.out}{printed.err}[{code}]\n", shown.stack)
        wrong += [f"{typed}: {line}" for line in alike(printed.out, shown.stack).splitlines() if is_wide(line)]
        wrong += [f"{typed}: colour" for _ in ANSI.findall(said)]
        file = FOLDER / f"{name_of(typed)}.txt"
        files.add(file)
        if os.environ.get("SNAPSHOTS") == "write":
            file.write_text(said)
        elif not file.exists() or file.read_text() != said:
            wrong.append(f"{file.name} is another one:\n{said}")
    assert not wrong, "\n".join(wrong)
    assert set(FOLDER.iterdir()) == files, "a file without its command"


def test_no_command_is_without_a_picture_of_it() -> None:
    assert {command_of(typed) for typed in TYPED} | PROGRAMS | LONG == commands_of()


def test_help_fits_too(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(COLUMNS))
    for name in sorted(commands_of() - {"feed serve"}):
        PROGRAM.main([*name.split(), "--help"], prog_name="promidata-sync", standalone_mode=False)
        assert [line for line in capsys.readouterr().out.splitlines() if len(line) > COLUMNS] == [], name


@pytest.mark.parametrize(
    ("typed", "offered"),
    [("suppliers ac", ["activate"]), ("pause ", ["supplier", "family", "image"]), ("sync --sk", ["--skus", "--sku"])],
)
async def test_a_shell_is_told_how_a_line_may_go_on(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, typed: str, offered: list[str]
) -> None:
    line = f"promidata-sync {typed}"
    monkeypatch.setattr("sys.argv", ["promidata-sync"])
    monkeypatch.setenv("_PROMIDATA_SYNC_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", line)
    monkeypatch.setenv("COMP_CWORD", str(line.count(" ")))
    assert await typed_here() == 0
    assert capsys.readouterr().out.split() == offered
