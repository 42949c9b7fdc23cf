"""The probe: what a command line runs, what a pulse says, and that it costs next to nothing."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from workers import probe
from workers.pulse import Pulse

LOADED = "import sys, workers.probe; print([name for name in sys.modules if name.split('.')[0] in %r])"
HEAVY = ("app", "typer", "redis", "pydantic", "asyncio", "sqlalchemy")


@pytest.mark.parametrize(
    ("command", "role"),
    [
        (["/venv/bin/python", "/venv/bin/promidata-sync", "worker", "supplier"], "worker"),
        (["promidata-sync", "api"], "api"),
        (["promidata-sync", "migrate"], "migrate"),
        (["promidata-sync", "sync", "api", "--direct"], "sync"),
        (["promidata-sync", "feed", "serve"], "feed"),
        (["promidata-sync"], None),
        (["/sbin/docker-init", "--", "promidata-sync", "worker", "image"], "worker"),
        (["/bin/sh", "-c", "exec promidata-sync worker family"], "worker"),
        (["python", "-m", "app.cli.main", "worker", "image"], "worker"),
        (["/venv/bin/python", "/venv/bin/arq", "workers.image.WorkerSettings"], "worker"),
        (["/venv/bin/python", "/venv/bin/uvicorn", "app.main:app", "--workers", "3"], "api"),
        (["bash"], None),
        ([], None),
    ],
)
def test_a_command_line_tells_the_role(command: list[str], role: str | None) -> None:
    assert probe.role_of(command) == role


def test_a_fresh_pulse_is_well_and_a_late_one_is_not(tmp_path: Path) -> None:
    path = tmp_path / "pulse"
    Pulse(path, "image-upload").write()
    at = json.loads(path.read_text())["at"]
    assert probe.pulse_complaint(str(path), now=at + probe.SILENT_S - 1) is None
    late = probe.pulse_complaint(str(path), now=at + probe.SILENT_S + 1)
    assert late == "the image-upload worker's event loop has not come round for 31 s"


def test_a_pulse_from_before_a_restart_of_the_machine_is_not_fresh(tmp_path: Path) -> None:
    path = tmp_path / "pulse"
    path.write_text(json.dumps({"role": "supplier-sync", "at": 90_000.0, "wrong": None}))
    assert probe.pulse_complaint(str(path), now=12.0) is not None


def test_what_the_worker_finds_wrong_with_itself_is_told(tmp_path: Path) -> None:
    pulse = Pulse(tmp_path / "pulse", "product-family")
    pulse.watch(lambda: "its heart has ended, so its leases run out")
    pulse.write()
    told = probe.pulse_complaint(str(tmp_path / "pulse"))
    assert told == "the product-family worker: its heart has ended, so its leases run out"


@pytest.mark.parametrize(
    "content", ["", "[]", "7", '{"at": "x"}', '{"at": null, "role": "a", "wrong": null}', '{"at":']
)
def test_a_file_that_is_no_pulse_is_named(tmp_path: Path, content: str) -> None:
    path = tmp_path / "pulse"
    path.write_text(content)
    told = probe.pulse_complaint(str(path))
    assert told is not None
    assert str(path) in told


def test_a_missing_file_and_a_missing_variable_are_told_apart(tmp_path: Path) -> None:
    assert "yet" in str(
        probe.complaint(["promidata-sync", "worker", "image"], {"WORKER_PROBE_FILE": str(tmp_path / "x")})
    )
    assert "is not set" in str(probe.complaint(["promidata-sync", "worker", "image"], {}))


def test_one_shot_commands_are_well_as_long_as_they_run() -> None:
    assert probe.complaint(["promidata-sync", "migrate"], {}) is None


@pytest.mark.parametrize(
    ("answer", "well"), [(b"HTTP/1.1 200 OK\r\n\r\n", True), (b"HTTP/1.1 503 Away\r\n\r\n", False), (b"", False)]
)
def test_the_api_is_asked_on_its_own_address_and_port(answer: bytes, *, well: bool) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer_once() -> None:
            with server.accept()[0] as connection:
                connection.recv(1000)
                connection.sendall(answer)

        answering = threading.Thread(target=answer_once)
        answering.start()
        port = str(server.getsockname()[1])
        told = probe.complaint(["promidata-sync", "api"], {"HOST": "0.0.0.0", "PORT": port})
        answering.join()
    assert (told is None) is well
    assert "does not answer" in str(probe.complaint(["uvicorn", "app.main:app", "--port", port], {"PORT": "1"}))


def test_the_probe_imports_nothing_of_the_application() -> None:
    printed = subprocess.run([sys.executable, "-c", LOADED % (HEAVY,)], capture_output=True, text=True, check=True)
    assert printed.stdout.strip() == "[]", printed.stderr
