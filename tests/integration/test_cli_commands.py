"""The commands against real servers: what they print, how they end, and that an error is one clear message."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest

from app.cli.main import main
from app.states import draw
from app.sync.operating.start import Started, StartRequest
from app.sync.running import direct
from tests.conftest import MakeStack
from tests.support.command_line import command, environment, environment_of, start
from tests.support.databases import fresh_database
from tests.support.forked import start_command
from tests.support.stack import Servers, Stack
from tests.support.waiting import eventually

INTERRUPTED_AT = """
import atexit, os, signal, sys, weakref

class Gone:
    pass

def interrupt():
    gone = Gone()
    called_back = weakref.ref(gone, lambda _: os.kill(os.getpid(), signal.SIGINT))
    del gone

class Interrupting:
    def find_spec(self, name, path, target=None):
        if name == os.environ["AT"]:
            interrupt()

sys.meta_path.insert(0, Interrupting())
if os.environ["AT"] == "the end":
    atexit.register(interrupt)
from app.cli.start import main

sys.exit(main())
"""
"""The command, with Ctrl-C while it imports what AT names, and where an exception would be lost."""
NOWHERE = "postgresql://user:secret@127.0.0.1:9/promidata"


async def test_a_command_without_a_database_says_what_to_set(tmp_path: Path) -> None:
    ended = await command(tmp_path, environment(), "runs")
    assert ended.code == 1
    assert "DATABASE_URL is not set" in ended.err
    assert "promidata-sync up` on this DATA_DIR" in ended.err
    assert "Traceback" not in ended.err


async def test_an_unreachable_database_is_named_without_its_password(tmp_path: Path) -> None:
    ended = await command(tmp_path, environment(DATABASE_URL=NOWHERE), "stats")
    assert ended.code == 1
    assert "127.0.0.1:9/promidata" in ended.err
    assert "DATABASE_URL" in ended.err
    assert "secret" not in ended.err
    assert len(ended.err.strip().splitlines()) == 1


async def test_a_traceback_is_shown_at_debug(tmp_path: Path) -> None:
    ended = await command(tmp_path, environment(DATABASE_URL=NOWHERE, LOG_LEVEL="DEBUG"), "stats")
    assert ended.code == 1
    assert "Traceback" in ended.err


async def test_settings_that_make_no_sense_are_named_together(tmp_path: Path) -> None:
    ended = await command(tmp_path, environment(PORT="seventy", DATABASE_URL="mysql://x"), "runs")
    assert ended.code == 1
    assert "PORT" in ended.err
    assert "DATABASE_URL: should begin with postgresql://" in ended.err


@pytest.mark.parametrize(
    "arguments",
    [
        ("synk",),
        ("sync", "--skus", "A23-1"),
        ("sync", "A23", "--skus", " , "),
        ("worker", "everything"),
        ("migrate", "--down-to", "0001"),
        ("runs", "--limit", "0"),
    ],
)
def test_wrong_usage_is_exit_code_2(capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...]) -> None:
    assert main(arguments) == 2
    assert "Traceback" not in capsys.readouterr().err


async def test_a_value_that_makes_no_sense_is_wrong_usage_too(stack: Stack, tmp_path: Path) -> None:
    wanted = {
        "schedule": ("suppliers", "schedule", "A23", "99 * * * *"),
        "timeZone": ("suppliers", "schedule", "A23", "30 3 * * *", "--time-zone", "Mars/Base"),
        "code": ("suppliers", "add", "bad code/.."),
        "url": ("webhooks", "add", "nope"),
    }
    env = environment_of(stack)
    ended = await asyncio.gather(*[command(tmp_path, env, *arguments) for arguments in wanted.values()])
    assert [one.code for one in ended] == [2] * len(wanted), ended
    assert [one.err.split(": ")[1] for one in ended] == list(wanted)


def test_version_states_and_help_need_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    said = []
    for arguments in (["--version"], ["states"], ["sync", "--help"], ["feed", "serve", "--help"], []):
        assert main(arguments) == (0 if arguments else 2)
        said.append(capsys.readouterr().out)
    assert said[0].startswith("promidata-sync ")
    assert said[1] == draw() + "\n"
    assert "Exit codes" in said[2]
    assert "--latency-ms" in said[3]


def test_an_error_that_nobody_foresaw_is_one_message_too(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> str:
        raise RuntimeError("the disk is upside down")

    monkeypatch.setattr("app.states.draw", fail)
    assert main(["states"]) == 1
    said = capsys.readouterr().err
    assert "unexpected RuntimeError: the disk is upside down; LOG_LEVEL=DEBUG shows where" in said
    assert "Traceback" not in said


async def test_four_migrations_at_once_leave_one_schema_and_it_can_be_taken_down(
    servers: Servers, tmp_path: Path
) -> None:
    async with fresh_database(servers.postgres.url) as url:
        env = environment(DATABASE_URL=url)
        assert (await command(tmp_path, env, "migrate", "--down-to", "base")).out == "the schema is gone\n"
        ended = await asyncio.gather(*[command(tmp_path, env, "migrate") for _ in range(4)])
        assert [one.code for one in ended] == [0, 0, 0, 0], ended
        assert all("the schema is at revision" in one.out for one in ended)
        stats = await command(tmp_path, env, "stats", "--json")
    assert list(stats.json) == ["supplierSync", "productFamily", "imageUpload"]


async def test_a_direct_sync_is_listed_with_its_problems_and_its_status_is_the_exit_code(
    stack: Stack, tmp_path: Path
) -> None:
    env = environment_of(stack)
    stack.server.faults.add("*/A23/*.json", "broken_json", times=1)
    ended = await command(tmp_path, env, "sync", "A23", "--direct", "--json")
    assert ended.code == 3, ended
    (run,) = ended.json
    assert run["status"] == "completed_with_errors"
    listed, one, table = await asyncio.gather(
        command(tmp_path, env, "runs", "--json"),
        command(tmp_path, env, "runs", run["id"], "--json"),
        command(tmp_path, env, "runs", run["id"]),
    )
    assert [other["id"] for other in listed.json] == [run["id"]]
    (problem,) = [problem for problem in one.json["problems"] if problem["severity"] == "error"]
    assert problem["stage"] == "supplier"
    assert "/Profiles/Live/7c1f…/" in problem["url"]
    assert "document-unreadable" in table.out


async def test_skus_that_the_feed_does_not_have_are_told_and_are_the_exit_code(stack: Stack, tmp_path: Path) -> None:
    known = next(stack.feed.entries("A23")).file_name.removesuffix(".json")
    env = environment_of(stack)
    ended = await command(tmp_path, env, "sync", "A23", "--skus", f"{known},NOPE", "--direct")
    assert ended.code == 3, ended
    run = await stack.run("A23")
    assert (run["status"], run["families_completed"], run["families_failed"]) == ("completed_with_errors", 1, 1)
    told = await command(tmp_path, env, "runs", str(run["id"]))
    assert all(word in told.out for word in ("sku-not-in-feed", "NOPE"))


async def test_a_queued_sync_returns_at_once_and_a_second_one_finds_it(stack: Stack, tmp_path: Path) -> None:
    env = environment_of(stack)
    first = await command(tmp_path, env, "sync", "A23", "--json")
    second = await command(tmp_path, env, "sync", "A23", "--json")
    assert (first.code, second.code) == (0, 0)
    assert first.json[0]["status"] == "enqueued"
    assert second.json == [{**first.json[0], "status": "already-running"}]
    stats = await command(tmp_path, env, "stats")
    assert "supplier-sync" in stats.out


async def test_a_dry_run_says_what_a_sync_would_do_and_writes_nothing(stack: Stack, tmp_path: Path) -> None:
    env = environment_of(stack)
    table, json = await asyncio.gather(
        command(tmp_path, env, "sync", "--dry-run"), command(tmp_path, env, "sync", "A23", "--dry-run", "--json")
    )
    (look,) = json.json
    assert look["manifest"]["new"] == look["manifest"]["entries"] > 0
    assert "A23 new: A23-100000" in table.out
    assert await stack.value("SELECT count(*) FROM runs") == 0


@pytest.mark.parametrize(
    ("typed", "at"),
    [("states", "app.cli.main"), ("states", "typer"), ("stats", "app.cli.reads"), ("states", "the end")],
)
async def test_ctrl_c_ends_a_command_without_a_word_also_while_it_is_imported(
    tmp_path: Path, typed: str, at: str
) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", INTERRUPTED_AT, typed, cwd=tmp_path, env=environment(AT=at),
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    _, err = await process.communicate()
    assert (process.returncode, err.decode()) == (130, "")


async def test_leaving_a_watched_sync_leaves_it_running(stack: Stack, tmp_path: Path) -> None:
    env = environment_of(stack)
    process = await start(tmp_path, env, "sync", "A23", "--watch")
    assert process.stdout is not None
    line = await process.stdout.readline()
    assert b"0 running, 1 waiting to start" in line
    assert b"    no worker lives for supplier jobs: " in await process.stdout.readline()
    process.send_signal(signal.SIGINT)
    _, err = await process.communicate()
    assert process.returncode == 130
    assert "the sync goes on" in err.decode()
    assert (await stack.run("A23"))["status"] == "queued"


async def test_a_reader_that_goes_ends_watching_although_nothing_is_told_before_the_end(
    stack: Stack, tmp_path: Path
) -> None:
    reading, writing = os.pipe()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "app.cli.main", "sync", "A23", "--watch", "--json",
        cwd=tmp_path, env=environment_of(stack), stdout=writing, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    os.close(writing)
    await eventually(lambda: stack.value("SELECT count(*) FROM runs WHERE status = 'queued'"))
    os.close(reading)
    async with asyncio.timeout(20):
        assert (await process.communicate())[1] == b""
    assert process.returncode == 1
    assert (await stack.run("A23"))["status"] == "queued"


async def test_a_watched_sync_ends_when_its_workers_have_done_it(stack: Stack, tmp_path: Path) -> None:
    env = environment_of(stack)
    logs = [tmp_path / f"{kind}.log" for kind in ("supplier", "family", "image")]
    workers = [start_command(["worker", log.stem], env, tmp_path, log, log) for log in logs]
    watched = await command(tmp_path, env, "sync", "--watch")
    for worker in workers:
        worker.terminate()
    for worker in workers:
        await asyncio.to_thread(worker.join, 60)
    said = [log.read_text() for log in logs]
    assert watched.code == 0, (watched, said)
    assert "A360: completed" in watched.out
    assert [worker.exitcode for worker in workers] == [0, 0, 0], said


async def test_a_sync_of_an_unknown_supplier_says_so(stack: Stack, tmp_path: Path) -> None:
    ended = await command(tmp_path, environment_of(stack), "sync", "A99", "--direct")
    assert (ended.code, ended.err) == (1, "error: there is no supplier A99; `promidata-sync suppliers` lists them\n")


async def test_a_first_sync_discovers_the_suppliers(stack: Stack, servers: Servers, tmp_path: Path) -> None:
    async with fresh_database(servers.postgres.url) as url:
        ended = await command(tmp_path, environment_of(stack) | {"DATABASE_URL": url}, "sync", "A23", "--direct")
    assert ended.code == 0, ended
    assert "discovered 2 suppliers: A23, A360" in ended.out


async def test_an_unknown_run_is_an_error(stack: Stack, tmp_path: Path) -> None:
    env = environment_of(stack)
    missing, nonsense = await asyncio.gather(
        command(tmp_path, env, "runs", "5b0c9c1e-0d7c-4f5e-9a53-0c7ad4f4d1c8"), command(tmp_path, env, "runs", "x")
    )
    assert (missing.code, nonsense.code) == (1, 1)
    assert "there is no run 5b0c" in missing.err
    assert "there is no run x" in nonsense.err


async def test_feed_check_needs_no_database(stack: Stack, tmp_path: Path) -> None:
    env = {name: value for name, value in environment_of(stack).items() if name not in {"DATABASE_URL", "REDIS_URL"}}
    table, json, refused = await asyncio.gather(
        command(tmp_path, env, "feed", "check"),
        command(tmp_path, env, "feed", "check", "--json"),
        command(tmp_path, env | {"ALLOW_PRIVATE_ADDRESSES": ""}, "feed", "check"),
    )
    assert "A360" in table.out
    assert json.json["ok"] is True
    assert [supplier["code"] for supplier in json.json["suppliers"]] == ["A23", "A360"]
    assert json.json["entries"] == sum(1 for _ in stack.feed.entries())
    assert refused.code == 1
    assert "7c1f6a52" not in refused.err, "the feed's address is a credential"


async def test_doctor_finds_nothing_wrong_with_a_working_system(stack: Stack, tmp_path: Path) -> None:
    ended = await command(tmp_path, environment_of(stack), "doctor", "--json")
    assert ended.code == 0, ended
    found = {check["part"]: check["found"] for check in ended.json["checks"]}
    assert found["database"].startswith("PostgreSQL 18")
    assert found["redis"].startswith("valkey 9")
    assert found["workers"] == "none is running"


async def test_doctor_names_each_part_that_is_wrong_and_what_to_do(
    make_stack: MakeStack, servers: Servers, tmp_path: Path
) -> None:
    async with make_stack() as stack, fresh_database(servers.postgres.url) as url:
        bare = environment_of(stack) | {"DATABASE_URL": url}
        await command(tmp_path, bare, "migrate", "--down-to", "base")
        away = bare | {"REDIS_URL": "redis://127.0.0.1:9/0", "PROMIDATA_BASE_URL": f"{stack.settings.base_url}x"}
        (tmp_path / "file").write_text("in the way")
        ended = await command(tmp_path, away | {"DATA_DIR": str(tmp_path / "file")}, "doctor", "--json")
    wrong = {check["part"]: check for check in ended.json["checks"] if not check["ok"]}
    assert ended.code == 1
    assert set(wrong) == {"schema", "redis", "workers", "store", "feed"}
    assert wrong["schema"]["do"] == "run `promidata-sync migrate`"
    assert "127.0.0.1:9" in wrong["redis"]["found"]
    assert all(check["do"] for check in wrong.values())


async def test_doctor_without_a_database_says_how_to_get_one(tmp_path: Path) -> None:
    ended = await command(tmp_path, environment(), "doctor")
    assert ended.code == 1
    assert "DATABASE_URL is not set" in ended.out
    assert "PROMIDATA_BASE_URL is not set" in ended.out


async def test_a_direct_sync_holds_the_leases_of_runs_that_wait_for_their_turn(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise any worker's chores would end them as abandoned after 15 s."""
    monkeypatch.setattr(direct, "RENEW_EVERY_S", 0.05)
    stack.server.habits.latency_s = 0.2
    begun: asyncio.Future[list[Started]] = asyncio.get_running_loop().create_future()
    syncing = asyncio.create_task(direct.sync_direct(stack.services, StartRequest(), tell=begun.set_result))
    waiting = (await begun)[1]
    seen: list[object] = []
    while len(set(seen)) < 3:
        run = await stack.run(waiting.supplier)
        assert run["status"] == "queued"
        seen.append(run["lease_until"])
        await asyncio.sleep(0.02)
    stack.server.habits.latency_s = 0.0
    assert [result.errors for result in await syncing] == [0, 0]
