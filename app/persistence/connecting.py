"""Connecting to one of the hosts that DATABASE_URL names, in their order, each with the whole of `connect_timeout`.

The driver takes a list of hosts too, but has one time-out for all of them: a first one that is switched off, and so
answers nothing at all, would use it up, which is what further hosts are there for.
"""

from __future__ import annotations

from typing import Any

import asyncpg

NOT_THIS_ONE = (
    OSError,
    TimeoutError,
    asyncpg.CannotConnectNowError,
    asyncpg.TargetServerAttributeNotMatched,
)
"""What another host may do better; a wrong password is wrong everywhere."""


async def connect(
    *args: Any,
    host: list[str] | None = None,
    port: list[int] | int | None = None,
    target_session_attrs: str | None = None,
    **arguments: Any,
) -> Any:
    """As `asyncpg.connect`; gives the first connection to a server that is as `target_session_attrs` wants it.

    Raises:
        Exception: what the last host had to say.
    """
    if host is None or not isinstance(port, list):
        return await asyncpg.connect(
            *args, host=host, port=port, target_session_attrs=target_session_attrs, **arguments
        )
    last: Exception | None = None
    wanted = ("standby", "any") if target_session_attrs == "prefer-standby" else (target_session_attrs,)
    for server, name, number in ((kind, *place) for kind in wanted for place in zip(host, port, strict=True)):
        try:
            return await asyncpg.connect(*args, host=name, port=number, target_session_attrs=server, **arguments)
        except NOT_THIS_ONE as error:
            last = error
    assert last is not None
    raise last
