"""DATABASE_URL, as hosts hand it out, turned into what the driver is to be given.

    postgresql://user:password@host:port,host:port/database?parameter=value&…

Read as libpq reads it (https://www.postgresql.org/docs/18/libpq-connect.html#LIBPQ-CONNSTRING): every part may be left
out, several hosts are tried in their order, a folder in place of a host holds a Unix socket, and a parameter wins over
what stands before the `?`. Unlike libpq, a password may hold an `@`. What is left out is the driver's to find: in
PGHOST, PGUSER and the like, `~/.pgpass`, or it is the user who runs us.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from app.errors import SettingsError
from app.persistence.database_parameters import DONE, ENCODE, PASSED_OVER, choice, flag, read_parameters
from app.persistence.database_tls import tls_arguments
from app.settings import Settings

DIALECT = "postgresql+asyncpg://"
"""What SQLAlchemy is given; everything else goes to the driver as arguments, so that no secret stands in an address."""
SCHEMES = ("postgresql", "postgres", "postgresql+asyncpg")
APPLICATION_NAME = "promidata-sync"
CONNECT_TIMEOUT_S = 10.0
SESSIONS = ("any", "read-write", "read-only", "primary", "standby", "prefer-standby")
_DEFAULT_PORT = 5432
_PARAMETER = re.compile(r"\?(\w+)=")


@dataclass(frozen=True, slots=True)
class DatabaseAddress:
    """Where PostgreSQL is and how to get in."""

    shown: str
    """Hosts, ports and database, without user and password."""
    arguments: Mapping[str, Any]
    """Of `asyncpg.connect`; without `server_settings`."""
    server_settings: Mapping[str, str]
    """What the user wants to be set on the server: `options`, as it stands. Ours, given beside it, win over it."""
    application_name: str
    transaction_pooler: bool
    """Whether `pgbouncer=true` is there, Prisma's word for a pooler in transaction mode."""
    passed_over: tuple[str, ...]
    """The names of the parameters that change nothing here."""


def database_url(settings: Settings) -> str:
    """DATABASE_URL.

    Raises:
        SettingsError: it is missing.
    """
    if settings.database_url is None:
        raise SettingsError(
            "DATABASE_URL is not set: set it to a PostgreSQL database, "
            "or start everything with `promidata-sync up` on this DATA_DIR"
        )
    return settings.database_url.get_secret_value()


def read_address(url: str) -> DatabaseAddress:
    """Read DATABASE_URL.

    Raises:
        SettingsError: it makes no sense; one line, without user, password or any value.
    """
    before, query = _split(url)
    given = _before(before) | read_parameters(query)
    hosts, ports = _hosts(given)
    place = {"host": hosts, "port": ports} if hosts else {"port": ports[0]} if ports else {}
    account = {"user": given.get("user"), "password": given.get("password"), "database": given.get("dbname")}
    others = {name: given.get(name) for name in ("passfile", "service", "servicefile")}
    session = choice(given, "target_session_attrs", SESSIONS)
    arguments = {**place, **account, **others, "target_session_attrs": session}
    if given.get("service"):
        arguments["dsn"] = "postgresql://"  # the driver looks into the service file only beside an address
    return DatabaseAddress(
        shown=_shown(hosts, ports, given),
        arguments={name: value for name, value in arguments.items() if value}
        | tls_arguments(given)
        | {"timeout": _timeout_s(given)},
        server_settings={"options": given["options"]} if given.get("options") else {},
        application_name=given.get("application_name") or given.get("fallback_application_name") or APPLICATION_NAME,
        transaction_pooler=flag(given, "pgbouncer"),
        passed_over=tuple(name for name in given if name in PASSED_OVER),
    )


