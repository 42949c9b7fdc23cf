"""What stands in DATABASE_URL, on a real server: it does what it says, and what is wrong is told in one line."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import quote, urlsplit

import pytest
from sqlalchemy import text

from app.errors import DatabaseUnavailable
from app.persistence.database import Database
from tests.support.command_line import command, environment
from tests.support.databases import execute, fresh_database
from tests.support.own_migrations import OwnMigrations
from tests.support.stack import Servers


@asynccontextmanager
async def opened(url: str, **options: bool) -> AsyncIterator[Database]:
    database = Database(url, **options)
    try:
        yield database
    finally:
        await database.close()


async def shown(url: str, name: str) -> str:
    async with opened(url) as database, database.begin() as db:
        return str(await db.scalar(text(f"SHOW {name}")))


@pytest.fixture
async def url(servers: Servers) -> AsyncIterator[str]:
    async with fresh_database(servers.postgres.url) as found:
        yield found


@pytest.fixture
def silent_port() -> Iterator[int]:
    """Takes connections and says nothing."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(16)
        yield listening.getsockname()[1]


@pytest.fixture
def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


SETS = [
    ("application_name=the%20shop", "application_name", "the shop"),
    ("", "application_name", "promidata-sync"),
    ("options=-csearch_path%3Dpg_catalog,public", "search_path", "pg_catalog,public"),
    ("options=-c%20work_mem%3D7MB%20-c%20jit%3Doff", "work_mem", "7MB"),
    ("options=--work-mem%3D7MB", "work_mem", "7MB"),
    ("options=-c%20statement_timeout%3D1%20-c%20lock_timeout%3D1", "statement_timeout", "30s"),
    ("connect_timeout=20&keepalives_idle=3&connection_limit=1&channel_binding=require", "statement_timeout", "30s"),
    ("target_session_attrs=read-write", "transaction_read_only", "off"),
]


@pytest.mark.parametrize(("query", "name", "value"), SETS)
async def test_a_parameter_does_what_it_says(url: str, query: str, name: str, value: str) -> None:
    assert await shown(f"{url}?{query}", name) == value


async def test_ours_holds_for_what_a_stalled_process_is_known_by(url: str) -> None:
    """`end_stalled` looks for sessions of the name that ours really have."""
    async with opened(f"{url}?application_name=shop") as database:
        assert await database.end_stalled() == 0
        async with database.begin() as db:
            assert await db.scalar(text("SELECT application_name FROM pg_stat_activity WHERE pid = pg_backend_pid()"))


async def test_prismas_word_sets_every_transaction_up_by_itself(url: str) -> None:
    async with opened(f"{url}?pgbouncer=true") as database, database.begin() as db:
        assert await db.scalar(text("SHOW statement_timeout")) == "30s"
        reset = "SELECT reset_val FROM pg_settings WHERE name = 'statement_timeout'"
        assert await db.scalar(text(reset)) == "0"


async def test_a_host_that_is_switched_off_leaves_the_next_one_its_time(
    url: str, silent_port: int, closed_port: int
) -> None:
    parts = urlsplit(url)
    hosts = f"127.0.0.1:{silent_port},127.0.0.1:{closed_port},127.0.0.1:{parts.port}"
    several = url.replace(f"127.0.0.1:{parts.port}", hosts) + "?connect_timeout=1"
    async with asyncio.timeout(60):  # the silent one would never answer
        assert await shown(several, "transaction_read_only") == "off"


async def test_of_several_hosts_the_one_that_is_wanted_is_taken(servers: Servers, url: str) -> None:
    """A database that refuses to write stands for a standby."""
    async with fresh_database(servers.postgres.url) as other:
        await execute(other, f"ALTER ROLE CURRENT_USER IN DATABASE {urlsplit(other).path[1:]} SET work_mem TO '7MB'")
        user = urlsplit(url).username
        await execute(
            url, f"ALTER ROLE {user} IN DATABASE {urlsplit(url).path[1:]} SET default_transaction_read_only TO on"
        )
        host = urlsplit(url).netloc.rpartition("@")[2]
        twice = url.replace(host, f"{host},{host}")
        assert await shown(f"{twice}?target_session_attrs=read-only", "transaction_read_only") == "on"
        with pytest.raises(DatabaseUnavailable, match="target_session_attrs"):
            await shown(f"{twice}?target_session_attrs=read-write", "transaction_read_only")
        assert await shown(f"{twice}?target_session_attrs=prefer-standby", "transaction_read_only") == "on"


