"""The settings of a command: the environment first, else those of the `up` that runs on the same data folder.

    environment, .env ─▶ DATABASE_URL set, and another than up's? ─▶ yes: the environment alone counts
                                                                  └▶ no:  what is missing comes from DATA_DIR/up.json

Parts of two different systems are never mixed: a database of one's own with the sample feed would be one accident away
from a catalogue full of samples.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from pydantic import SecretStr

from app.cli.interrupts import interruptible
from app.cli.up_file import RunningUp, find_running
from app.logs import configure_logs
from app.persistence.audit import Act
from app.settings import Settings, load_settings
from app.sync.operating.acting import audited
from app.sync.services import Services, open_services

T = TypeVar("T")


def find_settings(*, serves: bool = False) -> Settings:
    """The settings of this command; sets the logs up, too. `serves` where it is an API at an address of its own.

    Raises:
        SettingsError: a setting makes no sense.
        UpError: the data folder is another user's, so that an `up` of that one may run on it.
    """
    settings = load_settings()
    configure_logs(settings.log_level)
    return beside(settings, find_running(settings.data_dir) if _is_lacking(settings) else None, serves=serves)


def beside(settings: Settings, running: RunningUp | None, *, serves: bool = False) -> Settings:
    """The settings with what they lack taken from a running `up`; where it serves, but for that one's address."""
    if running is None or _names_another(settings, running):
        return settings
    update: dict[str, Any] = {}
    if settings.database_url is None:
        update["database_url"] = SecretStr(running.database_url)
    if settings.redis_url is None and running.redis_url:
        update["redis_url"] = SecretStr(running.redis_url)
        update["redis_prefix"] = running.redis_prefix
    if settings.promidata_base_url is None and running.base_url:
        update["promidata_base_url"] = SecretStr(running.base_url)
        update["allow_private_addresses"] = tuple(
            ipaddress.ip_network(part) for part in running.allow_private_addresses.split(",") if part
        )
    if settings.public_url is None and not serves:
        update["public_url"] = running.api_url.rstrip("/")
    return settings.model_copy(update=update)


def _is_lacking(settings: Settings) -> bool:
    return None in (settings.database_url, settings.redis_url, settings.promidata_base_url)


def _names_another(settings: Settings, running: RunningUp) -> bool:
    own = settings.database_url
    return own is not None and own.get_secret_value() != running.database_url


def with_services(
    work: Callable[[Services], Awaitable[T]], act: Act | None = None, *, shows_pictures: bool = False
) -> T:
    """Do `work` on the services that `find_settings` leads to, and close them; `act` is what it is to change.

    `shows_pictures` where it needs the addresses of stored pictures.

    Raises:
        SettingsError: a setting makes no sense, or DATABASE_URL is missing.
        UpError: the data folder is another user's, so that an `up` of that one may run on it.
    """

    async def opened() -> T:
        async with open_services(find_settings(), store_at_once=shows_pictures) as services:
            if act is None:
                return await work(services)
            async with audited(services.database, services.settings, act):
                return await work(services)

    return interruptible(opened())
