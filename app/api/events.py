"""The event stream: jobs, queues and runs as they change, for a page that shows them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Depends, Header, Request
from fastapi.sse import EventSourceResponse, ServerSentEvent

from app.api.auth import GuardedRoute, Viewer
from app.api.live_events import LiveEvents
from app.api.problems import problem_answers

router = APIRouter(prefix="/api/v1/events", tags=["jobs and queues"], route_class=GuardedRoute)

EXAMPLE = 'event: queue\nid: 5f0c9d1e-17\ndata: {"queueName": "image-upload", "waiting": 3, "paused": false}\n\n'


async def opened(request: Request, _: Viewer) -> LiveEvents:
    """The process's events, after a first look: what happens once the stream has begun is told."""
    live: LiveEvents = request.app.state.live
    await live.open()
    return live


@router.get(
    "",
    operation_id="streamEvents",
    summary="Job, queue and run events as they happen",
    response_class=EventSourceResponse,
    responses={200: {"content": {"text/event-stream": {"example": EXAMPLE}}}, **problem_answers()},
)
async def stream_events(
    live: Annotated[LiveEvents, Depends(opened)],
    last_event_id: Annotated[str | None, Header()] = None,
) -> AsyncIterator[ServerSentEvent]:
    """Resumable with `Last-Event-ID`; an id that is unknown or too old gets one `reset` event. A comment every 15 s."""
    async for event in live.follow(last_event_id or None):
        yield ServerSentEvent(event=event.kind, id=event.id, data=event.data)