async def test_a_password_comes_from_a_file_and_everything_from_a_service(url: str, tmp_path: Path) -> None:
    parts = urlsplit(url)
    database = parts.path[1:]
    passwords, services = tmp_path / "passwords", tmp_path / "services"
    passwords.write_text(f"*:*:*:{parts.username}:{parts.password}\n")
    passwords.chmod(0o600)
    services.write_text(
        f"[shop]\nhost={parts.hostname}\nport={parts.port}\ndbname={database}\nuser={parts.username}\n"
        f"password={parts.password}\n"
    )
    without = f"postgresql://{parts.username}@{parts.hostname}:{parts.port}/{database}?passfile={passwords}"
    assert await shown(without, "application_name") == "promidata-sync"
    assert await shown(f"postgresql://?service=shop&servicefile={services}", "application_name") == "promidata-sync"


async def test_user_password_and_database_may_stand_behind_the_question_mark(url: str) -> None:
    parts = urlsplit(url)
    behind = f"user={parts.username}&password={quote(parts.password or '')}&dbname={parts.path[1:]}&port={parts.port}"
    assert await shown(f"postgres:///?host=127.0.0.1&{behind}", "application_name") == "promidata-sync"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            ("//{user}:{password}@", "//{user}:hunter2@"),
            ["password authentication failed", "correct user and password"],
        ),
        (("/{database}", "/nothing_here"), ['"nothing_here" does not exist', "create the database"]),
        (("127.0.0.1:{port}", "nowhere.invalid:{port}"), ["nowhere.invalid", "leads nowhere"]),
        (("127.0.0.1:{port}", "127.0.0.1:{closed}"), ["127.0.0.1:{closed}", "is it running"]),
        (("127.0.0.1:{port}", "127.0.0.1:{silent}"), ["127.0.0.1:{silent}", "no answer in time"]),
        (("connect_timeout", "options=-c%20nothing%3Dhere&connect_timeout"), ['"nothing"', "correct options"]),
        (("connect_timeout", "options=-c%20work_mem%3Dhunter&connect_timeout"), ["work_mem", "correct options"]),
        (("connect_timeout", "target_session_attrs=standby&connect_timeout"), ["target_session_attrs"]),
    ],
)
async def test_what_keeps_us_out_is_told_in_one_line_without_the_password(
    url: str, tmp_path: Path, silent_port: int, closed_port: int, change: tuple[str, str], words: list[str]
) -> None:
    parts = urlsplit(url)
    names = {
        "user": parts.username,
        "password": parts.password,
        "database": parts.path[1:],
        "port": parts.port,
        "silent": silent_port,
        "closed": closed_port,
    }
    before, after = (part.format(**names) for part in change)
    wrong = f"{url}?connect_timeout=1".replace(before, after)
    ended = await command(tmp_path, environment(DATABASE_URL=wrong, DATA_DIR=str(tmp_path)), "migrate")
    (line,) = ended.err.splitlines()
    assert ended.code == 1
    assert all(word.format(**names) in line for word in words), line
    assert "hunter2" not in line
    assert str(parts.password) not in line


@pytest.mark.parametrize("arguments", [("migrate",), ("api",), ("worker", "family"), ("doctor",), ("up",), ("runs",)])
async def test_an_unknown_parameter_ends_every_start_with_one_line(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    env = environment(
        DATABASE_URL="postgresql://u:hunter2@127.0.0.1:1/x?sslmod=require",
        REDIS_URL="redis://127.0.0.1:1/0",
        PROMIDATA_BASE_URL="http://127.0.0.1:1/Profiles/Live/0f3c9a2e-aaaa",
        DATA_DIR=str(tmp_path),
        PORT="0",
    )
    ended = await command(tmp_path, env, *arguments)
    assert ended.code == 1
    (line,) = [line for line in ended.err.splitlines() if "sslmod" in line]
    assert len(ended.err.splitlines()) == 1, ended.err
    assert "use sslmode" in line
    assert "hunter2" not in ended.out + ended.err


async def test_a_command_on_a_database_without_a_schema_says_what_to_run(servers: Servers, tmp_path: Path) -> None:
    await execute(servers.postgres.url, "CREATE DATABASE without_a_schema")
    url = servers.postgres.url.rpartition("/")[0] + "/without_a_schema"
    try:
        ended = await command(tmp_path, environment(DATABASE_URL=url, DATA_DIR=str(tmp_path)), "runs")
        (line,) = ended.err.splitlines()
        assert (ended.code, "promidata-sync migrate" in line) == (1, True)
    finally:
        await execute(servers.postgres.url, "DROP DATABASE without_a_schema WITH (FORCE)")


async def test_alembics_command_takes_the_same_address(url: str, tmp_path: Path) -> None:
    own = OwnMigrations(tmp_path)
    own.add("9001", 'op.execute("CREATE TABLE added AS SELECT current_setting($$application_name$$) AS name")')
    ended = await own.alembic(f"{url}?application_name=ours&pgbouncer=true&channel_binding=prefer", "upgrade", "head")
    assert ended.code == 0, ended
    async with opened(url) as database, database.begin() as db:
        assert await db.scalar(text("SELECT name FROM added")) == "ours migrate"
    await asyncio.sleep(0)
