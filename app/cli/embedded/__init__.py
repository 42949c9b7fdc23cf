"""Real PostgreSQL and real Valkey out of wheels, for `up` and for the tests.

    data folder ─▶ home.py      which folder and which user the server gets; lock; password
                ─▶ postgres.py  initdb once, atomically; settings
                   valkey.py    configuration file
                ─▶ server.py    start on a free port, wait until it answers, stop; ends with its parent

See docs/decisions/0003-embedded-servers.md.
"""

from app.cli.embedded.home import EmbeddedServerError
from app.cli.embedded.postgres import start_postgres
from app.cli.embedded.server import EmbeddedServer
from app.cli.embedded.valkey import start_valkey

__all__ = ["EmbeddedServer", "EmbeddedServerError", "start_postgres", "start_valkey"]
