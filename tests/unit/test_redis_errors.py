"""What is said of Redis's answers: as redis-py reads them, with or without the code that they began with."""

from __future__ import annotations

import pytest
from redis._parsers.base import BaseParser

from app.jobs.redis_errors import advice, is_misfit, remedy
from app.redis_keys import DEFAULT_KEYS

SCRIPT = "ERR Error running script (call to f_1): @user_script:3: @user_script: 3: -"
"""How Redis 6.2 begins what a script ran into."""
FULL_DISK = "MISCONF Errors writing to the AOF file: No space left on device"


def as_read(answer: str) -> Exception:
    error: Exception = BaseParser.parse_error(answer)  # type: ignore[no-untyped-call]
    return error


@pytest.mark.parametrize(
    ("answer", "do"),
    [
        (FULL_DISK, "make room"),
        (f"{SCRIPT}{FULL_DISK}", "make room"),
        ("NOREPLICAS Not enough good replicas to write.", "lower its min-replicas-to-write"),
        ("OOM command not allowed when used memory > 'maxmemory'.", "more memory"),
        (f"{SCRIPT}OOM command not allowed when used memory > 'maxmemory'.", "more memory"),
        ("READONLY You can't write against a read only replica.", "name the primary"),
        ("MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.", "name the primary"),
        ("LOADING Redis is loading the dataset in memory", "wait"),
        ("BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.", "SCRIPT KILL"),
        ("CLUSTERDOWN The cluster is down", "CLUSTER INFO"),
        ("MOVED 3999 10.0.0.7:6379", "cluster mode is not supported"),
        (f"{SCRIPT}MOVED 3999 10.0.0.7:6379", "cluster mode is not supported"),
        ("ASK 3999 10.0.0.7:6379", "a proxy in front"),
        ("CROSSSLOT Keys in request don't hash to the same slot", "name a single server"),
        ("ERR max number of clients reached", "raise its maxclients"),
        ("WRONGPASS invalid username-password pair or user is disabled.", "correct user and password"),
    ],
)
def test_what_redis_refuses_is_told_with_what_to_do(answer: str, do: str) -> None:
    error = as_read(answer)
    assert do in (remedy(error) or "")
    assert "is it running" not in advice(error, DEFAULT_KEYS)


@pytest.mark.parametrize("answer", ["ERR something else", "BUSYGROUP Consumer Group name already exists"])
def test_what_is_not_known_is_not_guessed_at(answer: str) -> None:
    assert remedy(as_read(answer)) is None


@pytest.mark.parametrize("answer", ["MOVED 3999 10.0.0.7:6379", "ASK 3999 10.0.0.7:6379", "CROSSSLOT Keys in request"])
def test_a_cluster_is_not_waited_for_as_if_it_could_become_a_single_server(answer: str) -> None:
    assert is_misfit(as_read(answer))
    assert not is_misfit(as_read("CLUSTERDOWN The cluster is down"))
