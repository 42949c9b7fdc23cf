"""Files, whole or in parts.

Range ─▶ of bytes that the file has ─▶ 206 │ beyond its end ─▶ 416 │ of a unit or form not understood ─▶ the whole file

The last is RFC 9110, 14.2: as if no parts were asked for.
"""

from __future__ import annotations

from fastapi.responses import FileResponse
from starlette.responses import MalformedRangeHeader, RangeNotSatisfiable

from app.api.problems import ProblemError


class ServedFile(FileResponse):
    """Starlette's answer, but for what it says to parts that cannot be had: a 400, and no problem documents."""

    @classmethod
    def _parse_range_header(cls, http_range: str, file_size: int) -> list[tuple[int, int]]:
        try:
            return super()._parse_range_header(http_range, file_size)
        except MalformedRangeHeader:
            return []  # the whole file
        except RangeNotSatisfiable:
            size = {"Content-Range": f"bytes */{file_size}"}
            raise ProblemError(416, f"the file has {file_size} bytes", headers=size) from None
