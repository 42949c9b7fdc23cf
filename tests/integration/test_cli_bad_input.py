"""What bad input gets: one line on the error stream that says what is wrong and what is possible, exit code 1 or 2."""

from __future__ import annotations

import asyncio
import os
import pty
import socket
import sys
import termios
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from app.cli.main import main
from tests.support.command_line import OURS, command, environment, start
from tests.support.databases import execute, fresh_database
from tests.support.stack import Servers

SECRET = "s3cretword"
GONE = {
    "DATABASE_URL": f"postgresql://u:{SECRET}@127.0.0.1:1/x",
    "REDIS_URL": f"redis://:{SECRET}@127.0.0.1:1/0",
    "PROMIDATA_BASE_URL": f"http://127.0.0.1:1/Profiles/Live/{SECRET}",
    "ALLOW_PRIVATE_ADDRESSES": "127.0.0.0/8",
}
BUCKET = {
    "S3_BUCKET": "pictures",
    "S3_ENDPOINT_URL": "http://127.0.0.1:1",
    "S3_ACCESS_KEY_ID": "id",
    "S3_SECRET_ACCESS_KEY": SECRET,
}
NO_RUN = "5b0c9c1e-0d7c-4f5e-9a53-0c7ad4f4d1c8"
OPEN_TO_OTHERS = {"API_KEYS": f"a:admin:{SECRET}-of-16-chars"}
Refused = Callable[..., str]


@pytest.fixture
def refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> Refused:
    """Runs a command in this process with these variables alone, and returns the one line that it ends with."""
    monkeypatch.chdir(tmp_path)
    for name in OURS & set(os.environ):
        monkeypatch.delenv(name)

    def run(line: str, code: int, **given: str) -> str:
        for name, value in given.items():
            monkeypatch.setenv(name, value)
        capfd.readouterr()
        assert main(line.split()) == code, capfd.readouterr()
        error = capfd.readouterr().err
        assert error.count("\n") == 1, error
        assert SECRET not in error
        assert "Traceback" not in error
        return error

    return run


@pytest.fixture(scope="module")
def parts(servers: Servers) -> Iterator[dict[str, str]]:
    """A real database with one supplier, and a real Redis, for the whole file."""
    with asyncio.Runner() as runner:
        database = fresh_database(servers.postgres.url)
        url = runner.run(database.__aenter__())
        add = "INSERT INTO suppliers (document_id, code, name) VALUES ('id-of-a23', 'A23', 'A23')"
        runner.run(execute(url, add))
        yield {"DATABASE_URL": url, "REDIS_URL": servers.valkey.url}
        runner.run(database.__aexit__(None, None, None))


