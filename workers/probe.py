"""Is this container's process well? `promidata-health`, for the image's health check and Kubernetes' exec probes.

    process 1's command ─▶ a worker:  its pulse (workers/pulse.py) is fresh and names nothing wrong
                        ─▶ the API:   /healthz answers 200
                        ─▶ any other: it is well as long as it runs

Standard library alone and no import of the application: it runs every ten seconds beside each worker, and importing a
worker costs a second of CPU where this costs some hundredths.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Mapping, Sequence

SILENT_S = 30.0
"""A pulse comes every two seconds. A loop that is this late is stuck; one document never holds it for so long."""
ANSWER_S = 3.0
PROGRAMS = ("promidata-sync", "app.cli.main")
BARE = {"arq": "worker", "uvicorn": "api"}
"""Programs that are known without our command in front."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code 0 when process 1, or the one in the argument, is well; else 1 and one line on standard error."""
    given = sys.argv[1:] if arguments is None else arguments
    try:
        wrong = complaint(_command_of(given[0] if given else "1"), os.environ)
    except OSError as error:
        wrong = f"the process cannot be looked at: {error}"
    if wrong is None:
        return 0
    sys.stderr.write(f"promidata-health: {wrong}\n")
    return 1


def complaint(command: Sequence[str], environment: Mapping[str, str]) -> str | None:
    """What is wrong with a process that was started by `command`; None when nothing is known to be."""
    role = role_of(command)
    if role == "worker":
        return pulse_complaint(environment.get("WORKER_PROBE_FILE", "").strip())
    if role in {"api", "up"}:
        return _http_complaint(environment.get("HOST", ""), _port(command, environment))
    return None


def role_of(command: Sequence[str]) -> str | None:
    """What a command line runs: our command's first word, whatever stands in front of it.

    >>> role_of(["/sbin/docker-init", "--", "/venv/bin/python", "/venv/bin/promidata-sync", "worker", "image"])
    'worker'
    """
    names = [part.rpartition("/")[2] for word in command for part in word.split()]
    for place, name in enumerate(names):
        if name in PROGRAMS:
            return next(iter(names[place + 1 : place + 2]), None)
        if name in BARE:
            return BARE[name]
    return None


def pulse_complaint(path: str, now: float | None = None) -> str | None:
    """What is wrong with the worker whose pulse is at `path`; `now` is a time of the monotonic clock."""
    if not path:
        return "WORKER_PROBE_FILE is not set: the worker writes its pulse there, and this reads it"
    try:
        with open(path, encoding="utf-8") as file:  # noqa: PTH123 - pathlib costs as much as all the rest
            beat = json.load(file)
        silent_s = (time.monotonic() if now is None else now) - float(beat["at"])
        role, wrong = str(beat["role"]), beat["wrong"]
    except FileNotFoundError:
        return f"no worker has written {path} (WORKER_PROBE_FILE) yet, or it has ended"
    except (OSError, ValueError, KeyError, TypeError) as error:
        return f"{path} (WORKER_PROBE_FILE) is no worker's pulse: {type(error).__name__}"
    if not 0 <= silent_s <= SILENT_S:
        return f"the {role} worker's event loop has not come round for {silent_s:.0f} s"
    return None if wrong is None else f"the {role} worker: {wrong}"


def _http_complaint(host: str, port: str) -> str | None:
    import socket  # noqa: PLC0415 - workers are asked far more often, and need none

    address = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - asked, not bound
    try:
        with socket.create_connection((address, int(port)), timeout=ANSWER_S) as connection:
            connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            status = connection.makefile("rb").readline(200).split()
    except (OSError, ValueError) as error:
        return f"/healthz at {address} port {port} does not answer: {error}"
    return None if status[1:2] == [b"200"] else f"/healthz at {address} port {port} answers {status[1:2]}"


def _port(command: Sequence[str], environment: Mapping[str, str]) -> str:
    """`--port N` of the command, else PORT, else the default."""
    words = [part for word in command for part in word.replace("=", " ").split()]
    if "--port" in words[:-1]:
        return words[words.index("--port") + 1]
    return environment.get("PORT", "").strip() or "8000"


def _command_of(process: str) -> list[str]:
    with open(f"/proc/{process}/cmdline", "rb") as file:  # noqa: PTH123 - as above
        return [word.decode(errors="replace") for word in file.read().split(b"\0") if word]


if __name__ == "__main__":
    sys.exit(main())
