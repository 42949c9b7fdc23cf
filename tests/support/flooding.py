"""Holds many connections to a server and says nothing sensible on any: a program of its own, so that its load is not
the test's.

    flooding.py PORT COUNT    prints how many it opened, goes on until its input ends
"""

from __future__ import annotations

import select
import socket
import sys
import time
from contextlib import suppress

OPENINGS = (
    b"",
    b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Half",
    b"POST /api/v1/sync HTTP/1.1\r\nContent-Length: 99\r\n\r\n{",
)
PAUSE_S = 0.002
"""After each: what is opened faster than it can be taken waits in the system's queue, and says nothing about us."""
ENDLESS = b"GET / HTTP/1.1\r\n" + b"k" * 4096


def main(port: int, count: int) -> None:
    """Open them, then go on with those whose header never ends."""
    held = [found for number in range(count) if (found := _open(port, number)) is not None]
    print(len(held), flush=True)  # noqa: T201 - what the test waits for
    while not select.select([sys.stdin], [], [], 0.2)[0]:
        for connection in held[:: len(OPENINGS) + 1]:
            with suppress(OSError):
                connection.send(b"k" * 4096)


def _open(port: int, number: int) -> socket.socket | None:
    time.sleep(PAUSE_S)
    try:
        connection = socket.create_connection(("127.0.0.1", port), timeout=10)
        connection.setblocking(False)
        connection.send((ENDLESS, *OPENINGS)[number % (len(OPENINGS) + 1)])
    except OSError:
        return None
    return connection


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
