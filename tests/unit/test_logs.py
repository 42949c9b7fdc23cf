"""The ids of what a log line is about."""

from __future__ import annotations

import asyncio
import json

import pytest
from structlog import get_logger

from app.logs import about, configure_logs

log = get_logger()


@pytest.fixture(autouse=True)
def _json_logs() -> None:
    configure_logs()


def lines(told: str) -> list[dict[str, str]]:
    return [
        {name: value for name, value in json.loads(line).items() if name != "timestamp"} for line in told.splitlines()
    ]


def test_a_line_has_the_ids_of_the_blocks_around_it_and_what_it_says_itself_stands(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with about(run="r", job="j1"):
        with about(job="j2", request="q"):
            log.info("within")
            log.info("itself", job="j3")
        log.info("around")
    log.info("after")

    level = {"level": "info"}
    assert lines(capsys.readouterr().err) == [
        {"event": "within", "run": "r", "job": "j2", "request": "q"} | level,
        {"event": "itself", "run": "r", "job": "j3", "request": "q"} | level,
        {"event": "around", "run": "r", "job": "j1"} | level,
        {"event": "after"} | level,
    ]


async def test_tasks_beside_each_other_keep_theirs_and_an_error_takes_them_back(
    capsys: pytest.CaptureFixture[str],
) -> None:
    async def one(job: str) -> None:
        with about(job=job):
            await asyncio.sleep(0)
            log.info("at work")
            raise ValueError(job)

    async def both() -> None:
        with pytest.raises(ValueError, match="j1"):
            await one("j1")
        log.info("after")

    await asyncio.gather(both(), one("j2"), return_exceptions=True)

    told = [(line["event"], line.get("job")) for line in lines(capsys.readouterr().err)]
    assert sorted(told, key=str) == [("after", None), ("at work", "j1"), ("at work", "j2")]
