"""What keeps us from using PostgreSQL: an outage, which passes, or a misfit, which somebody has to end."""

from __future__ import annotations

import socket
import ssl

import asyncpg
import pytest
from sqlalchemy.exc import DBAPIError

from app.persistence.failures import explain, is_misfit


def said_by_the_server(state: str, message: str = "no") -> asyncpg.PostgresError:
    error: asyncpg.PostgresError = asyncpg.PostgresError.new({"C": state, "M": message, "S": "FATAL"})
    return error


def said_of_tls(error: ssl.SSLError) -> ssl.SSLError:
    """As the library makes it, with what only it can tell."""
    error.reason = str(error)
    if isinstance(error, ssl.SSLCertVerificationError):
        error.verify_code, error.verify_message = 18, "self-signed certificate"
    return error


OUTAGES = [
    ConnectionRefusedError(111, "Connection refused"),
    ConnectionResetError("reset by peer"),
    TimeoutError(),
    socket.gaierror(-2, "Name or service not known"),
    said_of_tls(ssl.SSLEOFError(8, "EOF occurred in violation of protocol")),
    said_by_the_server("57P03", "the database system is starting up"),
    said_by_the_server("57P01", "terminating connection due to administrator command"),
    said_by_the_server("25P04", "terminating connection due to transaction timeout"),
    said_by_the_server("53300", "sorry, too many clients already"),
    said_by_the_server("53100", "could not extend file: No space left on device"),
    said_by_the_server("08006"),
    said_by_the_server("08P01", "server login has been failing, try again later (server_login_retry)"),
    said_by_the_server("25006", "cannot execute INSERT in a read-only transaction"),
    said_by_the_server("55P03"),
    said_by_the_server("58030", 'could not read block 0 in file "base/5/16384": Input/output error'),
    said_by_the_server("55000", 'database "shop" is not currently accepting connections'),
    said_by_the_server("XX000", "Max client connections reached"),
    asyncpg.InterfaceError("connection is closed"),
]
MISFITS = [
    said_by_the_server("28P01", 'password authentication failed for user "shop"'),
    said_by_the_server("28000", "no pg_hba.conf entry for host"),
    said_by_the_server("3D000", 'database "shop" does not exist'),
    said_by_the_server("42501", "permission denied for database shop"),
    said_by_the_server("42P01", 'relation "alembic_version" does not exist'),
    said_by_the_server("42704", 'unrecognized configuration parameter "nothing"'),
    said_by_the_server("08P01", "unsupported startup parameter: lock_timeout"),
    said_by_the_server("26000", 'prepared statement "__asyncpg_stmt_1__" does not exist'),
    said_of_tls(ssl.SSLCertVerificationError(1, "certificate verify failed")),
    said_of_tls(ssl.SSLError(1, "tlsv1 alert protocol version")),
    ConnectionError('PostgreSQL server at "db:5432" rejected SSL upgrade'),
    asyncpg.ClientConfigurationError('definition of service "shop" not found'),
]


def told(error: Exception) -> str:
    return f"{getattr(error, 'sqlstate', None) or type(error).__name__} {error}"


@pytest.mark.parametrize("error", OUTAGES, ids=told)
def test_what_passes_by_itself_is_no_misfit(error: Exception) -> None:
    assert not is_misfit(error)
    assert not is_misfit(DBAPIError("SELECT 1", None, error))


@pytest.mark.parametrize("error", MISFITS, ids=told)
def test_what_somebody_has_to_set_or_to_grant_is_one(error: Exception) -> None:
    assert is_misfit(error)
    assert is_misfit(DBAPIError("SELECT 1", None, error))


@pytest.mark.parametrize("state", ["57P01", "57P05", "25P03", "25P04"])
def test_a_session_that_the_server_ended_is_told_as_that_whatever_ended_it(state: str) -> None:
    error = DBAPIError("SELECT 1", None, said_by_the_server(state, "terminating connection"))
    assert "ended the session" in explain("db:5432", error)
