"""The first process of a node: PID 1 of its PID namespace, parent of the agent and of every QEMU.

It keeps the agent running (again after a back-off), starts QEMUs on request, reaps whatever ends, and tells who waits.
So a QEMU outlives the agent that asked for it, never the node: every child dies with this process, by the kernel's hand
when it is killed (PR_SET_PDEATHSIG, and the PID namespace), by its own when it gets SIGTERM. SIGHUP ends the agent
alone, so that newer code takes its place.

It is the node's *deadline watchdog* too: told that a life of the node may last until an instant, it kills every QEMU
at that instant unless it was told a later one, and starts none for that life ever after (safety rule 8). A frozen agent
that thaws finds its guests dead and the door shut; only a new life opens it.

Requests come over a unix socket: one JSON line, one JSON line back, one connection each. Ops: ``spawn`` (copy, argv,
stdio, nice, life, confine; gives pid or error), ``kill`` and ``wait`` (copy; give status once it is reaped), ``status``
(agent's pid, children and their lives, the present life and its end, the lives that are over, features), ``live``
(life, until: of CLOCK_BOOTTIME), ``free`` (life: no deadline any more), ``end`` (life: now), ``arm`` (path, timeout: of
a watchdog device, which is fed from then on). A status is that of os.waitstatus_to_exitcode; null when no such child is
known.

A deadline holds only if nothing holds this process up. So its memory is locked and it runs before ordinary processes
(where the host allows that), it writes no line that would have to wait for a reader, and it looks at the clock that
counts suspended time at least four times a second: timers of the kernel's event queues stand still meanwhile.

There is one per node. It keeps a lock beside its socket, which all its children inherit: a successor starts only when
none of them lives, so that "new first process" proves "the former QEMUs are dead" (safety rule 9).

Standard library only, one thread: it must start in milliseconds and fork safely. It does not
promise to log requests, to remember exit codes beyond the last 256, or to tell clients apart: the socket is the node's
own, mode 0600.
"""

# Long module: the first process of a node imports next to nothing of ours.

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import socket
import sys
from typing import Any

from drover.agent import confine, kernel, sockets
from drover.agent.deadline import Deadline
from drover.agent.device import Device, DeviceRefused, Driver, LinuxDriver
from drover.agent.kernel import log, now_s

# What a first process of another release may lack. An agent asks: this process lives on when agents are upgraded.
FEATURES = ["confine"]
_CHILDREN_MAX = 256
_CLIENTS_MAX = 1024
_LINE_MAX = 256 * 1024
_TERM_GRACE_S = 3.0
_RESTART_FIRST_S = 0.2
_RESTART_MAX_S = 5.0
_MOST_SLEEP_S = 0.25  # while a deadline is kept
_TAKEN_STATUS = 75  # EX_TEMPFAIL: another one lives; to be tried again
_STEADY_S = 30.0  # an agent that ran this long starts the back-off anew


