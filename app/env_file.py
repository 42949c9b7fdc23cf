"""What a `.env` has to be like: python-dotenv passes over a line that it cannot read, and so over the setting in it."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from pathlib import Path

from dotenv.parser import Binding, parse_stream

from app.data_folder import is_out_of_reach
from app.errors import SettingsError

_BEGINNING = re.compile(r"(?P<blank>\s*)(?:export\s+)?(?P<word>\w*)")


def env_file(path: Path) -> Path | None:
    """The file, which need not be there; None where its folder may not be entered, so that nobody can have meant it."""
    return None if is_out_of_reach(path) else path


def refuse_unreadable(path: Path, variables: Collection[str]) -> None:
    """Refuse a file with a line that would be passed over; `variables` are the names that may be shown, in upper case.

    Raises:
        SettingsError: which lines, and how they are written; nothing of them but such a name: they may hold a secret.
    """
    if not path.is_file():
        return
    with path.open(encoding="utf-8") as file:
        wrong = list(_unreadable(parse_stream(file), variables))
    if wrong:
        raise SettingsError(
            f"{path} cannot be read in {' and '.join(wrong)}: write NAME=value, and close a quote that was opened"
        )


def _unreadable(bindings: Iterator[Binding], variables: Collection[str]) -> Iterator[str]:
    for binding in bindings:
        if binding.error or ":" in (binding.key or ""):  # NAME:value is read as a name without a value
            beginning = _BEGINNING.match(binding.original.string)
            assert beginning is not None
            line = binding.original.line + beginning["blank"].count("\n")
            name = beginning["word"].upper()
            yield f"line {line} ({name})" if name in variables else f"line {line}"
