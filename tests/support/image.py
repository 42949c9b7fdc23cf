"""Builds and runs an image without an engine: each step of the Dockerfile in a mount namespace of its own.

    base = this machine's file system, the running Python as `python`    (it stands in for python:3.x-slim)
    a stage = an overlay over the base; RUN is chrooted into it, COPY comes from the build context or another stage
    a container = base and layer read-only, /tmp and /data writable, a process namespace of its own, the image's user

The clone and its environment are hidden in all of them, so that nothing comes from there but through COPY. Needs root,
`unshare`, `nsenter` and `setpriv` (util-linux), and overlayfs. The network is the machine's.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from pathspec import PathSpec

from tests.support.dockerfile import Stage, fill

PYTHON = Path(sys.base_prefix) / "bin" / f"python3.{sys.version_info.minor}"
PATH = f"{PYTHON.parent}:/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin"
UNSHARED = ["unshare", "--mount", "--pid", "--fork", "--kill-child"]
MOUNTED = """
set -eu
mount -t overlay overlay -o "$LAYERS" "$ROOT"
mount -t proc proc "$ROOT/proc"
mount --rbind /dev "$ROOT/dev"
mount -t tmpfs -o mode=1777 tmpfs "$ROOT/tmp"
mount -t tmpfs tmpfs "$ROOT$HIDDEN"
"""
AS_USER = ["--clear-groups", "--inh-caps=-all", "--bounding-set=-all", "--no-new-privs"]


class Context:
    """The build context: the clone's files as far as .dockerignore lets them through."""

    def __init__(self, clone: Path) -> None:
        lines = (clone / ".dockerignore").read_text(encoding="utf-8").splitlines()
        self._clone = clone
        self._ignored = PathSpec.from_lines("gitignore", lines)

    def holds(self, name: str) -> bool:
        """Whether a file gets into the context."""
        return not self._ignored.match_file(name)

    def copy(self, name: str, target: Path) -> None:
        """COPY of one source, a file or a folder's contents, to `target`."""
        source = self._clone / name
        files = [source] if source.is_file() else [file for file in source.rglob("*") if file.is_file()]
        held = [file for file in files if self.holds(str(file.relative_to(self._clone)))]
        assert held, f"COPY {name}: nothing of it is in the build context"
        for file in held:
            to = target if source.is_file() else target / file.relative_to(source)
            to.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(file, to)


@dataclass
class Built:
    """A stage that was built: its layer, and what a process in it gets."""

    layer: Path
    environment: dict[str, str] = field(default_factory=lambda: {"PATH": PATH})
    folder: str = "/"
    user: str = "0:0"
    volumes: list[str] = field(default_factory=list)


