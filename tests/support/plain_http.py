"""An HTTP client for addresses of this machine, none of which speaks TLS.

A client reads the system's certificates when it is made, which takes 50 ms of a processor; tests make hundreds.
"""

from __future__ import annotations

from typing import Any

import httpx


def plain_client(**options: Any) -> httpx.AsyncClient:
    """`httpx.AsyncClient` with these options, and without certificates."""
    return httpx.AsyncClient(verify=False, trust_env=False, **options)