def _split(url: str) -> tuple[str, str]:
    """What stands between `://` and the `?` that begins the parameters, and the parameters."""
    scheme, _, rest = url.partition("://")
    if scheme not in SCHEMES:
        raise SettingsError("DATABASE_URL should begin with postgresql://, postgres:// or postgresql+asyncpg://")
    ends = _account_ends(rest)
    before, _, query = rest[ends:].partition("?")
    if "@" in before:
        raise SettingsError(f"DATABASE_URL: something stands before an @ that does not belong there; {ENCODE}")
    return rest[:ends] + before, query


def _account_ends(rest: str) -> int:
    """Where the hosts begin: behind the last `@` before the first `/`, and before the parameters."""
    region = rest.split("/", 1)[0]
    known = (found.start() for found in _PARAMETER.finditer(region) if found[1] in DONE | PASSED_OVER.keys())
    account, at, more = region[: next(known, None)].partition("@")
    return len(account) + 1 + more.split("?", 1)[0].rfind("@") + 1 if at else 0


def _before(text: str) -> dict[str, str]:
    """The parameters that user, password, hosts and database before the `?` stand for."""
    account, _, rest = text.rpartition("@")
    user, _, password = account.partition(":")
    hosts, _, database = rest.partition("/")
    names, ports = _host_list(hosts)
    parts = {"user": user, "password": password, "dbname": database, "host": names, "port": ports}
    return {name: unquote(value) for name, value in parts.items() if value.strip(",")}


def _host_list(hosts: str) -> tuple[str, str]:
    """`[::1]:5433,db` as libpq's `host` and `port`: `::1,db` and `5433,`."""
    pairs = [_host_and_port(part) for part in hosts.split(",")]
    return ",".join(host for host, _ in pairs), ",".join(port for _, port in pairs)


def _host_and_port(text: str) -> tuple[str, str]:
    if text.startswith("["):
        host, closed, rest = text[1:].partition("]")
        if not closed or (rest and not rest.startswith(":")):
            raise SettingsError("DATABASE_URL: an IPv6 address stands in brackets, as in [::1]:5432")
        return host, rest[1:]
    host, _, port = text.partition(":")
    return host, port


def _hosts(given: Mapping[str, str]) -> tuple[list[str], list[int]]:
    """Hosts and their ports, as many of one as of the other; no host at all leaves it to the driver."""
    hosts = [host.strip() for host in (given.get("host") or given.get("hostaddr") or "").split(",")]
    numbers = given.get("port", "").split(",")
    if len(numbers) == 1:
        numbers *= len(hosts)
    if len(numbers) != len(hosts):
        raise SettingsError(f"DATABASE_URL names {len(hosts)} hosts and {len(numbers)} ports")
    if hosts == [""]:
        return [], [_port(number) for number in numbers if number]
    return [host or "localhost" for host in hosts], [_port(number) for number in numbers]


def _port(text: str) -> int:
    number = int(text) if text.isdecimal() and len(text) <= 5 else 0 if text else _DEFAULT_PORT
    if not 1 <= number <= 65535:
        raise SettingsError(f"DATABASE_URL: a port is no number from 1 to 65535; {ENCODE}")
    return number


def _timeout_s(given: Mapping[str, str]) -> float | None:
    """`connect_timeout`, in whole seconds; 0 waits for ever, as in libpq."""
    text = given.get("connect_timeout") or ""
    if text and not text.lstrip("-").isdecimal():
        raise SettingsError("DATABASE_URL: connect_timeout should be a whole number of seconds")
    seconds = float(text) if text else CONNECT_TIMEOUT_S
    return seconds if seconds > 0 else None


def _shown(hosts: list[str], ports: list[int], given: Mapping[str, str]) -> str:
    if not hosts and given.get("service"):
        return f"service {given['service']}"
    named = hosts or ["localhost"]
    numbers = ports or [_DEFAULT_PORT]
    places = (
        f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host, port in zip(named, numbers, strict=True)
    )
    database = given.get("dbname")
    return ",".join(places) + (f"/{database}" if database else "")
