"""A collector of traces that takes everything and keeps nothing, as a process: what it uses is nobody's measurement."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from app.cli.die_with_parent import wrap


class _Collector(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        """An export."""
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  the library's
        """Say nothing."""


@contextmanager
def collecting() -> Iterator[str]:
    """Its address."""
    command = wrap([sys.executable, "-m", "bench.collector"], signum=signal.SIGKILL)
    with subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        yield process.stdout.readline().decode().strip()
        process.kill()


def main() -> None:
    """Say where it is, and collect until it is killed."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Collector)
    print(f"http://127.0.0.1:{server.server_address[1]}", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
