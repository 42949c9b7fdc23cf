"""An error's text holds neither SQL nor its parameters, wherever it goes."""

from __future__ import annotations

import json
import traceback
from collections.abc import Iterator

import pytest
import structlog
from sqlalchemy import text

from app.cli.ending import ending_of
from app.errors import DatabaseUnavailable
from app.logs import configure_logs
from app.persistence.database import Connection, Database
from app.persistence.failures import StatementRefused
from tests.conftest import MakeStack
from tests.integration.test_feed_cases import first_sku, plain_feed
from tests.support.stack import Stack

SECRET = "the-secret-value"
WRONG: dict[str, tuple[str, object, str]] = {
    "a byte that is no text": ("SELECT CAST(:x AS text) AS this_statement", f"{SECRET}\udce9", "DataError"),
    "a NUL": ("SELECT CAST(:x AS text) AS this_statement", f"{SECRET}\0", "SQLSTATE 22021"),
    "of another type": ("SELECT CAST(:x AS int) AS this_statement", SECRET, "DataError"),
    "of another type, for the server": ("SELECT CAST(CAST(:x AS text) AS int)", SECRET, "SQLSTATE 22P02"),
    "a row that is no row": (
        "INSERT INTO webhooks (url) SELECT CAST(:x AS text) AS this_statement",
        SECRET,
        "NotNullViolationError, SQLSTATE 23502",
    ),
    "twice the same": (
        (
            "INSERT INTO suppliers (code, document_id, name) SELECT v.x, y, y FROM (SELECT CAST(:x AS text) AS x) v, "
            "(VALUES ('this_statement'), ('other')) w (y)"
        ),
        SECRET,
        "UniqueViolationError",
    ),
    "no SQL": ("SELECT FROM WHERE :x this_statement", SECRET, "SQLSTATE 42601"),
    "no such function": ("SELECT this_statement(CAST(:x AS text))", SECRET, "SQLSTATE 42883"),
}

ENDING = "SELECT CAST(:x AS text) AS this_statement, pg_terminate_backend(pg_backend_pid())"


@pytest.fixture
def logs() -> Iterator[None]:
    """Log lines as a process writes them."""
    configure_logs()
    yield
    structlog.reset_defaults()


async def run(database: Database, how: str, sql: str, value: object) -> None:
    async def work(db: Connection) -> None:
        await db.execute(text(sql), {"x": value})

    if how == "transact":
        await database.transact(work)
    else:
        async with getattr(database, how)() as db:
            await work(db)


def assert_says_nothing(*texts: str) -> None:
    for said in texts:
        assert not [word for word in (SECRET, "this_statement", "[SQL", "[parameters") if word in said], said


@pytest.mark.parametrize("how", ["transact", "begin", "quick"])
@pytest.mark.parametrize("wrong", WRONG)
async def test_a_statement_that_is_refused_is_told_without_itself(stack: Stack, wrong: str, how: str) -> None:
    sql, value, kind = WRONG[wrong]
    with pytest.raises(StatementRefused) as caught:
        await run(stack.services.database, how, sql, value)
    told = "".join(traceback.format_exception(caught.value))
    assert_says_nothing(str(caught.value), repr(caught.value), told)
    assert kind in str(caught.value)
    assert "in work" in told, "the traceback leads to the statement"


async def test_an_outage_is_told_without_the_statement_that_met_it(stack: Stack) -> None:
    with pytest.raises(DatabaseUnavailable) as caught:
        await run(stack.services.database, "begin", ENDING, SECRET)
    assert_says_nothing(str(caught.value), "".join(traceback.format_exception(caught.value)))


def test_a_command_that_meets_a_refusal_says_so_in_a_line(capfd: pytest.CaptureFixture[str]) -> None:
    def work() -> None:
        raise StatementRefused("PostgreSQL refused a statement (DataError)")

    assert ending_of(work) == 1
    assert "unexpected StatementRefused: PostgreSQL refused a statement (DataError)" in capfd.readouterr().err


async def test_a_stage_whose_write_is_refused_tells_kind_and_constraint_everywhere(
    make_stack: MakeStack, logs: None, capfd: pytest.CaptureFixture[str]
) -> None:
    feed = plain_feed(families=2)
    async with make_stack(feed) as stack:
        sku = first_sku(feed)
        async with stack.services.database.begin() as db:
            await db.execute(text(f"ALTER TABLE products ADD CONSTRAINT not_this_one CHECK (sku <> '{sku}')"))
        await stack.sync()
        run = await stack.run("A23")
        assert (run["status"], run["families_failed"]) == ("completed_with_errors", 1)
        (job,) = await stack.rows("SELECT * FROM jobs WHERE state = 'failed'")
        (problem,) = await stack.problems("A23")
    expected = "unexpected StatementRefused: PostgreSQL refused a statement (CheckViolationError, SQLSTATE 23514)"
    assert job["error"].startswith(expected)
    assert "not_this_one" in problem["reason"]
    log = capfd.readouterr().err
    assert "a bug in a stage" in log
    name = next(iter(feed.document(sku)["ProductDetails"].values()))["Name"]
    for said in (json.dumps([job, problem, run], default=str), log):
        assert not [word for word in ("INSERT INTO", "[SQL", "Failing row", name) if word in said]