@pytest.fixture
def taken() -> Iterator[str]:
    """A port that somebody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield str(listening.getsockname()[1])


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("nosuch", "No such command 'nosuch'"),
        ("states --nope", "No such option: --nope; `"),
        ("states more", "unexpected extra argument"),
        ("worker", "supplier, family, image, probe"),
        ("worker nope", "'nope' is not one of 'supplier', 'family', 'image', 'probe'"),
        ("jobs nope", "there is no queue nope: supplier, family, image, or in full supplier-sync"),
        ("jobs image --state lost", "'lost' is not one of 'waiting'"),
        ("jobs image --limit 501", "--limit"),
        ("runs --limit 0", "--limit"),
        ("runs --status lost", "'lost' is not one of 'queued', 'running'"),
        ("retry", "JOB_ID: name a failed job, or say --failed"),
        ("migrate --down-to x", "--down-to: only `base` is possible"),
        ("api --port 3", "--port"),
        ("up --port 70000", "--port"),
        ("suppliers set A23 --guard 20%", "'--guard': should be a number; "),
        ("suppliers set A23 --guard 2", "'--guard': should be at most 1; "),
        ("runs --limit x", "'--limit': should be a whole number; "),
        ("sync --skus A,B", "--skus: name families and their supplier"),
        ("media orphans --older-than x", "--older-than: x is no age: write 24h"),
        ("media orphans --older-than 9999999999d", "--older-than: 9999999999d is too old: at most 36500d"),
        ("feed serve --suppliers 0", "--suppliers"),
        ("feed serve --pictures-port 70000", "--pictures-port"),
        ("feed serve --origin nope", "--origin: should look like http://host:port"),
        ("feed serve --nope", "No such option: --nope; `promidata-sync feed serve --help` says"),
    ],
)
def test_wrong_usage_is_one_line_that_says_what_is_possible(refused: Refused, line: str, said: str) -> None:
    error = refused(line, 2)
    assert said in error
    assert "--help` says what is possible" in error
    assert "Value error" not in error
    assert "Input should" not in error


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("sync A99", "there is no supplier A99; `promidata-sync suppliers` lists them"),
        ("sync A99 --direct", "there is no supplier A99; `promidata-sync suppliers` lists them"),
        ("sync A99 --dry-run", "there is no supplier A99; `promidata-sync suppliers` lists them"),
        ("reparse A99", "there is no supplier A99; `promidata-sync suppliers` lists them"),
        ("runs --supplier A99", "there is no supplier A99; `promidata-sync suppliers` lists them"),
        ("jobs image --supplier A99", "there is no supplier A99; `promidata-sync suppliers` lists them"),
        ("explain A23-1 --supplier A99", "there is no supplier A99; `promidata-sync suppliers` lists them"),
        ("explain A23-1", "there is no product A23-1"),
        ("runs x", "there is no run x; `promidata-sync runs` lists them"),
        (f"runs {NO_RUN}", f"there is no run {NO_RUN}; `promidata-sync runs` lists them"),
        (f"jobs image --run {NO_RUN}", f"there is no run {NO_RUN}; `promidata-sync runs` lists them"),
        ("jobs image --run x", "there is no run x; `promidata-sync runs` lists them"),
        (f"cancel {NO_RUN}", f"there is no run {NO_RUN}"),
        (f"runs urn:uuid:{NO_RUN}", f"there is no run urn:uuid:{NO_RUN}; `promidata-sync runs` lists them"),
        (f"jobs image --run urn:uuid:{NO_RUN}", f"there is no run urn:uuid:{NO_RUN}"),
        (f"confirm urn:uuid:{NO_RUN}", f"there is no run urn:uuid:{NO_RUN}"),
        (f"cancel urn:uuid:{NO_RUN}", f"there is no run {NO_RUN}"),
        ("cancel x", "there is no job x; `promidata-sync jobs QUEUE` lists them"),
        ("retry x", "there is no job x; `promidata-sync jobs QUEUE` lists them"),
        ("delete x", "there is no job x; `promidata-sync jobs QUEUE` lists them"),
    ],
)
def test_what_nobody_has_heard_of_is_said_with_what_lists_it(
    refused: Refused, parts: dict[str, str], line: str, said: str
) -> None:
    assert said in refused(line, 1, **GONE | parts)


@pytest.mark.parametrize("line", ["runs", "stats", "explain X", "migrate", "suppliers"])
def test_a_database_that_is_not_there_is_named(refused: Refused, line: str) -> None:
    error = refused(line, 1, **GONE)
    assert "PostgreSQL at 127.0.0.1:1/x cannot be used" in error
    assert "is DATABASE_URL right?" in error


@pytest.mark.parametrize(
    ("url", "said"),
    [
        (SECRET, "should begin with postgresql://"),
        (f"mysql://u:{SECRET}@h/x", "should begin with postgresql://"),
        (f"postgresql://u:{SECRET}@h:99999/x", "a port is no number from 1 to 65535"),
        (f"postgresql://u:{SECRET}@[::1/x", "an IPv6 address stands in brackets"),
        (f"postgresql://u:{SECRET}@h/x?nope=1", "the parameter nope is not known; possible are"),
    ],
)
@pytest.mark.parametrize("line", ["runs", "api", "worker image"])
def test_an_address_of_a_database_that_makes_no_sense(refused: Refused, line: str, url: str, said: str) -> None:
    error = refused(line, 1, **GONE | {"DATABASE_URL": url, "PORT": "0"})
    assert said in error
    assert "DATABASE_URL" in error


@pytest.mark.parametrize(
    ("url", "said"),
    [
        (SECRET, "should begin with redis:// or rediss://"),
        (f"redis://:{SECRET}@h:99999/0", "should look like redis://user:password@host:6379/0"),
        (f"redis://:{SECRET}@h/zero", "should look like redis://user:password@host:6379/0"),
        (f"redis://:{SECRET}@[::1", "should look like redis://user:password@host:6379/0"),
        (f"rediss://:{SECRET}@h/0?nope=1", "a parameter behind the ? is not known"),
        (f"redis://:{SECRET}@h/0?socket_timeout=x", "a parameter behind the ? is not known, or its value"),
        (f"rediss://:{SECRET}@h/0?ssl_cert_reqs=x", "a parameter behind the ? is not known, or its value"),
        (f"rediss://:{SECRET}@h/0?ssl_min_version=x", "a parameter behind the ? is not known, or its value"),
        (f"rediss://:{SECRET}@h/0?ssl_ciphers=x", "a parameter behind the ? is not known, or its value"),
        (f"rediss://:{SECRET}@h/0?ssl_ca_certs=/nope", "what ssl_ca_certs names cannot be used (No such file"),
        (f"rediss://:{SECRET}@h/0?ssl_ca_certs=/etc/hostname", "what ssl_ca_certs names cannot be used ("),
    ],
)
@pytest.mark.parametrize("line", ["sync A23", "api", "worker image"])
def test_an_address_of_redis_that_makes_no_sense(
    refused: Refused, parts: dict[str, str], line: str, url: str, said: str
) -> None:
    error = refused(line, 1, **GONE | parts | {"REDIS_URL": url, "PORT": "0"})
    assert said in error
    assert "REDIS_URL" in error


@pytest.mark.parametrize("line", ["migrate", "worker family"])
def test_a_search_path_that_leads_nowhere_is_named(refused: Refused, parts: dict[str, str], line: str) -> None:
    nowhere = parts["DATABASE_URL"] + "?options=-csearch_path%3Dnone"
    error = refused(line, 1, **GONE | parts | {"DATABASE_URL": nowhere})
    assert "none of the schemas in its search_path is there for this user" in error
    assert (
        "create one (CREATE SCHEMA ... AUTHORIZATION ...), or correct search_path, as in options of DATABASE_URL"
        in error
    )


def test_a_redis_that_is_not_there_or_lets_nobody_in_is_named(refused: Refused, parts: dict[str, str]) -> None:
    assert "127.0.0.1:1/0" in refused("sync A23", 1, **GONE | {"DATABASE_URL": parts["DATABASE_URL"]})
    server = parts["REDIS_URL"].rpartition("@")[2]
    error = refused("sync A23", 1, REDIS_URL=f"redis://:{SECRET}@{server}")
    assert "invalid username-password pair" in error
    assert "REDIS_URL" in error


@pytest.mark.parametrize(
    "url",
    [
        SECRET,
        f"ftp://feed.example/{SECRET}",
        f"http://h:99999/{SECRET}",
        f"http://[::1/{SECRET}",
        f"http://u:{SECRET}@h/x",
        f"http://h h/{SECRET}",
        f"http://h/x?{SECRET}",
    ],
)
def test_an_address_of_the_feed_that_makes_no_sense(refused: Refused, url: str) -> None:
    error = refused("feed check", 1, PROMIDATA_BASE_URL=url)
    assert "PROMIDATA_BASE_URL: should look like https://promi-dl.de/Profiles/Live/{profile-guid}" in error


@pytest.mark.parametrize("line", ["feed check", "suppliers --discover", "sync A23 --dry-run"])
def test_a_feed_that_is_not_there_is_named(refused: Refused, parts: dict[str, str], line: str) -> None:
    error = refused(line, 1, **GONE | parts)
    assert "no connection could be made; is PROMIDATA_BASE_URL right?" in error


@pytest.mark.parametrize("line", ["sync A23 --direct", "worker image", "up"])
@pytest.mark.parametrize("folder", ["/proc/nope", "file", "file/below"])
def test_a_data_folder_that_cannot_be_written_is_named(
    refused: Refused, parts: dict[str, str], tmp_path: Path, line: str, folder: str
) -> None:
    (tmp_path / "file").write_text("in the way")
    error = refused(line, 1, **GONE | parts | {"DATA_DIR": folder, "PORT": "0"})
    assert folder in error
    assert "DATA_DIR" in error
    assert "a folder that is yours" in error


@pytest.mark.parametrize("line", ["api", "worker image"])
def test_a_variable_of_the_stores_sdk_that_makes_no_sense_is_told_in_one_line(
    refused: Refused, parts: dict[str, str], line: str
) -> None:
    error = refused(line, 1, **GONE | parts | BUCKET, AWS_DEFAULTS_MODE="x", PORT="0")
    assert "invalid defaults mode: x" in error
    assert "correct this among the AWS_ variables, or unset it" in error


def test_a_port_that_is_taken_is_named_and_what_to_set(refused: Refused, taken: str) -> None:
    end = f"cannot listen on 127.0.0.1:{taken} (Address already in use): "
    assert f"{end}set HOST or PORT to another\n" in refused("api", 1, **GONE | {"PORT": taken})
    assert f"{end}choose another with --port N, or --port 0 for any\n" in refused(f"up --port {taken}", 1)
    assert "cannot listen on 127.0.0.1 (Address already in use): choose" in refused(f"feed serve --port {taken}", 1)


@pytest.mark.parametrize(
    ("host", "said"),
    [
        ("192.0.2.1", "192.0.2.1:8123 (Cannot assign requested address): set HOST or PORT to another"),
        ("nohost.invalid", "nohost.invalid:8123 ("),
        ("ä" * 70, f"{'ä' * 70}:8123 (no name of a host): set HOST or PORT to another"),
        ("2001:db8::1", "[2001:db8::1]:8123 ("),
    ],
    ids=["not ours", "unknown", "too long", "IPv6"],
)
def test_an_address_that_is_not_ours_is_said_once(refused: Refused, host: str, said: str) -> None:
    error = refused("api", 1, **GONE | OPEN_TO_OTHERS | {"HOST": host, "PORT": "8123"})
    assert f"cannot listen on {said}" in error
    assert error.count(host) == 1


def test_an_open_door_is_refused_with_what_to_set(refused: Refused) -> None:
    error = refused("api", 1, **GONE | {"HOST": "0.0.0.0"})
    assert "HOST is 0.0.0.0, which others can reach, and API_KEYS is empty" in error
    assert "set API_KEYS=name:role:secret, or HOST=127.0.0.1" in error


def test_what_nobody_foresaw_is_one_line_with_its_type(refused: Refused, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> str:
        raise LookupError("the first\nand the second line")

    monkeypatch.setattr("app.states.draw", fail)
    error = refused("states", 1)
    assert error == ("error: unexpected LookupError: the first and the second line; LOG_LEVEL=DEBUG shows where\n")


def test_its_traceback_is_shown_at_debug(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOG_LEVEL", "DEBUG")
    monkeypatch.setattr("app.states.draw", None)
    assert main(["states"]) == 1
    assert "Traceback (most recent call last)" in capsys.readouterr().err


async def test_a_process_ends_as_the_command_does(tmp_path: Path) -> None:
    wrong, away = await asyncio.gather(
        command(tmp_path, environment(), "worker", "nope"), command(tmp_path, environment(**GONE), "runs")
    )
    assert (wrong.code, wrong.err.count("\n"), wrong.out) == (2, 1, "")
    assert (away.code, away.err.count("\n"), away.out) == (1, 1, "")


@pytest.mark.parametrize("arguments", ["states", "--help"])
async def test_a_reader_that_goes_away_is_no_error(tmp_path: Path, arguments: str) -> None:
    assert await _in_shell(tmp_path, f'"$0" -m app.cli.main {arguments} | true') == ""


async def test_output_that_is_closed_or_full(tmp_path: Path) -> None:
    closed, full, silent = await asyncio.gather(
        _in_shell(tmp_path, '"$0" -m app.cli.main states >&-; echo $? >&2'),
        _in_shell(tmp_path, '"$0" -m app.cli.main states >/dev/full; echo $? >&2'),
        _in_shell(tmp_path, '"$0" -m app.cli.main nosuch 2>&-; echo $? >&2'),
    )
    assert closed == "0\n"
    message, code = full.splitlines()
    assert "No space left on device" in message
    assert (code, silent) == ("1", "2\n")


async def _in_shell(folder: Path, line: str) -> str:
    """What a line of the shell, in which `$0` is Python, leaves on the error stream."""
    process = await asyncio.create_subprocess_exec(
        "/bin/sh", "-c", line, sys.executable, cwd=folder, env=environment(), stderr=asyncio.subprocess.PIPE
    )
    _, errors = await process.communicate()
    return errors.decode()


async def test_on_a_terminal_of_80_columns_it_is_one_line_too(tmp_path: Path) -> None:
    """The terminal wraps it: what is copied from there has no line end in its middle."""
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 80))
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "app.cli.main", "runs", cwd=tmp_path, env=environment(TERM="xterm"), stderr=theirs
    )
    assert await process.wait() == 1
    os.close(theirs)
    shown = os.read(ours, 10_000).decode()
    os.close(ours)
    assert shown.count("\n") == 1
    assert "DATABASE_URL is not set: set it to a PostgreSQL database, or start everything with `promidata" in shown


async def test_a_command_group_alone_shows_its_help(tmp_path: Path) -> None:
    process = await start(tmp_path, environment(), "feed")
    out, errors = await process.communicate()
    assert process.returncode == 2
    assert b"serve" in out + errors
