"""What somebody who reads along sees while a step takes long."""

from __future__ import annotations

import sys
import threading
from pathlib import Path

import pytest
from rich.text import Text

from app.cli import telling


class Watched(telling.Teller):
    """Knows when it has told three lines."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []
        self.three = threading.Event()

    def say(self, line: str | Text, *, whole: bool = False) -> None:
        self.lines.append(str(line))
        if len(self.lines) == 3:
            self.three.set()


def test_a_step_that_keeps_the_main_thread_is_told_again_and_again(monkeypatch: pytest.MonkeyPatch) -> None:
    assert telling.PLAIN_EVERY_S < 2
    monkeypatch.setattr(telling, "PLAIN_EVERY_S", 0.01)
    teller = Watched()
    with teller.during("starting PostgreSQL"):
        assert teller.three.wait(60)
    assert all(line.startswith("starting PostgreSQL ...") for line in teller.lines)
    assert teller.lines[1].endswith(" s")
    assert [thread for thread in threading.enumerate() if "_remind" in thread.name] == []


@pytest.mark.parametrize(("path", "named"), [("bin", "promidata-sync"), ("nowhere", "{called}")])
def test_a_command_that_is_not_on_the_path_is_named_with_its_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str, named: str
) -> None:
    called = tmp_path / "bin" / "promidata-sync"
    called.parent.mkdir()
    called.touch(mode=0o755)
    monkeypatch.setattr(sys, "argv", [str(called)])
    monkeypatch.setenv("PATH", str(tmp_path / path))
    assert telling.own_name() == named.format(called=called)