class _Client:
    """One connection: at most one request, answered once."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self.received = b""


class NodeInit:
    """The loop. ``run`` returns when everything has ended after SIGTERM or SIGINT."""

    def __init__(self, path: str, agent: list[str], driver: Driver) -> None:
        self._path = path
        self._agent = agent
        self._deadline = Deadline()
        self._device = Device(driver)
        self._agent_pid = 0
        self._agent_since = 0.0
        self._restart_s = _RESTART_FIRST_S
        self._restart_at: float | None = 0.0 if agent else None
        self._pids: dict[str, int] = {}
        self._lives: dict[str, str] = {}  # of the living: for which life each was started
        self._statuses: dict[str, int] = {}  # of the ended, oldest first
        self._waiters: dict[str, list[_Client]] = {}
        self._clients: list[_Client] = []
        self._groups: set[str] = set()  # above those that children have joined
        self._selector = selectors.DefaultSelector()
        self._over = False  # a life that the device guarded has ended
        self._term_at: float | None = None  # SIGKILL follows then

    def run(self) -> int:
        if not kernel.alone(self._path + ".lock"):
            log(
                "another first process of this node, or a child of one, lives still",
                path=self._path,
            )
            return _TAKEN_STATUS
        kernel.hold_on()
        kernel.adopt_orphans()
        wake_read, wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
        for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, lambda *_: None)
        listener = self._listen()
        self._selector.register(wake_read, selectors.EVENT_READ, "wake")
        self._selector.register(listener, selectors.EVENT_READ, "listen")
        log("node up", pid=os.getpid())
        while not self._finished():
            self._start_agent_if_due()
            for key, _ in self._selector.select(self._next_timer_s()):
                if key.data == "wake":
                    self._on_signals(os.read(wake_read, 4096))
                elif key.data == "listen":
                    self._accept(listener)
                else:
                    self._read(key.data)
            self._kill_if_due()
            self._end_if_due()
            self._device_if_due()
        self._device.close()  # nothing of the node lives
        confine.leave(self._groups)
        os.unlink(self._path)
        log("node down")
        return 0

    def _listen(self) -> socket.socket:
        part = self._path + ".part"
        with contextlib.suppress(FileNotFoundError):
            os.unlink(part)
        listener = sockets.bound(part)
        listener.listen(128)
        os.rename(part, self._path)  # who sees the socket can connect
        listener.setblocking(False)
        return listener

    # --- signals and timers ---

    def _finished(self) -> bool:
        return self._term_at is not None and not self._pids and not self._agent_pid

    def _on_signals(self, numbers: bytes) -> None:
        if self._term_at is None and (signal.SIGTERM in numbers or signal.SIGINT in numbers):
            self._term_at = now_s() + _TERM_GRACE_S
            self._restart_at = None
            self._signal_all(signal.SIGTERM)
        if signal.SIGHUP in numbers and self._term_at is None and self._agent_pid:
            os.kill(
                self._agent_pid, signal.SIGTERM
            )  # newer code is there; it is started anew below
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if not pid:
                return
            self._reaped(pid, os.waitstatus_to_exitcode(status))

    def _signal_all(self, number: int) -> None:
        for pid in [*self._pids.values(), self._agent_pid]:
            if pid:
                os.kill(pid, number)  # not reaped yet, so the pid is still ours

    def _kill_if_due(self) -> None:
        if self._term_at is not None and now_s() >= self._term_at:
            self._signal_all(signal.SIGKILL)
            self._term_at = now_s() + _TERM_GRACE_S

    def _end_if_due(self) -> None:
        if self._deadline.due(now_s()):
            self._end(self._deadline.life, "its deadline has passed")

    def _end(self, life: str, why: str) -> None:
        """SIGKILL to every QEMU of a life that is over, and of no other: to end a life again touches nobody. The agent
        is not ours to judge."""
        self._over = self._over or self._deadline.life == life
        known = life in self._deadline.ended
        self._deadline.end(life)
        killed = [copy for copy, its in self._lives.items() if its in self._deadline.ended]
        for copy in killed:
            os.kill(self._pids[copy], signal.SIGKILL)
        if not known:
            log("a life of the node ends", life=life, why=why, killed=killed)

    def _device_if_due(self) -> None:
        """Fed while nothing is overdue, closed when the life that needed it is over and gone, else left to itself."""
        if not self._device.armed or not self._deadline.in_time(now_s(), self._lives.values()):
            return
        with contextlib.suppress(OSError):  # then it fires, as it must
            if self._over:
                self._over = False
                self._device.close()
            self._device.feed(now_s())

    def _next_timer_s(self) -> float | None:
        timers = [at for at in (self._restart_at, self._term_at) if at is not None]
        if self._device.armed:
            timers.append(max(self._device.next_s, now_s() + _MOST_SLEEP_S / 4))
        if self._deadline.life:
            timers.append(min(self._deadline.until_s, now_s() + _MOST_SLEEP_S))
        return max(0.0, min(timers) - now_s()) if timers else None

    # --- children ---

    def _start_agent_if_due(self) -> None:
        if self._restart_at is not None and now_s() >= self._restart_at:
            self._restart_at = None
            self._agent_since = now_s()
            self._agent_pid = kernel.fork(self._agent, "", 0)
            log("agent started", pid=self._agent_pid)

    def _reaped(self, pid: int, status: int) -> None:
        if pid == self._agent_pid:
            self._agent_pid = 0
            steady = now_s() - self._agent_since > _STEADY_S
            self._restart_s = _RESTART_FIRST_S if steady else self._restart_s
            if self._term_at is None:
                log("agent ended", status=status, again_in_s=self._restart_s)
                self._restart_at = now_s() + self._restart_s
                self._restart_s = min(self._restart_s * 2, _RESTART_MAX_S)
            return
        copy = next((name for name, child in self._pids.items() if child == pid), None)
        if copy is None:
            return  # an orphan of some child
        del self._pids[copy], self._lives[copy]
        self._statuses[copy] = status
        while len(self._statuses) > _CHILDREN_MAX:
            del self._statuses[next(iter(self._statuses))]
        for client in self._waiters.pop(copy, []):
            self._answer(client, {"status": status})

    # --- requests ---

    def _accept(self, listener: socket.socket) -> None:
        connection, _ = listener.accept()
        if len(self._clients) >= _CLIENTS_MAX:
            connection.close()
            return
        connection.setblocking(False)
        client = _Client(connection)
        self._clients.append(client)
        self._selector.register(connection, selectors.EVENT_READ, client)

    def _read(self, client: _Client) -> None:
        if client not in self._clients:
            return  # answered and closed earlier in this very round
        try:
            part = client.connection.recv(65536)
        except OSError:
            part = b""
        client.received += part
        if not part or len(client.received) > _LINE_MAX:
            self._drop(client)
        elif client.received.endswith(b"\n"):
            try:
                request = json.loads(client.received)
                answer = self._handle(client, request)
            except (ValueError, KeyError, TypeError, OSError) as error:
                answer = {"error": f"bad request: {error!r}"}
            if answer is not None:
                self._answer(client, answer)

    def _handle(self, client: _Client, request: dict[str, Any]) -> dict[str, Any] | None:
        """The answer, or None when it comes later."""
        match request["op"]:
            case "spawn" if self._hung_up(client):
                # Who asked has given up, looked for what it asked for, and found nothing: it must stay so.
                self._drop(client)
                return None
            case "spawn":
                return self._spawn(request)
            case "status":
                return {
                    "agent": self._agent_pid,
                    "children": dict(self._pids),
                    "lives": dict(self._lives),
                    "ended": list(self._deadline.ended),
                    "life": self._deadline.life,
                    "until": self._deadline.until_s,
                    "features": FEATURES,
                }
            case "arm":
                return self._arm(str(request["path"]), int(request["timeout"]))
            case "live" | "free" | "end" as op:
                return self._judge(op, str(request["life"]), request)
            case "kill" | "wait" as op:
                copy = request["copy"]
                if copy not in self._pids:
                    return {"status": self._statuses.get(copy)}
                if op == "kill":
                    os.kill(self._pids[copy], signal.SIGKILL)
                self._waiters.setdefault(copy, []).append(client)
                return None
            case other:
                return {"error": f"unknown request {other!r}"}

    def _arm(self, path: str, most_s: int) -> dict[str, Any]:
        try:
            return {"timeout": self._device.arm(path, most_s, now_s())}
        except DeviceRefused as refused:
            return {"error": str(refused)}

    def _judge(self, op: str, life: str, request: dict[str, Any]) -> dict[str, Any]:
        """What the agent tells of the node's life. A deadline that has passed meanwhile comes first."""
        self._end_if_due()
        refusal = ""
        if op == "end":
            self._end(life, "it was told to")
        elif op == "live":
            lives = self._lives.values()
            refusal = self._deadline.live(life, float(request["until"]), now_s(), lives)
        else:
            refusal = self._deadline.refusal(life, now_s())
            self._free(refusal)
        return {"error": refusal} if refusal else {"ended": list(self._deadline.ended)}

    def _free(self, refusal: str) -> None:
        """The node is disarmed, and the world knows."""
        if not refusal:
            self._deadline.life = ""
            if self._deadline.in_time(now_s(), self._lives.values()):
                self._device.close()

    def _hung_up(self, client: _Client) -> bool:
        try:
            return client.connection.recv(1, socket.MSG_PEEK) == b""
        except BlockingIOError:
            return False
        except OSError:
            return True

    def _spawn(self, request: dict[str, Any]) -> dict[str, Any]:
        copy, life = request["copy"], str(request.get("life", ""))
        refusal = self._deadline.refusal(life, now_s())
        if self._term_at is not None:
            refusal = "the node is shutting down"
        if refusal:
            return {"error": refusal}
        if copy in self._pids:
            return {"error": f"{copy} runs already"}
        if len(self._pids) >= _CHILDREN_MAX:
            return {"error": f"{_CHILDREN_MAX} children run already"}
        self._statuses.pop(copy, None)
        self._lives[copy] = life
        confined = request.get("confine")
        self._groups |= confine.above((confined or {}).get("cgroups", ()))
        argv, stdio, nice = list(request["argv"]), request["stdio"], int(request["nice"])
        self._pids[copy] = kernel.fork(argv, stdio, nice, confined)
        return {"pid": self._pids[copy]}

    def _answer(self, client: _Client, answer: dict[str, Any]) -> None:
        with contextlib.suppress(OSError):  # who asked may be gone
            client.connection.send(json.dumps(answer).encode() + b"\n")
        self._drop(client)

    def _drop(self, client: _Client) -> None:
        if client not in self._clients:
            return
        self._selector.unregister(client.connection)
        client.connection.close()
        self._clients.remove(client)
        for waiting in self._waiters.values():
            if client in waiting:
                waiting.remove(client)


def main(argv: list[str]) -> int:
    """``nodeinit SOCKET [AGENT ARG...]``"""
    if not argv:
        sys.stderr.write("usage: nodeinit SOCKET [AGENT ARG...]\n")
        return 2
    return NodeInit(argv[0], argv[1:], LinuxDriver()).run()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
