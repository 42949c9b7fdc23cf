"""The programs of `up`, each a process of its own: the sample feed, the API, and as many workers as pay.

They are given their surroundings as environment variables, as any process manager would, and what they say goes to
`DATA_DIR/logs`, so that the progress display stays readable.
"""

from __future__ import annotations

import errno
import json
import os
import socket
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from app.cli.embedded.server import free_port
from app.cli.rotated_log import RotatedLog
from app.cli.supervisor import Supervisor
from app.cli.up_file import UpError
from app.data_folder import make_data_folder, open_anew
from app.jobs.definitions import StageName
from app.samplefeed.spec import PROFILE_GUID
from app.settings import Settings

LOOPBACK = "127.0.0.0/8"
BACKLOG = 4096
"""Connections that wait to be taken: what finds no place there is lost for a second, until the caller's system repeats
it. The system has a limit of its own (net.core.somaxconn)."""
_ANY_ADDRESS = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - shown as what a browser can open
_FEED_PORT = "sample-feed.json"


@dataclass(frozen=True)
class Feed:
    """The feed that is synced: the user's own, or (`port` not None) the sample feed."""

    base_url: str
    port: int | None


def find_feed(settings: Settings) -> Feed:
    """The user's feed, or the sample feed at the port that it had the last time, where that is free.

    The addresses of documents and pictures hold the port: another one would look like a feed that changed everywhere.
    """
    if settings.promidata_base_url is not None:
        return Feed(settings.base_url, None)
    note = settings.data_dir / _FEED_PORT
    port = _noted_port(note)
    if port is None or not is_free("127.0.0.1", port):
        port = free_port()
        with os.fdopen(open_anew(note), "w") as file:
            json.dump({"port": port}, file)
    return Feed(f"http://127.0.0.1:{port}/Profiles/Live/{PROFILE_GUID}", port)


def _noted_port(note: Path) -> int | None:
    try:
        return int(json.loads(note.read_text())["port"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def is_free(host: str, port: int) -> bool:
    """Whether a server could listen there now."""
    try:
        listener(host, port).close()
    except OSError:
        return False
    return True


def http_address(host: str, port: int | str) -> str:
    """What a browser on this machine can open when something listens there.

    >>> http_address("0.0.0.0", 8000), http_address("::1", 8000)
    ('http://127.0.0.1:8000', 'http://[::1]:8000')
    """
    shown = _ANY_ADDRESS.get(host, host)
    return f"http://[{shown}]:{port}" if ":" in shown else f"http://{shown}:{port}"


def listener(host: str, port: int) -> socket.socket:
    """A listening socket; port 0 picks a free one.

    Raises:
        OSError: the port is taken, or the address is not ours, or none at all.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        host.encode("idna")  # create_server would leave a socket open behind a name that cannot be encoded
    except UnicodeError:
        raise OSError(errno.EADDRNOTAVAIL, "no name of a host") from None
    return socket.create_server((host, port), family=family, backlog=BACKLOG)


def cannot_listen(host: str, port: int, error: OSError, instead: str) -> UpError:
    """What is said of it, the address once: `socket.create_server` adds it to the system's words."""
    why = (error.strerror or str(error)).partition(" (while ")[0]
    where = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    return UpError(f"cannot listen on {where} ({why}): {instead}")


def listen_for_api(settings: Settings, port: int | None) -> socket.socket:
    """The socket that the API gets: on the port asked for; on a free one for 0, or when nobody asked and it is taken.

    `up` holds it to its end: nobody else can take the port, and callers wait while the API is being started again.

    Raises:
        UpError: the port that was asked for is taken.
    """
    wanted = settings.port if port is None else port
    asked = port is not None or "port" in settings.model_fields_set
    try:
        return listener(settings.host, wanted)
    except OSError as error:
        if not asked:
            return listen_for_api(settings, 0)
        raise cannot_listen(
            settings.host, wanted, error, "choose another with --port N, or --port 0 for any"
        ) from error


def environment(settings: Settings, *, port: int, database_url: str, redis_url: str, feed: Feed) -> dict[str, str]:
    """What the programs find in their environment beside everything that is in ours."""
    private = [str(network) for network in settings.allow_private_addresses]
    return {
        "DATABASE_URL": database_url,
        "REDIS_URL": redis_url,
        "REDIS_PREFIX": settings.redis_prefix,
        "PROMIDATA_BASE_URL": feed.base_url,
        "ALLOW_PRIVATE_ADDRESSES": ",".join(private if feed.port is None else [*private, LOOPBACK]),
        "DATA_DIR": str(settings.data_dir),
        "HOST": settings.host,
        "PORT": str(port),
    }


def worker_programs(counts: Mapping[StageName, int]) -> dict[str, StageName]:
    """The kind of each worker to start, by its program's name.

    >>> worker_programs({"family": 1, "image": 2})
    {'worker-family': 'family', 'worker-image': 'image', 'worker-image-2': 'image'}
    """
    return {
        f"worker-{kind}" if number == 1 else f"worker-{kind}-{number}": kind
        for kind, count in counts.items()
        for number in range(1, count + 1)
    }


def add_programs(
    supervisor: Supervisor,
    given: Mapping[str, str],
    feed: Feed,
    door: socket.socket,
    workers: Mapping[str, StageName],
) -> Path:
    """Name everything that `up` keeps running, the API behind `door`; returns the folder of their logs."""
    logs = Path(given["DATA_DIR"]) / "logs"
    make_data_folder(logs)
    logs.chmod(0o700)
    env = {**os.environ, **given}

    def add(name: str, *arguments: str, descriptors: Sequence[int] = ()) -> None:
        # -P: a folder `app` where the command was started is not ours.
        argv = [sys.executable, "-P", "-m", *arguments]
        supervisor.add(name, argv, env, descriptors=descriptors, log=RotatedLog(logs / f"{name}.log"))

    if feed.port is not None:
        add("sample-feed", "app.cli.feed_serve", "--logged", "--port", str(feed.port))
    add("api", "app.cli.main", "api", "--descriptor", str(door.fileno()), descriptors=[door.fileno()])
    for name, kind in workers.items():
        add(name, "app.cli.main", "worker", kind)
    return logs