class Builder:
    """Builds stages below `folder`, which must be in memory or on a plain disk."""

    def __init__(self, clone: Path, folder: Path) -> None:
        self._clone, self._folder = clone, folder
        self._context = Context(clone)
        self._built: dict[str, Built] = {}

    def build(self, stage: Stage) -> Built:
        """Run a stage's steps in their order."""
        layer = self._folder / f"layer-{len(self._built)}"
        built = Built(layer)
        self._lay_base(layer)
        for step in stage.steps:
            getattr(self, f"_{step.name.lower()}", lambda *_: None)(built, step.value)
        self._built[stage.name or "final"] = built
        return built

    def _lay_base(self, layer: Path) -> None:
        """What the base image has and this machine may lack: `python`, and that anybody may run it."""
        layer.mkdir()
        for folder in reversed(PYTHON.parents[:-1]):
            (layer / folder.relative_to("/")).mkdir()
        if not PYTHON.with_name("python").exists():
            (layer / PYTHON.parent.relative_to("/") / "python").symlink_to(PYTHON.name)

    def _env(self, built: Built, value: str) -> None:
        for word in shlex.split(value):
            name, _, text = word.partition("=")
            built.environment[name] = fill(text, built.environment)

    def _workdir(self, built: Built, value: str) -> None:
        built.folder = value
        (built.layer / value.lstrip("/")).mkdir(parents=True, exist_ok=True)

    def _user(self, built: Built, value: str) -> None:
        built.user = value

    def _volume(self, built: Built, value: str) -> None:
        built.volumes.append(value)

    def _copy(self, built: Built, value: str) -> None:
        *sources, target = shlex.split(value)
        place = built.layer / str(Path(built.folder) / target).lstrip("/")
        if sources[0].startswith("--from="):
            origin = self._built[sources.pop(0).removeprefix("--from=")].layer
            for source in sources:
                shutil.copytree(origin / source.lstrip("/"), place, symlinks=True, dirs_exist_ok=True)
            return
        for source in sources:
            is_inside = target.endswith("/")
            self._context.copy(source, place / source if is_inside else place)

    def _run(self, built: Built, value: str) -> None:
        ended = subprocess.run(
            [*UNSHARED, "sh", "-c", MOUNTED + _chrooted(built, "0:0", ["/bin/sh", "-c", value])],
            env=self._namespace(f"lowerdir=/,upperdir={built.layer},workdir={self._made('work')}")
            | {name: text for name, text in os.environ.items() if name.startswith("PIP_")},
            capture_output=True,
            text=True,
            check=False,
        )
        assert ended.returncode == 0, f"RUN {value}\n{ended.stdout[-2000:]}\n{ended.stderr[-4000:]}"

    def start(
        self, built: Built, command: Sequence[str], environment: Mapping[str, str], *, data: Path, log: Path
    ) -> Container:
        """A container: read-only but for /tmp and the volume, whose contents are in `data`."""
        (volume,) = built.volumes
        shown = {**built.environment, **environment}
        script = MOUNTED + f'mount --bind "{data}" "$ROOT{volume}"\n' + _chrooted(built, built.user, command, shown)
        with log.open("wb") as output:
            process = subprocess.Popen(
                [*UNSHARED, "sh", "-c", script],
                env=self._namespace(f"lowerdir={built.layer}:/"),
                stdout=output,
                stderr=output,
            )
        return Container(built, process, log, shown)

    def _namespace(self, layers: str) -> dict[str, str]:
        return {"PATH": PATH, "LAYERS": layers, "ROOT": str(self._made("root")), "HIDDEN": str(self._clone)}

    def _made(self, name: str) -> Path:
        folder = self._folder / name
        folder.mkdir(exist_ok=True)
        return folder


FORKED_WITHIN_S = 30.0


@dataclass
class Container:
    """A process of the image; process 1 of a namespace of its own."""

    built: Built
    process: subprocess.Popen[bytes]
    log: Path
    environment: Mapping[str, str]

    def said(self) -> str:
        """Both of its streams."""
        return self.log.read_text(errors="replace")

    def run(self, command: Sequence[str]) -> subprocess.CompletedProcess[str]:
        """A second process in it, as `docker exec` and a health check start one."""
        inside = ["nsenter", "--target", str(self._inner().pid), "--mount", "--pid", "--root", "--wd"]
        return subprocess.run(
            [*inside, *_as_user(self.built.user, command, self.environment)],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def stop(self, timeout_s: float = 15.0) -> int:
        """SIGTERM to process 1; its exit code."""
        if self.process.poll() is None:
            self._inner().terminate()
        return self.process.wait(timeout_s)

    def kill(self) -> None:
        """End it at once, if it still runs."""
        self.process.kill()
        self.process.wait(10)

    def _inner(self) -> psutil.Process:
        """Process 1, which `unshare` forks a moment after it was started itself."""
        give_up_at = time.monotonic() + FORKED_WITHIN_S
        while self.process.poll() is None and time.monotonic() < give_up_at:
            if children := psutil.Process(self.process.pid).children():
                return children[0]
            time.sleep(0.02)
        raise AssertionError(f"no process 1, exit code {self.process.poll()}: {self.said()[-2000:]}")


def _chrooted(built: Built, user: str, command: Sequence[str], environment: Mapping[str, str] | None = None) -> str:
    shown = built.environment if environment is None else environment
    changed = f"cd {shlex.quote(built.folder)} && exec " + shlex.join(_as_user(user, command, shown))
    return f'exec chroot "$ROOT" /bin/sh -c {shlex.quote(changed)}\n'


def _as_user(user: str, command: Sequence[str], environment: Mapping[str, str]) -> list[str]:
    uid, _, gid = user.partition(":")
    as_user = [] if uid == "0" else ["setpriv", f"--reuid={uid}", f"--regid={gid}", *AS_USER]
    cleared = ["env", "-i"] if uid != "0" else ["env"]
    return [*as_user, *cleared, *(f"{name}={text}" for name, text in environment.items()), *command]
