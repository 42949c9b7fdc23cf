"""Who acts on the command line: the machine's user, from the machine that the command runs on."""

from __future__ import annotations

import getpass
import os
import socket

from app.persistence.audit import Act


def act_of(action: str, target: str | None = None) -> Act:
    """What a command is to do, for the audit trail; `action` is the operation's id in the API."""
    return Act(user_name(), None, "cli", action, target, socket.gethostname(), detail={})


def user_name() -> str:
    """The machine's user, or its number where it has no name, as in a container."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid {os.getuid()}"
