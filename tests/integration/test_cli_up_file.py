"""`up.json`: who may read it, when it counts, and which settings win over it."""

from __future__ import annotations

import os
import re
import shutil
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import psutil
import pytest

from app.cli.exits import ExitCode, exit_code_of
from app.cli.surroundings import beside
from app.cli.up_file import NAME, RunningUp, UpError, announced, find_running, only_one
from app.settings import Settings
from tests.support.without_rights import without_rights

PARTS = {
    "DATABASE_URL": "postgresql+asyncpg://promidata:pw@127.0.0.1:5001/promidata",
    "REDIS_URL": "redis://:pw@127.0.0.1:5002/0",
    "PROMIDATA_BASE_URL": "http://127.0.0.1:5003/Profiles/Live/x",
    "ALLOW_PRIVATE_ADDRESSES": "127.0.0.0/8",
}
API_URL = "http://127.0.0.1:8000"
ROOT = Path(__file__).parents[2]


def settings(**given: Any) -> Settings:
    return Settings.model_validate(given)


def revealed(built: Settings) -> tuple[str | None, str | None, str | None]:
    urls = (built.database_url, built.redis_url, built.promidata_base_url)
    first, second, third = (None if url is None else url.get_secret_value() for url in urls)
    return first, second, third


def test_it_is_there_while_up_runs_for_its_user_alone(tmp_path: Path) -> None:
    with announced(API_URL, PARTS, tmp_path):
        found = find_running(tmp_path)
        mode = stat.S_IMODE((tmp_path / NAME).stat().st_mode)
    assert mode == 0o600
    assert found is not None
    assert (found.api_url, found.pid, found.database_url) == (API_URL, os.getpid(), PARTS["DATABASE_URL"])
    assert find_running(tmp_path) is None
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("started_at_offset_s", [0.0, 60.0])
def test_one_that_a_killed_up_left_behind_does_not_count(tmp_path: Path, started_at_offset_s: float) -> None:
    """Also when the process id is by now that of another program, here our own."""
    with subprocess.Popen([sys.executable, "-c", ""]) as ended:
        ended.wait()
    pid = os.getpid() if started_at_offset_s else ended.pid
    created = psutil.Process().create_time() - started_at_offset_s
    left = RunningUp(API_URL, "d", "r", "b", str(tmp_path), pid, created, "")
    (tmp_path / NAME).write_bytes(msgspec.json.encode(left))
    assert find_running(tmp_path) is None


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"pid": "x"}'])
def test_a_garbled_one_does_not_count(tmp_path: Path, content: bytes) -> None:
    (tmp_path / NAME).write_bytes(content)
    assert find_running(tmp_path) is None


def test_one_in_a_copy_of_the_folder_does_not_count(tmp_path: Path) -> None:
    """Else commands there would read the original's database and the copy's pictures."""
    (tmp_path / "one").mkdir()
    with announced(API_URL, PARTS, tmp_path / "one"):
        shutil.copytree(tmp_path / "one", tmp_path / "two")
        assert find_running(tmp_path / "one") is not None
        assert find_running(tmp_path / "two") is None


def test_every_path_to_the_folder_leads_to_it(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "link").symlink_to("one")
    with announced(API_URL, PARTS, tmp_path / "link"):
        assert find_running(tmp_path / "one") is not None
        (tmp_path / "one").rename(tmp_path / "moved")
        assert find_running(tmp_path / "moved") is not None
        (tmp_path / "moved").rename(tmp_path / "one")


def test_one_of_a_release_that_did_not_name_the_folder_counts(tmp_path: Path) -> None:
    with announced(API_URL, PARTS, tmp_path):
        described = msgspec.json.decode((tmp_path / NAME).read_bytes())
        del described["folder"]
        (tmp_path / NAME).write_bytes(msgspec.json.encode(described))
        assert find_running(tmp_path) is not None


