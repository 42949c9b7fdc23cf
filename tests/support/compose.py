"""compose.yaml as Compose reads it, with and without Compose: what a service's environment comes to."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

_EXPRESSION = re.compile(r"(\w+)(?:(:?[-+?])(.*))?", re.DOTALL)


class MissingVariableError(Exception):
    """A variable that is required has no value; holds what the file says then."""


def interpolated(text: str, variables: Mapping[str, str]) -> str:
    """`text` with its `${…}` replaced.

    As Compose does it (compose-go, `template.Substitute`), what is nested is evaluated first, also where it is not
    needed: a `:?` in the default of a variable that is set is an error all the same.

    Raises:
        MissingVariableError: a variable that is required is not set.
    """
    done, at = "", 0
    while at < len(text):
        if text.startswith("$$", at):
            done, at = done + "$", at + 2
        elif text.startswith("${", at):
            end = _closing(text, at)
            done, at = done + _expanded(text[at + 2 : end], variables), end + 1
        else:
            done, at = done + text[at], at + 1
    return done


def _closing(text: str, at: int) -> int:
    depth = 0
    for found in re.compile(r"\$\{|\}").finditer(text, at):
        depth += 1 if found[0] == "${" else -1
        if depth == 0:
            return found.start()
    raise AssertionError(f"unclosed: {text[at:]}")


def _expanded(expression: str, variables: Mapping[str, str]) -> str:
    parts = _EXPRESSION.fullmatch(expression)
    assert parts is not None, expression
    name, kind, word = parts[1], parts[2] or "-", interpolated(parts[3] or "", variables)
    value = variables.get(name)
    given = bool(value) if kind.startswith(":") else value is not None
    if kind.endswith("+"):
        return word if given else ""
    if kind.endswith("?") and not given:
        raise MissingVariableError(f"{name}: {word}")
    return (value or "") if given else word


def environments(compose: Path, variables: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """The environment of each service's containers, by the service's name, with these variables in `.env`.

    Raises:
        MissingVariableError: a variable that is required is not set.
    """
    read = _every_text(yaml.safe_load(compose.read_text()), variables)
    return {name: _environment(compose.parent, service, variables) for name, service in read["services"].items()}


def _every_text(value: Any, variables: Mapping[str, str]) -> Any:
    if isinstance(value, dict):
        return {key: _every_text(inner, variables) for key, inner in value.items()}
    if isinstance(value, list):
        return [_every_text(inner, variables) for inner in value]
    return interpolated(value, variables) if isinstance(value, str) else value


def _environment(folder: Path, service: Mapping[str, Any], variables: Mapping[str, str]) -> dict[str, str]:
    """Of several env files the later one counts, and `environment` before all."""
    given: dict[str, str] = {}
    for file in service.get("env_file", ()):
        named = file if isinstance(file, dict) else {"path": file}
        if named["path"] == ".env":
            given |= variables
        elif named.get("required", True) or (folder / named["path"]).exists():
            given |= _env_file(folder / named["path"], variables)
    given |= service.get("environment", {})
    return given


def _env_file(file: Path, variables: Mapping[str, str]) -> dict[str, str]:
    lines = [line for line in file.read_text().splitlines() if line and not line.startswith("#")]
    return {name: interpolated(value, variables) for name, _, value in (line.partition("=") for line in lines)}


def has_compose() -> bool:
    """Whether Docker Compose is installed; it needs no engine to read its file."""
    if shutil.which("docker") is None:
        return False
    return subprocess.run(["docker", "compose", "version"], capture_output=True, check=False).returncode == 0


def shown_by_compose(folder: Path) -> dict[str, dict[str, str]]:
    """What `environments` says, by Compose itself: of the services that start without a profile."""
    shown = subprocess.run(
        ["docker", "compose", "config", "--format", "json", "--no-path-resolution"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert shown.returncode == 0, shown.stderr
    services = json.loads(shown.stdout)["services"]
    return {name: service.get("environment") or {} for name, service in services.items()}
