"""Breaking a connection off, for failpoints: what was committed is, and whoever committed it never hears so."""

from __future__ import annotations

from sqlalchemy.ext.asyncio import AsyncConnection
from structlog import get_logger

log = get_logger()
SAID = "the connection is broken off by a failpoint"


async def break_off(connection: AsyncConnection) -> None:
    """Close the socket without a word, as a network does, and fail as whoever asks next.

    Raises:
        DBAPIError: the connection is closed.
    """
    log.warning(SAID)
    driver = (await connection.get_raw_connection()).driver_connection
    assert driver is not None
    driver.terminate()
    await connection.exec_driver_sql("SELECT 1")
