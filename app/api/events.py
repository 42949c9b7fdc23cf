"""The event stream: jobs, queues and runs as they change, for a page that shows them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Annotated

from fastapi import APIRouter, Depends, Header, Request
from fastapi.responses import StreamingResponse
from fastapi.sse import KEEPALIVE_COMMENT

from app.api.auth import GuardedRoute, Viewer
from app.api.live_events import LiveEvent, LiveEvents
from app.api.problems import problem_answers

router = APIRouter(prefix="/api/v1/events", tags=["jobs and queues"], route_class=GuardedRoute)

UNBUFFERED = {"X-Accel-Buffering": "no"}
"""A proxy passes each piece on at once."""
Found = AsyncIterator[Sequence[LiveEvent]]
EXAMPLE = 'event: queue\nid: 5f0c9d1e-17\ndata: {"queueName": "image-upload", "waiting": 3, "paused": false}\n\n'


class EventStream(StreamingResponse):
    """Server-sent events, made ready by who sends them; FastAPI's own class passes each on through two queues."""

    media_type = "text/event-stream"


async def following(
    request: Request,
    _: Viewer,
    last_event_id: Annotated[
        str | None,
        Header(alias="Last-Event-ID", description="The last event that was seen; browsers send it by themselves."),
    ] = None,
) -> AsyncIterator[Found]:
    """The process's events, after a first look: what happens once the stream has begun is told."""
    live: LiveEvents = request.app.state.live
    async with live.following(last_event_id or None) as found:
        yield found


@router.get(
    "",
    operation_id="streamEvents",
    summary="Job, queue and run events as they happen",
    response_class=EventStream,
    responses={200: {"content": {"text/event-stream": {"example": EXAMPLE}}}, **problem_answers()},
)
async def stream_events(found: Annotated[Found, Depends(following)]) -> EventStream:
    """Resumable with `Last-Event-ID`; an id that is unknown or too old gets one `reset` event. A comment every 15 s."""
    return EventStream(_pieces(found), headers=UNBUFFERED)


async def _pieces(found: Found) -> AsyncIterator[bytes]:
    async for events in found:
        yield b"".join(event.text for event in events) or KEEPALIVE_COMMENT
