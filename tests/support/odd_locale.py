"""A locale that sorts unlike bytes, made by the C library's own `localedef`, since few machines have one installed.

As in dictionaries, capitals and umlauts stand with their letters, digits come after them, and punctuation does not
count; it knows which letters are capitals. PostgreSQL's own collations (`C.UTF-8`, `PG_UNICODE_FAST`) sort by bytes.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

LOCALE = "odd_XX.utf8"
ORDER = "aAäÄàbBcCdDeEéfFgGhHiIjJkKlLmMnNoOöÖpPqQrRsSßtTuUüÜvVwWxXyYzZ0123456789"
PUNCTUATION = " -_.,:;!?/\\'\"()[]{}@*&#%+<=>~^$|`"
CHARMAP_LIMIT = 0x2100


def is_possible() -> bool:
    """Whether this machine's C library has the program: glibc's has."""
    return shutil.which("localedef") is not None


@contextmanager
def odd_locale() -> Iterator[None]:
    """Let programs that are started meanwhile know the locale."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)  # the server may run as another user
        (folder / "UTF-8").write_text(_charmap())
        (folder / "odd").write_text(_source())
        command = ["localedef", "-c", "-i", f"{name}/odd", "-f", f"{name}/UTF-8", f"{name}/{LOCALE}"]
        done = subprocess.run(command, capture_output=True, check=False, umask=0o022)  # 1: it warned
        assert (folder / LOCALE / "LC_COLLATE").exists(), done.stderr.decode()
        with patch.dict("os.environ", {"LOCPATH": name}):
            yield


def _charmap() -> str:
    characters = (chr(code) for code in range(CHARMAP_LIMIT))
    lines = (f"{_named(one)} {''.join(f'/x{byte:02x}' for byte in one.encode())} said" for one in characters)
    head = "<code_set_name> UTF-8\n<comment_char> %\n<escape_char> /\n<mb_cur_min> 1\n<mb_cur_max> 6\nCHARMAP\n"
    return head + "\n".join(lines) + "\nEND CHARMAP\n"


def _source() -> str:
    ignored = "\n".join(f"{_named(one)} IGNORE" for one in PUNCTUATION)
    ordered = "\n".join(map(_named, ORDER))
    collate = f"LC_COLLATE\norder_start forward\n{ignored}\n{ordered}\nUNDEFINED\norder_end\nEND LC_COLLATE\n"
    pairs = [(one, one.lower()) for one in ORDER if one.lower() != one and one.lower() in ORDER]
    cases = {
        "upper": ";".join(_named(upper) for upper, _ in pairs),
        "lower": ";".join(_named(lower) for _, lower in pairs),
        "toupper": ";".join(f"({_named(lower)},{_named(upper)})" for upper, lower in pairs),
        "tolower": ";".join(f"({_named(upper)},{_named(lower)})" for upper, lower in pairs),
    }
    letters = "\n".join(f"{name} {value}" for name, value in cases.items())
    return f"comment_char %\nescape_char /\nLC_CTYPE\n{letters}\nEND LC_CTYPE\n{collate}"


def _named(character: str) -> str:
    return f"<U{ord(character):04X}>"
