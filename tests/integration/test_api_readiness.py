"""Alive and ready: which part is away, what goes on without it, and an end when it is asked for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest
from pydantic import SecretStr
from sqlalchemy import text

from app.cli.doctor import examine
from app.cli.embedded import start_valkey
from app.settings import Settings
from tests.conftest import MakeStack
from tests.support.api_client import ApiClient, api_client, serve
from tests.support.stack import Servers, Stack, open_stack


@pytest.fixture(scope="module")
async def api(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[ApiClient]:
    """The service on an empty catalogue, without keys."""
    async with open_stack(servers, tmp_path_factory.mktemp("stack")) as stack, api_client(stack.settings) as client:
        yield client


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
async def test_health_can_be_asked_for_without_a_body(api: ApiClient, path: str) -> None:
    answer = await api.http.head(path)
    assert (answer.status_code, answer.content) == (200, b"")


async def test_it_is_ready_once_every_part_has_answered(api: ApiClient) -> None:
    assert await api.get("//healthz") == {"status": "ok"}
    assert await api.get("//readyz") == {"database": "up", "redis": "up", "storage": "up"}


async def test_it_is_not_ready_before_redis_has_answered_and_says_which_part(make_stack: MakeStack) -> None:
    async with make_stack() as stack:
        settings = Settings.model_validate({**stack.settings.model_dump(), "redis_url": "redis://127.0.0.1:1/0"})
        async with api_client(settings) as api:
            problem = await api.problem("GET", "//readyz", 503)
            assert {name: problem[name] for name in ("database", "redis", "storage")} == {
                "database": "up",
                "redis": "down",
                "storage": "up",
            }
            await api.problem("POST", "/sync", 503)
            await api.problem("GET", "/workers", 503)
            assert (await api.get("/runs"))["items"] == []
            assert (await api.get("/products"))["items"] == []


async def test_without_a_database_it_is_alive_and_not_ready(make_stack: MakeStack) -> None:
    async with make_stack() as stack:
        url = "postgresql://u:p@127.0.0.1:1/promidata"
        settings = Settings.model_validate({**stack.settings.model_dump(), "database_url": url})
        async with api_client(settings) as api:
            assert await api.get("//healthz") == {"status": "ok"}
            readiness = await api.problem("GET", "//readyz", 503)
            assert readiness["database"] == "down"
            assert "is it running" in readiness["detail"]
            for path in ("/runs", "/products", "/queues/stats", "/queues/image-upload/jobs/1"):
                problem = await api.problem("GET", path, 503)
                assert "127.0.0.1:1" in problem["detail"]
                assert "p@" not in problem["detail"]
            await api.problem("POST", "/sync", 503)
            assert "promidata_database_up 0.0" in (await api.http.get("/metrics")).text


async def test_once_ready_it_stays_so_without_redis(make_stack: MakeStack, tmp_path: Path) -> None:
    """CASES.md C4: readiness must not take reading down with Redis."""
    with start_valkey(tmp_path / "own", say=lambda _: None) as valkey:
        async with make_stack(redis_url=valkey.url) as stack, api_client(stack.settings) as api:
            assert await api.get("//readyz") == {"database": "up", "redis": "up", "storage": "up"}
            valkey.stop(discard=True)
            assert await api.get("//readyz") == {"database": "up", "redis": "down", "storage": "up"}
            assert (await api.get("/products"))["items"] == []
            await api.problem("POST", "/sync", 503)
            assert (await api.get("/runs"))["items"] == []


async def test_a_database_that_refuses_writes_is_down(make_stack: MakeStack) -> None:
    async with make_stack() as stack, api_client(stack.settings) as api:
        await api.get("//readyz")
        name = str(await stack.value("SELECT current_database()"))
        async with stack.services.database.begin() as db:
            await db.execute(text(f"ALTER DATABASE {name} SET default_transaction_read_only = on"))
        async with api_client(stack.settings) as later:
            problem = await later.problem("GET", "//readyz", 503)
            assert (problem["database"], problem["redis"]) == ("down", "up")
            assert (await later.get("/products"))["items"] == []
            await later.problem("POST", "/sync", 503)


async def test_the_service_ends_when_it_is_asked_to(stack: Stack) -> None:
    async with asyncio.timeout(10):
        async with serve(stack.settings):
            pass


WITHOUT_A_RIGHT = """
CREATE ROLE reader LOGIN PASSWORD 'reader';
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO reader;
GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO reader;
REVOKE INSERT ON jobs FROM reader
"""


FULL = """
CREATE FUNCTION full_up() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    RAISE EXCEPTION USING ERRCODE = '53100', MESSAGE = 'could not extend file: No space left on device'; END $$;
CREATE TRIGGER full_up BEFORE INSERT ON idempotency_keys EXECUTE FUNCTION full_up();
CREATE TRIGGER full_up BEFORE INSERT ON runs EXECUTE FUNCTION full_up()
"""


@pytest.mark.parametrize(
    ("trouble", "mending", "user", "said"),
    [
        (
            WITHOUT_A_RIGHT,
            "GRANT INSERT ON jobs TO reader",
            "reader:reader",
            "does not let reader read and write jobs: GRANT SELECT, INSERT",
        ),
        (FULL, "DROP FUNCTION full_up CASCADE", None, "its disk is full: make room there"),
    ],
    ids=["a missing right", "a full disk"],
)
async def test_a_database_that_refuses_writes_for_whatever_reason_is_down_and_says_why(
    stack: Stack, trouble: str, mending: str, user: str | None, said: str
) -> None:
    assert stack.settings.database_url is not None
    url = stack.settings.database_url.get_secret_value()
    parts = urlsplit(url)
    connection = await asyncpg.connect(url.replace("+asyncpg", ""))
    try:
        await connection.execute(trouble)
        theirs = url if user is None else urlunsplit(parts._replace(netloc=f"{user}@{parts.hostname}:{parts.port}"))
        settings = stack.settings.model_copy(update={"database_url": SecretStr(theirs)})
        async with api_client(settings) as api:
            problem = await api.problem("GET", "//readyz", 503)
            assert (problem["database"], problem["redis"]) == ("down", "up")
            assert said in problem["detail"]
            refused = await api.problem("POST", "/sync", 503, json={"useQueue": False})
            assert any(words in refused["detail"] for words in ("permission denied for table jobs", said))
            assert (await api.get("/products"))["items"] == []
            doctor = [finding for finding in await examine(settings) if not finding.ok]
            assert any(said in finding.found for finding in doctor), doctor
            await connection.execute(mending)
            assert await api.get("//readyz") == {"database": "up", "redis": "up", "storage": "up"}
            assert (await api.post("/sync", {"useQueue": False}))["suppliersProcessed"] == 2, "it goes on by itself"
    finally:
        if user is not None:
            await connection.execute("DROP OWNED BY reader; DROP ROLE reader")
        await connection.close()


async def test_looking_whether_writes_are_taken_leaves_nothing(api: ApiClient, stack: Stack) -> None:
    await api.get("//readyz")
    assert await stack.value("SELECT count(*) FROM idempotency_keys") == 0
