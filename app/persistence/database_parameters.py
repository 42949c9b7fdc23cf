"""What comes behind the `?` of DATABASE_URL: libpq's parameters and what hosts add to them.

A parameter is done (`DONE`), or passed over with a reason (`PASSED_OVER`), or ends the start with one line that names
it.
docs/decisions/0011 has why; the names are those of https://www.postgresql.org/docs/18/libpq-connect.html.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from urllib.parse import unquote

from app.errors import SettingsError

DONE = frozenset(
    {
        *("host", "port", "dbname", "user", "password", "passfile", "service", "servicefile"),
        *("application_name", "fallback_application_name", "connect_timeout", "options", "target_session_attrs"),
        *("sslmode", "ssl", "requiressl", "sslnegotiation", "sslrootcert", "sslcrl", "sslcrldir", "sslcert", "sslkey"),
        *("sslpassword", "sslcertmode", "ssl_min_protocol_version", "ssl_max_protocol_version", "pgbouncer"),
    }
)
_OWN_POOL = "DATABASE_POOL_SIZE is the number of connections"
_NOT_KEPT = "the driver prepares what it needs; DATABASE_TRANSACTION_POOLER=true keeps nothing"
_KERBEROS = "the driver speaks no Kerberos"
_ALIVE = "every statement has a time-out, and idle connections are given back"
PASSED_OVER: Mapping[str, str] = {
    # libpq
    "channel_binding": "the driver binds no channel; sslmode=verify-full proves the server",
    "hostaddr": "the host is looked up",
    "require_auth": "the server chooses how to ask for the password",
    "requirepeer": "the owner of the socket's folder is trusted",
    "client_encoding": "the driver speaks UTF-8",
    "replication": "nothing is replicated",
    "load_balance_hosts": "hosts are tried in the order in which they stand",
    "keepalives": _ALIVE,
    "keepalives_idle": _ALIVE,
    "keepalives_interval": _ALIVE,
    "keepalives_count": _ALIVE,
    "tcp_user_timeout": _ALIVE,
    "sslcompression": "TLS is not compressed",
    "sslsni": "the name is always sent",
    "sslkeylogfile": "SSLKEYLOGFILE does it",
    "min_protocol_version": "the driver speaks 3.0",
    "max_protocol_version": "the driver speaks 3.0",
    "gssencmode": _KERBEROS,
    "gssdelegation": _KERBEROS,
    "gsslib": _KERBEROS,
    "krbsrvname": _KERBEROS,
    "scram_client_key": "the password is needed",
    "scram_server_key": "the password is needed",
    # Prisma, and with it Supabase, Neon and Vercel
    "connection_limit": _OWN_POOL,
    "pool_timeout": "how long a connection is waited for is ours: docs/operations.md",
    "socket_timeout": "a statement may take 30 s",
    "max_idle_connection_lifetime": _ALIVE,
    "statement_cache_size": _NOT_KEPT,
    "schema": "public is the default",
    "supa": "a mark of the host's",
    "workaround": "a mark of the host's",
    # other drivers
    "prepared_statement_cache_size": _NOT_KEPT,
    "uselibpqcompat": "parameters mean here what they mean in libpq",
}
_INSTEAD = {
    "schema": "options=-csearch_path%3DNAME",
    "search_path": "options=-csearch_path%3DNAME",
    "currentSchema": "options=-csearch_path%3DNAME",
    "sslaccept": "sslmode=verify-full or sslmode=require",
    "pool_size": "the variable DATABASE_POOL_SIZE",
    "pool_max_conns": "the variable DATABASE_POOL_SIZE",
    "max_connections": "the variable DATABASE_POOL_SIZE",
    "gssencmode": "sslmode=require",
    "database": "dbname",
}
ENCODE = "in user and password write @ as %40, : as %3A, / as %2F and ? as %3F"
_NAME = re.compile(r"[A-Za-z][\w.-]{0,40}")
_ON, _OFF = frozenset({"true", "1", "on", "yes"}), frozenset({"false", "0", "off", "no", ""})


def read_parameters(query: str) -> dict[str, str]:
    """The parameters of a query string, decoded as libpq decodes them: `%20` is a space, `+` is a plus.

    The last one of a name counts; those that are passed over are among them.

    Raises:
        SettingsError: an unknown one, or a value that asks for what is not possible; names it, never its value.
    """
    given: dict[str, str] = {}
    for part in filter(None, query.split("&")):
        name, has_value, value = part.partition("=")
        name = unquote(name)
        if name not in DONE and name not in PASSED_OVER:
            raise SettingsError(f"DATABASE_URL: {_refuse(name)}")
        if not has_value:
            raise SettingsError(f"DATABASE_URL: the parameter {name} has no value")
        given[name] = unquote(value)
    _refuse_impossible(given)
    return given


def flag(given: Mapping[str, str], name: str) -> bool:
    """Whether a parameter that is on or off is on; it is off when it is not there.

    Raises:
        SettingsError: it is neither.
    """
    value = given.get(name, "").lower()
    if value not in _ON | _OFF:
        raise SettingsError(f"DATABASE_URL: {name} should be true or false")
    return value in _ON


def choice(given: Mapping[str, str], name: str, possible: tuple[str, ...]) -> str | None:
    """The value of a parameter that has few values, or None when it is not there or empty.

    Raises:
        SettingsError: it is none of `possible`.
    """
    value = given.get(name) or None
    if value is not None and value not in possible:
        raise SettingsError(f"DATABASE_URL: {name} should be one of {', '.join(possible)}")
    return value


def _refuse_impossible(given: Mapping[str, str]) -> None:
    if given.get("gssencmode") == "require":
        raise SettingsError(f"DATABASE_URL: gssencmode=require is not possible; use {_INSTEAD['gssencmode']}")
    if given.get("schema", "public") not in {"public", ""}:
        raise SettingsError(f"DATABASE_URL: schema can only be public; use {_INSTEAD['schema']}")


def _refuse(name: str) -> str:
    if not _NAME.fullmatch(name):
        return f"something behind the ? is no parameter; {ENCODE}"
    near = difflib.get_close_matches(name, DONE | PASSED_OVER.keys(), n=1, cutoff=0.8)
    instead = _INSTEAD.get(name) or (near[0] if near else None)
    hint = f"; use {instead}" if instead else ""
    return f"the parameter {name} is not known{hint}; possible are those of libpq, such as sslmode, and pgbouncer"
