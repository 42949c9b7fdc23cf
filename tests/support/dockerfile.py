"""Reads a Dockerfile: stages, and in each its instructions in order, with variables filled in.

As far as ours goes: shell and JSON forms, ARG, ENV, continuation lines, comments. What it does not know is an error, so
that a new kind of instruction is not passed over.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

KNOWN = {"FROM", "ARG", "ENV", "WORKDIR", "COPY", "RUN", "USER", "VOLUME", "EXPOSE", "HEALTHCHECK", "CMD"}
VARIABLE = re.compile(r"\$\{(\w+)\}|\$(\w+)")


@dataclass(frozen=True)
class Instruction:
    """One instruction; `value` is what stands after its name, as it is written."""

    name: str
    value: str

    def words(self, variables: Mapping[str, str]) -> list[str]:
        """The value's words with variables filled in."""
        return shlex.split(fill(self.value, variables))

    def command(self) -> list[str]:
        """The JSON form's words, or the shell that the other form means."""
        text = self.value.partition("CMD ")[2] if self.name == "HEALTHCHECK" else self.value
        if text.startswith("["):
            words: list[str] = json.loads(text)
            return words
        return ["/bin/sh", "-c", text]


@dataclass
class Stage:
    """One FROM and what follows it."""

    base: str
    name: str | None
    steps: list[Instruction] = field(default_factory=list)

    def last(self, name: str) -> Instruction:
        """The instruction of which only the last one counts."""
        return next(step for step in reversed(self.steps) if step.name == name)


def read_dockerfile(path: Path) -> list[Stage]:
    """The stages in order."""
    stages: list[Stage] = []
    arguments: dict[str, str] = {}
    for instruction in _instructions(path.read_text(encoding="utf-8")):
        if instruction.name == "FROM":
            base, _, name = fill(instruction.value, arguments).partition(" AS ")
            stages.append(Stage(base, name or None))
        elif not stages:
            assert instruction.name == "ARG", instruction
            name, _, value = instruction.value.partition("=")
            arguments[name] = value
        else:
            stages[-1].steps.append(instruction)
    return stages


def fill(text: str, variables: Mapping[str, str]) -> str:
    """`$NAME` and `${NAME}` replaced; an unknown one is an error."""
    return VARIABLE.sub(lambda found: variables[found[1] or found[2]], text)


def _instructions(text: str) -> list[Instruction]:
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    joined = re.sub(r"\s*\\\n\s*", " ", "\n".join(lines))
    found = [Instruction(*line.strip().split(maxsplit=1)) for line in joined.splitlines()]
    assert {instruction.name for instruction in found} <= KNOWN, found
    return found
