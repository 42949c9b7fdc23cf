"""Names to addresses, checked before they are handed on; sockets, checked once more when they are made.

    name ─ lookup ─▶ every candidate checked ─▶ aiohttp's connector ─ open_socket(candidate): checked ─▶ connect

The name is resolved once for a connection, and what was checked is what is connected to, so an answer that changes in
between (DNS rebinding) has no effect. One refused candidate refuses the name: a public name with a private address
among its answers is either a mistake or an attack.
"""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from aiohttp.abc import AbstractResolver, ResolveResult

from app.errors import AddressRefused
from app.outbound.addresses import AddressPolicy

Lookup = Callable[[str, int], Awaitable[Sequence[str]]]
"""Name and port to IP addresses; raises OSError when the name cannot be resolved."""


async def system_lookup(host: str, port: int) -> Sequence[str]:
    """Ask the system's resolver, in a thread of the event loop's pool.

    Raises:
        OSError: the name does not exist, or no name server answers.
    """
    loop = asyncio.get_running_loop()
    infos = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)
    return list(dict.fromkeys(str(info[4][0]) for info in infos))


class CheckedResolver(AbstractResolver):
    """aiohttp's resolver: hands on only addresses that the policy allows."""

    def __init__(self, policy: AddressPolicy, lookup: Lookup) -> None:
        self._policy = policy
        self._lookup = lookup

    async def resolve(
        self,
        host: str,
        port: int = 0,
        family: socket.AddressFamily = socket.AF_UNSPEC,  # noqa: ARG002 (aiohttp's signature; never narrowed here)
    ) -> list[ResolveResult]:
        """Every address of `host`.

        Raises:
            AddressRefused: one of them may not be connected to.
            OSError: there is none.
        """
        addresses = await self._lookup(host, port)
        if not addresses:
            raise OSError(errno.EADDRNOTAVAIL, "the name has no address")
        refused = {address: why for address in addresses if (why := self._policy.refusal(address)) is not None}
        for address, why in refused.items():
            raise AddressRefused(
                f"{host} leads to {address}, which is not a public address ({why})", private=tuple(refused)
            )
        return [_result(host, port, address) for address in addresses]

    async def close(self) -> None:
        """Nothing is held open."""


def socket_factory(policy: AddressPolicy) -> Callable[[Any], socket.socket]:
    """The maker of sockets for aiohttp's connector, which gets the very address that will be connected to."""

    def open_socket(addr_info: tuple[Any, ...]) -> socket.socket:
        family, kind, proto, _, peer = addr_info
        why = policy.refusal(str(peer[0]))
        if why is not None:  # an OSError, because the connector's race swallows everything else
            raise PermissionError(errno.EACCES, f"not a public address ({why})")
        return socket.socket(family=family, type=kind, proto=proto)

    return open_socket


def _result(host: str, port: int, address: str) -> ResolveResult:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    flags = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV
    return ResolveResult(hostname=host, host=address, port=port, family=family, proto=socket.IPPROTO_TCP, flags=flags)
