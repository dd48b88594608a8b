"""The live line to one page, as Server-Sent Events.

    state     what the page must know of us: whether the API answers, what may not be seen
    begin, rows..., end   everything anew: at first, and when the page was too slow to be told each change; rows of one
              kind and shape by columns, so that names of fields are told once
    changes   rows that differ; null: the object is gone
    bye       the session is over, and why; nothing follows

Writes wait for the browser to read; meanwhile changes gather in the bounded ``feed.Line``.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import msgspec
from aiohttp import web

from drover.api import scheme
from drover.web.guard import SESSION

if TYPE_CHECKING:
    from drover.base.clock import Clock
    from drover.web.feed import Feed, Line
    from drover.web.sessions import Session

GATHER_S = 0.1  # changes are told together
ALIVE_S = 15.0  # a sign of life, so that both ends notice a cut
ROWS_AT_ONCE = 1_000
LOOK_S = 0.02
WHOLE_S = 1.0  # so long a first telling waits for all that is drawn, to be the only one; then the nodes are enough
NODES_S = 10.0


def message(event: str, data: Any) -> bytes:
    return b"event: " + event.encode() + b"\ndata: " + msgspec.json.encode(data) + b"\n\n"


def state_of(feed: Feed) -> dict[str, Any]:
    return {
        "drawn": feed.drawn,
        "synced": feed.synced,
        "alive": feed.alive,
        "missing": list(feed.missing),
    }


def everything(feed: Feed) -> Iterator[bytes]:
    """All rows, in pieces."""
    yield message("begin", None)
    for kind, rows in list(feed.rows.items()):
        shape: tuple[str, ...] = ()
        piece: list[list[Any]] = []
        for key, row in list(rows.items()):
            if piece and (len(piece) >= ROWS_AT_ONCE or shape != tuple(row)):
                yield message("rows", {"kind": kind, "fields": shape, "rows": piece})
                piece = []
            shape = tuple(row)
            piece.append([key, *row.values()])
        if piece:
            yield message("rows", {"kind": kind, "fields": shape, "rows": piece})
    yield message("end", None)


async def live(request: web.Request, clock: Clock) -> web.StreamResponse:
    """Until the page leaves or the session ends."""
    session: Session = request[SESSION]
    with session.feed.open() as line:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        with contextlib.suppress(ConnectionError):  # the page was closed
            await _tell(session.feed, line, response, clock)
        return response


async def _tell(feed: Feed, line: Line, response: web.StreamResponse, clock: Clock) -> None:
    told = state_of(feed)
    await response.write(message("state", told))
    await _settled(feed, clock)
    while not feed.ended:
        if not await line.wait(ALIVE_S):
            await response.write(b": alive\n\n")
            continue
        # Taken before anything is awaited, so that what comes meanwhile is told the next time.
        whole, changes = line.take()
        if (state := state_of(feed)) != told:
            await response.write(message("state", state))
            told = state
        if whole:
            for piece in everything(feed):
                await response.write(piece)
        elif changes:
            await response.write(message("changes", changes))
        if not feed.ended:
            await clock.sleep(GATHER_S)
    await response.write(message("bye", {"why": feed.ended}))


async def _settled(feed: Feed, clock: Clock) -> None:
    """Until what is drawn was read, so that it is told once; of a very large cluster the nodes must do."""
    began_s = clock.monotonic()
    while not (feed.drawn or feed.ended) and feed.alive:
        waited_s = clock.monotonic() - began_s
        if waited_s > NODES_S or (waited_s > WHOLE_S and feed.rows[scheme.NODE.kind]):
            return
        await clock.sleep(LOOK_S)