def test_a_folder_that_may_not_be_entered_is_not_said_to_have_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    tmp_path.chmod(0o755)
    (tmp_path / "closed").mkdir(mode=0o600)
    (tmp_path / NAME).touch(mode=0)
    with without_rights():
        with pytest.raises(
            UpError, match=r"^this user may not enter closed/data: use the one who runs `up`, set DATA_"
        ):
            find_running(Path("closed/data"))
        with pytest.raises(UpError, match=r"^this user may not read up.json: use the one who runs `up`, set DATA_DIR"):
            find_running(Path())


def test_a_second_up_on_a_data_folder_is_refused_by_the_pid_of_the_first(tmp_path: Path) -> None:
    with (
        only_one(tmp_path),
        pytest.raises(UpError, match=rf"process {os.getpid()}.*another DATA_DIR"),
        only_one(tmp_path),
    ):
        pass
    with only_one(tmp_path):
        pass


def test_a_data_folder_that_cannot_be_made_is_one_clear_message(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UpError, match="set DATA_DIR to a folder that is yours"), only_one(tmp_path / "file" / "below"):
        pass


def test_what_the_environment_lacks_comes_from_a_running_up(tmp_path: Path) -> None:
    with announced(API_URL, PARTS, tmp_path):
        found = beside(settings(), find_running(tmp_path))
        second = beside(settings(), find_running(tmp_path), serves=True)
    assert (found.public_url, second.public_url) == (API_URL, None), "an API has an address of its own"
    assert revealed(found) == (PARTS["DATABASE_URL"], PARTS["REDIS_URL"], PARTS["PROMIDATA_BASE_URL"])
    assert [str(network) for network in found.allow_private_addresses] == ["127.0.0.0/8"]


def test_what_the_environment_has_wins(tmp_path: Path) -> None:
    own = "https://promi-dl.de/Profiles/Live/mine"
    with announced(API_URL, PARTS, tmp_path):
        found = beside(settings(promidata_base_url=own), find_running(tmp_path))
    assert revealed(found) == (PARTS["DATABASE_URL"], PARTS["REDIS_URL"], own)
    assert found.allow_private_addresses == ()


def test_parts_of_two_systems_are_never_mixed(tmp_path: Path) -> None:
    with announced(API_URL, PARTS, tmp_path):
        running = find_running(tmp_path)
        other = beside(settings(database_url="postgresql://shop:pw@db/shop"), running)
        same = beside(settings(database_url=PARTS["DATABASE_URL"]), running)
    assert revealed(other) == ("postgresql+asyncpg://shop:pw@db/shop", None, None)
    assert revealed(same) == (PARTS["DATABASE_URL"], PARTS["REDIS_URL"], PARTS["PROMIDATA_BASE_URL"])


@pytest.mark.parametrize(
    ("statuses", "code"),
    [
        ([], ExitCode.OK),
        (["completed", "completed"], ExitCode.OK),
        (["completed", "completed_with_errors"], ExitCode.WITH_ERRORS),
        (["completed_with_errors", "cancelled"], ExitCode.CANCELLED),
        (["cancelled", "failed", "completed"], ExitCode.FAILED),
    ],
)
def test_the_worst_run_decides_the_exit_code(statuses: list[str], code: ExitCode) -> None:
    assert exit_code_of(statuses) == code


@pytest.mark.parametrize("page", [".env.example", "README.md"])
def test_every_setting_is_named(page: str) -> None:
    text = (ROOT / page).read_text()
    left_out = {"FAILPOINT"}  # for tests
    if page == "README.md":
        left_out |= {f"JOB_TIMEOUT_{name}_MS" for name in ("FAMILY", "IMAGE")}
    missing = {name.upper() for name in Settings.model_fields} - set(re.findall(r"[A-Z0-9_]{3,}", text)) - left_out
    assert missing == set()


def test_the_example_is_what_the_defaults_are(tmp_path: Path) -> None:
    lines = (ROOT / ".env.example").read_text().splitlines()
    values = [line.removeprefix("# ") for line in lines if re.match(r"# [A-Z0-9_]+=[^ ]", line)]
    ours = [value for value in values if not re.match(r"(PROMIDATA_BASE|DATABASE|REDIS)_URL=", value)]
    (tmp_path / "env").write_text("\n".join(ours))
    assert len(ours) > 25
    assert Settings(_env_file=tmp_path / "env") == Settings(_env_file=None)
