"""One session with PostgreSQL: what is set in it, and at which cost.

What holds in a transaction goes out together with its BEGIN and costs no round trip. Straight to PostgreSQL the
session has the time-outs and `synchronous_commit=off` for good, and a durable transaction takes the server's own value
back. Behind a transaction pooler the session is another one after each COMMIT, and other clients get it: everything is
set for the transaction alone, and no statement stays prepared (docs/decisions/0010).
"""

from __future__ import annotations

import asyncio
import select
import shlex
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import asyncpg

from app.persistence.beginning import Beginning
from app.persistence.builtin_types import NOTHING_SENT, known_types
from app.persistence.committing import Behind, Committing
from app.persistence.connecting import connect
from app.persistence.database_address import DatabaseAddress

STATEMENT_TIMEOUT_S = 30
TIME_OUTS = {
    "idle_in_transaction_session_timeout": "5s",
    "lock_timeout": "5s",
    "statement_timeout": f"{STATEMENT_TIMEOUT_S}s",
}
READ_COMMITTED = {"default_transaction_isolation": "read committed"}
"""What our rules are written for, whatever the server or the role has; a block that reads sets its own."""
BEGINS_READ_COMMITTED = "SET TRANSACTION ISOLATION LEVEL READ COMMITTED;"
"""The same for one transaction, before anything else in it."""
NO_TIME_OUTS = dict.fromkeys(TIME_OUTS, "0")
LOCK_TIMEOUT = {"lock_timeout": "2s"}
"""Of a migration: the most that anybody waits behind a change that does not get its table."""
COMMAND_TIMEOUT_S = 35
ENDINGS = frozenset({"COMMIT;", "ROLLBACK;"})
"""As asyncpg writes them."""
MIGRATES = " migrate"
"""Ends the name of a migration's sessions, so that those who look at the server, and `blocking.py`, know them."""
MOST_OF_A_NAME = 63 - len(MIGRATES)
"""Characters of what stands before it: PostgreSQL shows 63 bytes."""
UNNAMED = ""
"""The statement that lives until the next one; the driver sends it again with its parameters when it keeps none."""


class Session(asyncpg.Connection):  # type: ignore[misc]
    """asyncpg's connection, whose transactions begin with what is to hold in them."""

    opening = ""
    committed = False
    """Whether COMMIT went out with a statement of the transaction, so that nothing else may."""

    def has_unread(self) -> bool:
        """Whether something came that the loop has not read; to who asks nothing a server says that it ends."""
        socket = None if self.is_closed() else self._transport.get_extra_info("socket")
        if socket is None:
            return False
        arrived = select.poll()  # not select.select, which takes no descriptor above 1023
        arrived.register(socket.fileno(), select.POLLIN)
        return bool(arrived.poll(0))

    async def execute(self, query: str, *args: Any, timeout: float | None = None) -> Any:  # noqa: ASYNC109
        """As asyncpg's; a transaction that was not set up as a whole, or not ended, ends the session."""
        if not query.startswith("BEGIN") and query not in ENDINGS:
            return await super().execute(query, *args, timeout=timeout)
        begins = query not in ENDINGS
        try:
            return await super().execute(query + self.opening if begins else query, timeout=timeout)
        except Exception:
            if begins or self._protocol.is_in_transaction():  # as after a cancellation that came late and hit it
                self.terminate()
            raise

    async def _introspect_types(self, typeoids: Collection[int], timeout: float | None) -> Any:  # noqa: ASYNC109
        """As asyncpg's, which asks the server for each array type anew on each connection, 15 ms of its CPU.

        Should a later driver not call this, it asks again, and a test says so.
        """
        known = known_types(typeoids)
        if known is not None:
            return known, NOTHING_SENT
        return await super()._introspect_types(typeoids, timeout)


class PipeliningSession(Session):
    """The same straight to PostgreSQL, whose BEGIN goes out with the statement that follows, and COMMIT behind one."""

    _beginning: Beginning | None = None

    async def execute(self, query: str, *args: Any, timeout: float | None = None) -> Any:  # noqa: ASYNC109
        """As asyncpg's; BEGIN is only sent, and where the server refuses it the session ends."""
        if query.startswith("BEGIN") and not self.is_closed():
            await self._protocol._wait_for_cancellation(COMMAND_TIMEOUT_S)  # noqa: SLF001  or its answers were BEGIN's
            if not self.is_closed():  # as a statement that could not be cancelled leaves it
                self._beginning = Beginning(self._transport, self._protocol, query + self.opening)
                return ""
        if self.committed and query in ENDINGS:
            return await self._end_committed(query)
        await self._settle()
        return await super().execute(query, *args, timeout=timeout)

    async def fetch_and_commit(self, query: str, values: Sequence[Any], record_class: type) -> Any:
        """As `fetch`, with COMMIT right behind it where the statement is prepared; `committed` says whether it went.

        What is returned then is committed. What the server refuses is not; where the connection broke, the statement
        was given up or its answer cannot be read, that is not known.
        """
        sent: int = self._protocol.queries_count

        def commit() -> None:
            if self._protocol.queries_count == sent + 1:  # else it is being prepared, and a COMMIT would come before it
                self.committed = True
                committing = Committing(self._transport, self._protocol)
                if self._beginning is None or self._beginning.over:
                    self._transport.set_protocol(committing)
                else:
                    self._beginning.put_behind(committing)

        return await Behind(self.fetch(query, *values, record_class=record_class), commit)

    async def _end_committed(self, query: str) -> str:
        """Tell asyncpg that the transaction is over, which the server knows."""
        self.committed = False
        if query == "COMMIT;":
            return "COMMIT"
        try:  # asyncpg hears from any statement that it is in none; of a ROLLBACK there the server's log would warn
            await super().execute("SELECT")
        except Exception:
            self.terminate()
            raise
        return "ROLLBACK"

    async def _executemany(self, *args: Any, **given: Any) -> Any:
        """As asyncpg's, which rolls back by itself where it has not been told yet that it is in a transaction."""
        if self._beginning is not None and not self._beginning.over:
            await self.fetchval("SELECT 1")
        return await super()._executemany(*args, **given)

    async def _settle(self) -> None:
        if self._beginning is None or self._beginning.over or self.is_closed():
            return
        try:
            async with asyncio.timeout(COMMAND_TIMEOUT_S):
                await self._protocol._wait_for_cancellation(COMMAND_TIMEOUT_S)  # noqa: SLF001
                if not self._beginning.over and not self.is_closed():
                    await self._beginning.settle()
        except BaseException:
            self.terminate()
            raise


