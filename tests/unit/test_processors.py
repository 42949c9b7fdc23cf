"""Whether processors are short: by what the kernel counts, and by whose doing."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from app.images import processors
from app.images.processors import FORGOTTEN_AFTER_S, LOOK_EVERY_S, Processors, Used, used_until_now

AGO_S = 2.0


def _seen(*later: tuple[float, float, float]) -> Processors:
    """One that saw nothing used two seconds ago, and now these: run and waited by the thread, run by the process."""
    now = time.monotonic()
    first = Used(now - AGO_S, 0.0, 0.0, 0.0)
    looks = iter([first, *(Used(now, *used) for used in later)])
    return Processors(lambda: next(looks))


@pytest.mark.parametrize(
    ("ran", "waited", "process_ran", "short"),
    [
        (0.8, 0.8, 1.2, True),
        (1.8, 0.18, 1.9, False),
        (1.7, 0.2, 1.9, True),
        (1.0, 0.8, 3.4, False),
        (0.0, 0.0, 0.0, False),
    ],
    ids=["others have them", "a little waiting", "a tenth of it", "its own threads have them", "idle"],
)
def test_they_are_short_where_others_have_them(ran: float, waited: float, process_ran: float, short: bool) -> None:
    assert _seen((ran, waited, process_ran)).are_short() is short


def test_it_is_said_anew_after_a_second_and_not_before(monkeypatch: pytest.MonkeyPatch) -> None:
    assert LOOK_EVERY_S == 1.0
    monkeypatch.setattr(processors, "LOOK_EVERY_S", 3600.0)
    seen = _seen((0.8, 0.8, 1.2))
    assert not seen.are_short()
    monkeypatch.setattr(processors, "LOOK_EVERY_S", AGO_S)
    assert seen.are_short()


def test_what_was_before_a_pause_says_nothing_of_now() -> None:
    now = time.monotonic()
    looks = iter([Used(now - 2 * FORGOTTEN_AFTER_S, 0.0, 0.0, 0.0), Used(now, 0.1, 5.0, 0.1)])
    assert not Processors(lambda: next(looks)).are_short()


def test_where_nothing_is_counted_they_never_are(tmp_path: Path) -> None:
    assert used_until_now(tmp_path / "missing") is None
    (tmp_path / "other").write_text("")
    assert used_until_now(tmp_path / "other") is None
    assert not Processors(lambda: None).are_short()


@pytest.mark.skipif(not Path("/proc/thread-self/schedstat").exists(), reason="this system counts nothing")
def test_what_this_thread_ran_is_counted() -> None:
    before = used_until_now()
    until = time.thread_time() + 0.05
    while time.thread_time() < until:
        pass
    after = used_until_now()
    assert before is not None
    assert after is not None
    assert 0.04 < after.ran - before.ran <= after.process_ran - before.process_ran + 0.02
    assert after.waited >= before.waited
