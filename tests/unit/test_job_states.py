"""The transition table, its diagram, and the database's copy of it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from sqlalchemy import text

from app.persistence.failures import StatementRefused
from app.states import CLOSED, OPEN, TRANSITIONS, draw
from app.sync.operating.start import StartRequest, start_runs
from tests.support.stack import Stack

MIGRATION = Path(__file__).parents[2] / "alembic/versions/0013_handed_back.py"


def test_the_database_enforces_the_same_table() -> None:
    in_code = {f"{old}>{new}" for old, moves in TRANSITIONS.items() for new in moves}
    in_database = set(re.findall(r'"(\w+>\w+)"', MIGRATION.read_text()))
    assert in_code == in_database


def test_every_state_is_open_or_closed() -> None:
    assert set(OPEN) | set(CLOSED) == set(TRANSITIONS)
    assert not set(OPEN) & set(CLOSED)


def test_the_diagram_names_every_move() -> None:
    drawn = draw()
    assert all(f"{old} --> {new}" in drawn for old, moves in TRANSITIONS.items() for new in moves)


@pytest.mark.parametrize(("old", "new"), [("waiting", "completed"), ("waiting", "failed"), ("waiting", "delayed")])
async def test_the_database_refuses_a_move_that_is_not_in_the_table(stack: Stack, old: str, new: str) -> None:
    await start_runs(stack.services, StartRequest(supplier="A23"), "queued")
    with pytest.raises(StatementRefused, match=f"may not go from {old} to {new}"):
        async with stack.services.database.begin() as db:
            await db.execute(text("UPDATE jobs SET state = :new, error = 'x'"), {"new": new})