@dataclass(frozen=True, slots=True)
class Openings:
    """What follows BEGIN in each kind of transaction."""

    durable: str
    quick: str
    read: str


def openings(address: DatabaseAddress, *, pooler: bool) -> Openings:
    """What follows BEGIN, straight to PostgreSQL or behind a transaction pooler."""
    if not pooler:
        return Openings(durable="SET LOCAL synchronous_commit TO DEFAULT;", quick="", read="")
    users = _set_as_wanted(address.server_settings.get("options", ""))
    bounded = users + _set_local(TIME_OUTS)
    return Openings(
        durable=BEGINS_READ_COMMITTED + bounded,
        quick=BEGINS_READ_COMMITTED + bounded + _set_local({"synchronous_commit": "off"}),
        read=bounded,
    )


def connect_arguments(address: DatabaseAddress, *, pooler: bool) -> dict[str, Any]:
    """What SQLAlchemy hands to the driver; a pooler takes no parameter at the start but the application's name."""
    arguments = {
        **address.arguments,
        "command_timeout": COMMAND_TIMEOUT_S,
        "connection_class": Session if pooler else PipeliningSession,
        "server_settings": {"application_name": address.application_name},
    }
    if pooler:
        routing = read_options(address.server_settings.get("options", ""))[1]
        arguments["server_settings"] |= {"options": routing} if routing else {}
        nothing_kept = {"statement_cache_size": 0, "prepared_statement_cache_size": 0}
        return {
            **arguments,
            **nothing_kept,
            "prepared_statement_name_func": lambda: UNNAMED,
            "async_creator_fn": connect,
        }
    # those that stand beside `options` win over what is in it
    arguments["server_settings"] |= {**address.server_settings, **TIME_OUTS, **READ_COMMITTED}
    return {**arguments, "async_creator_fn": _connect_quick}


def migration_arguments(address: DatabaseAddress, *, pooler: bool) -> dict[str, Any]:
    """The same for a migration: it takes as long as it needs, but waits for a lock for a short time only.

    In no transaction, as `CREATE INDEX CONCURRENTLY` runs, nothing queues behind the wait for a lock; so there it has
    none of these limits either.
    """
    wanted = BEGINS_READ_COMMITTED + _set_as_wanted(address.server_settings.get("options", "")) if pooler else ""
    session = type("MigrationSession", (Session,), {"opening": wanted + _set_local(NO_TIME_OUTS | LOCK_TIMEOUT)})
    arguments = connect_arguments(address, pooler=pooler) | {"connection_class": session, "command_timeout": None}
    arguments["async_creator_fn"] = connect
    arguments["server_settings"]["application_name"] = address.application_name[:MOST_OF_A_NAME] + MIGRATES
    if not pooler:
        arguments["server_settings"] |= NO_TIME_OUTS
    return arguments


async def _connect_quick(*args: Any, **arguments: Any) -> Session:
    """Connect, and let what commits by itself not wait for the disk.

    Not a parameter of the start, since that would be what DEFAULT means from then on.
    """
    session: Session = await connect(*args, **arguments)
    try:
        await session.execute("SET synchronous_commit TO off")
    except BaseException:
        session.terminate()
        raise
    return session


def _set_local(settings: Mapping[str, str]) -> str:
    return "".join(f"SET LOCAL {name} TO '{value}';" for name, value in settings.items())


def _set_as_wanted(options: str) -> str:
    calls = [f"set_config({_quoted(name)}, {_quoted(value)}, true)" for name, value in read_options(options)[0].items()]
    return f"SELECT {', '.join(calls)};" if calls else ""


def read_options(options: str) -> tuple[dict[str, str], str]:
    """What the parameter `options` sets, read as a server reads its command line, and what is left of it.

    `-c name=value` and `--name=value` set; what is left, such as a host's `endpoint=…`, is meant for who routes us.
    """
    words = shlex.shlex(options, posix=True)
    words.whitespace_split, words.quotes, words.commenters = True, "", ""
    settings, others = {}, []
    for word in words:
        if word == "-c":
            word = f"-c{next(words, '')}"  # noqa: PLW2901  the two are one
        name, _, value = word[2:].partition("=")
        if word.startswith(("-c", "--")):
            settings[name.replace("-", "_")] = value
        else:
            others.append(word)
    return settings, " ".join(others)


def _quoted(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace("'", "''")
    return f"E'{escaped}'"
