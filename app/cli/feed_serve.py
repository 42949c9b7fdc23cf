"""`promidata-sync feed serve`: the sample feed as a process of its own.

Prints the base address (what PROMIDATA_BASE_URL is to be) as one line when it listens; ends with 0 on SIGTERM or
Ctrl-C.
"""

from __future__ import annotations

import os
import socket
from typing import Annotated

import typer
from structlog import get_logger

from app.cli.interrupts import interruptible
from app.cli.supervisor import StopRequest
from app.cli.up_file import UpError
from app.logs import configure_logs, mask_address
from app.samplefeed import FeedSpec, SampleFeed, SampleFeedServer, suppliers
from app.setting_values import is_web_address

log = get_logger()


def serve(
    *,
    supplier_count: Annotated[int, typer.Option("--suppliers", min=1, max=100, help="How many suppliers.")] = 3,
    families: Annotated[int, typer.Option(min=0, help="Families a supplier.")] = 22,
    variants: Annotated[int, typer.Option(min=1, max=1000, help="Variants a family.")] = 6,
    pictures: Annotated[int, typer.Option(min=0, max=50, help="Pictures a variant.")] = 3,
    small: Annotated[bool, typer.Option("--small", help="Small documents and small pictures.")] = False,
    small_documents: Annotated[bool, typer.Option("--small-documents", help="Small documents.")] = False,
    small_pictures: Annotated[bool, typer.Option("--small-pictures", help="Small pictures.")] = False,
    document_bytes: Annotated[
        int | None, typer.Option(min=500, max=10_000_000, help="About so large is each document.")
    ] = None,
    picture_bytes: Annotated[
        int | None, typer.Option(min=1_000, max=5_000_000, help="About so large is each picture.")
    ] = None,
    uniform: Annotated[bool, typer.Option("--uniform", help="All families alike, no picture twice.")] = False,
    seed: Annotated[int, typer.Option(help="Another seed is another feed.")] = 1,
    latency_ms: Annotated[float, typer.Option(min=0, help="Wait before each answer.")] = 0.0,
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 picks a free one.")] = 0,
    pictures_port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="Serve the pictures on a port of their own.")
    ] = None,
    origin: Annotated[str | None, typer.Option(help="http://host:port as clients reach it, if another.")] = None,
    logged: Annotated[bool, typer.Option("--logged", hidden=True)] = False,
) -> None:
    """Serve the sample feed: documents and pictures of real shape and size, and switches under /_control/."""
    spec = FeedSpec(
        seed=seed,
        suppliers=suppliers(supplier_count, families),
        variants=variants,
        pictures=pictures,
        small_documents=small or small_documents or document_bytes is not None,
        small_pictures=small or small_pictures,
        document_bytes=document_bytes,
        picture_bytes=picture_bytes,
        oddities=not uniform,
    )
    if origin is not None and not is_web_address(origin):
        raise typer.BadParameter("should look like http://host:port", param_hint="--origin")
    server = SampleFeedServer(
        SampleFeed(spec),
        host=host,
        port=port,
        pictures_port=pictures_port,
        origin=origin,
        latency_s=latency_ms / 1000,
    )
    try:
        interruptible(_serve_until_stopped(server, logged=logged))
    except OSError as error:
        raise UpError(f"cannot listen on {host} ({_why(error)}): choose others with --host and --port") from error


def _why(error: OSError) -> str:
    """In the system's words: asyncio adds the address to them."""
    return (error.strerror or str(error)) if isinstance(error, socket.gaierror) else os.strerror(error.errno or 0)


async def _serve_until_stopped(server: SampleFeedServer, *, logged: bool) -> None:
    """`logged` where who started it knows the address, and what it says is a log."""
    configure_logs()
    stop = StopRequest()
    stop.listen()
    async with server:
        if logged:
            log.info("sample feed ready", address=mask_address(server.base_url))
        else:
            typer.echo(server.base_url)
        await stop.asked.wait()


if __name__ == "__main__":
    typer.run(serve)
