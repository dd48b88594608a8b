"""The serial console and the screen of a VM, between a browser's WebSocket and the API, with the caller's rights.

Binary messages are what goes in and what comes out. Of a console, text messages are notes to the page as JSON, and it
follows a VM that moves, as ``drover console`` does: when its line ends and the VM runs elsewhere, it is attached there.
A screen is VNC, which cannot be taken up in the middle: its end says why, and the page opens another. Each side waits
for the other, so nothing gathers here.
"""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING

from aiohttp import WSMsgType, web

from drover.api import scheme
from drover.api.kinds import vm as vms
from drover.api.names import COMPUTE_CONTAINER
from drover.api.status import ApiError, NotFound, Unanswered
from drover.base.tasks import TaskScope, wait_first
from drover.runtime.attach import attach, screen
from drover.web.guard import CONSOLE_PROTOCOL, SESSION

if TYPE_CHECKING:
    from drover.base.clock import Clock
    from drover.runtime.attach import Attached
    from drover.web.sessions import Session

MOST_CONSOLES = 4  # of one session
MOST_TYPED_BYTES = 64 * 2**10  # one message
FOLLOW_S = 15.0  # until a VM whose line ended shows up elsewhere
LOOK_S = 0.25
ENDED = 4000  # WebSocket code of a screen's end
MOST_REASON_BYTES = 120  # of a WebSocket's end


async def console(request: web.Request, clock: Clock) -> web.StreamResponse:
    session: Session = request[SESSION]
    if session.consoles >= MOST_CONSOLES:
        raise web.HTTPTooManyRequests(reason="this log-in has four consoles open; close one")
    name, namespace = request.query.get("name", ""), request.query.get("namespace", "")
    socket = web.WebSocketResponse(
        protocols=(CONSOLE_PROTOCOL,), heartbeat=20.0, max_msg_size=MOST_TYPED_BYTES
    )
    await socket.prepare(request)
    session.consoles += 1
    try:
        vnc = request.path.endswith("/screen")
        await Sitting(session, clock, socket, namespace, name, vnc).run()
    finally:
        session.consoles -= 1
        with contextlib.suppress(ConnectionError):
            await socket.close()
    return socket


class Sitting:
    """One open console, over as many attachments as it takes."""

    def __init__(
        self,
        session: Session,
        clock: Clock,
        socket: web.WebSocketResponse,
        namespace: str,
        name: str,
        vnc: bool,
    ) -> None:
        self._session = session
        self._clock = clock
        self._socket = socket
        self._namespace = namespace
        self._name = name
        self._vnc = vnc
        self._left = False

    async def run(self) -> None:
        """Until the page leaves, the session ends, or the VM runs nowhere."""
        pod = self._place()
        if not pod:
            await self._note("the VM does not run; start it")
        while pod and not self._session.feed.ended:
            why = await self._attend(pod)
            if self._left:
                return
            await self._note(why)
            pod = "" if self._vnc else await self._next(pod)

    async def _attend(self, pod: str) -> str:
        """At one Pod; why it ended."""
        opened = (screen if self._vnc else attach)(
            self._session.access, self._clock, self._namespace, pod, COMPUTE_CONTAINER
        )
        try:
            async with opened as line:
                if not self._vnc:
                    await self._note("attached")
                await self._talk(line)
            return f"it ended: {line.failure}" if line.failure else "it ended"
        except NotFound:
            return "its Pod is gone"
        except (ApiError, Unanswered) as refused:
            return f"it cannot be opened: {refused}"

    async def _talk(self, line: Attached) -> None:
        async with TaskScope("console") as scope:
            showing = scope.spawn(self._show(line), "output")
            typing = scope.spawn(self._type(line), "input")
            await wait_first(showing, typing, scope.spawn(self._session_ended(), "session"))
            for task in (showing, typing):
                if task.done():
                    task.result()

    async def _show(self, line: Attached) -> None:
        async for data in line.output():
            await self._socket.send_bytes(data)

    async def _type(self, line: Attached) -> None:
        async for message in self._socket:
            if message.type is WSMsgType.BINARY and message.data:
                await line.send(message.data)
        self._left = True

    async def _session_ended(self) -> None:
        while not self._session.feed.ended:
            await self._clock.sleep(1.0)

    def _place(self) -> str:
        """The Pod that runs the VM; empty: none."""
        vm = self._session.feed.get(scheme.VM, self._name, self._namespace)
        found = vms.status(vm).get("virtualMachinePods") or [] if vm is not None else []
        return next((str(pod["name"]) for pod in found if pod.get("active")), "")

    async def _next(self, former: str) -> str:
        """Where it runs now; empty: nowhere, or where it was."""
        until_s = self._clock.monotonic() + FOLLOW_S
        while self._clock.monotonic() < until_s and not self._socket.closed:
            if (pod := self._place()) and pod != former:
                return pod
            await self._clock.sleep(LOOK_S)
        return ""

    async def _note(self, says: str) -> None:
        with contextlib.suppress(ConnectionError):
            if self._vnc:
                reason = says.encode()[:MOST_REASON_BYTES].decode(errors="ignore").encode()
                await self._socket.close(code=ENDED, message=reason)
            else:
                await self._socket.send_str(json.dumps({"says": says}))
