"""What to do about a PostgreSQL that cannot be reached or does not let us in, in words of DATABASE_URL."""

from __future__ import annotations

import socket
import ssl

ADVICE = {
    "28P01": "correct user and password in DATABASE_URL",
    "28000": "it does not let this user in this way: correct DATABASE_URL, or the server's pg_hba.conf",
    "3D000": "create the database, or correct its name in DATABASE_URL",
    "25006": (
        "where it is a standby, name all hosts in DATABASE_URL, with target_session_attrs=read-write; "
        "where its host set default_transaction_read_only, as at a quota, raise that, then set it off"
    ),
    "53100": "its disk is full: make room there; nothing is lost, and what waits goes on by itself",
    "53400": "a limit that its operator set; raise it there",
    "58030": "its disk or file system fails, see its log; nothing is lost, and what waits goes on by itself",
    "42501": "grant it, or take another user in DATABASE_URL",
    "42704": "correct options in DATABASE_URL",
    "22023": "correct options in DATABASE_URL",
    "55P02": "correct options in DATABASE_URL",
    "55P03": "somebody has locked a table or rows: pg_blocking_pids() names the session; what waits goes on by itself",
    "57014": "it is too busy, or somebody holds what this needs locked; pg_stat_activity shows who does what",
}
"""By SQLSTATE, of what is said on connecting, and of refusals that somebody has to end."""
CERTIFICATES = {
    10: "its certificate has expired: renew it",
    23: "its certificate was revoked, says sslcrl",
    62: "its certificate is for another name: correct the host in DATABASE_URL, or use sslmode=verify-ca",
    64: "its certificate is for another name: put a name in place of the address, or use sslmode=verify-ca",
}
"""By OpenSSL's number for what is wrong with it (x509_vfy.h)."""
NOT_TRUSTED = "its certificate is not trusted: name the one that signed it in sslrootcert of DATABASE_URL"
NO_SUCH_SERVER = "TargetServerAttributeNotMatched"
NO_ENCRYPTION = "no encryption"
NO_TLS = "rejected SSL upgrade"


def advise(error: BaseException, said: str) -> str | None:
    """What is the matter and what to do, for an error that connecting ends with; None when there is no special word.

    `said` is the error's own text, in one line.
    """
    return _of_tls(error, said) or _of_the_way(error) or _by_state(getattr(error, "sqlstate", None), said)


def is_wrong_tls(error: BaseException, said: str) -> bool:
    """Whether TLS did not come about for what the server has or DATABASE_URL asks for, not for a server that went."""
    return _of_tls(error, said) is not None and not isinstance(error, (ssl.SSLEOFError, ssl.SSLZeroReturnError))


def _of_tls(error: BaseException, said: str) -> str | None:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"{CERTIFICATES.get(error.verify_code, NOT_TRUSTED)} ({error.verify_message})"
    if isinstance(error, ssl.SSLError):
        return f"TLS did not come about ({error.reason}): look at the ssl… parameters of DATABASE_URL"
    if isinstance(error, ConnectionError) and NO_TLS in said:
        return "it speaks no TLS, which sslmode asks for: set it up there, or use sslmode=prefer in DATABASE_URL"
    return None


def _of_the_way(error: BaseException) -> str | None:
    if isinstance(error, socket.gaierror):
        return f"the name of the host leads nowhere ({error.strerror}): correct DATABASE_URL"
    if isinstance(error, TimeoutError):
        return "no answer in time: is it running, and are host and port in DATABASE_URL right?"
    if NO_SUCH_SERVER in (type(error).__name__, type(error.__cause__).__name__):
        return "none of the servers is what target_session_attrs in DATABASE_URL asks for"
    return None


def _by_state(state: object, said: str) -> str | None:
    if state == "28000" and NO_ENCRYPTION in said:
        return f"it does not let this user in without TLS ({said}): use sslmode=require in DATABASE_URL"
    advice = ADVICE.get(state) if isinstance(state, str) else None
    return f"{said}: {advice}" if advice else None
