"""Answers out of JSON that is stored in the API's own shape: written once by orjson, not copied through models."""

from __future__ import annotations

from typing import Any

import orjson
from fastapi.responses import Response


class OrjsonResponse(Response):
    """A JSON answer; times are written in UTC with a `Z`."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        """The body."""
        return to_json(content)


def to_json(content: Any) -> bytes:
    """JSON; times are written in UTC with a `Z`."""
    return orjson.dumps(content, option=orjson.OPT_UTC_Z)
