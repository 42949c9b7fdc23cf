"""Write openapi.json, or with --check fail when the API is not the committed one any more, showing the difference."""

from __future__ import annotations

import difflib
import json
import sys
from pathlib import Path

from app.main import create_app
from app.settings import Settings

TARGET = Path(__file__).resolve().parent.parent / "openapi.json"
SHOWN_LINES = 200


def described() -> str:
    """The API's description as it is in the code, whatever the environment says."""
    settings = Settings.model_construct(api_keys=(), host="127.0.0.1")
    return json.dumps(create_app(settings).openapi(), indent=1, ensure_ascii=False, sort_keys=True) + "\n"


def difference(committed: str, now: str) -> list[str]:
    """What differs, as lines of a unified diff."""
    lines = difflib.unified_diff(
        committed.splitlines(), now.splitlines(), "openapi.json (committed)", "the code", lineterm="", n=6
    )
    return list(lines)


def main(arguments: list[str]) -> int:
    """Write the file, or compare it; returns the exit code."""
    now = described()
    if "--check" not in arguments:
        TARGET.write_text(now)
        print(f"wrote {TARGET.name}")
        return 0
    changed = difference(TARGET.read_text() if TARGET.exists() else "", now)
    if not changed:
        return 0
    print("\n".join(changed[:SHOWN_LINES]))
    if len(changed) > SHOWN_LINES:
        print(f"… {len(changed) - SHOWN_LINES} more lines")
    print("openapi.json is not what the code says. If the change is meant and breaks no caller: make openapi")
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
