"""Starts the parts of a control plane, starts a crashed one again, reaps orphans, bounds the logs.

In a lab it is run as ``python -m drover.server.supervisor FILE`` and is PID 1 of a PID namespace: its death takes every
part with it. On a server it is the main process of a systemd unit, which does the same by the unit's cgroup. It is a
plain loop around ``sigtimedwait`` and has no threads: what must never fail should be short.

SIGTERM stops the parts and ends. A part that ends is started again after a delay that doubles from 0.2 s to 10 s and
begins anew once the part has lived for 30 s; one whose work ends (``once``) and has succeeded is not. It does not
promise that a part *works*, only that its process is there; readiness is asked of the API server.

Where it is given a ``renew``, it asks once an hour for new certificates, and when there are some starts its parts anew,
one after the other.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from drover.base.backoff import Backoff
from drover.server.errors import ControlPlaneError
from drover.server.parts import Part

_RESTART = Backoff(first_s=0.2, most_s=10.0)
_GOOD_LIFE_S = 30.0
_STOP_LIMIT_S = 5.0
_RENEW_LOOK_S = 3600.0
_RENEW_AGAIN_S = 60.0  # after one that failed
_RENEW_END_LIMIT_S = 60.0  # for a part that is to be started anew; after that it is killed
_TICK_S = 0.1  # while a part waits for its file
_IDLE_TICK_S = 5.0
_LOG_LIMIT_BYTES = 8 * 2**20
_MACHINE_NETNS = "/proc/self/fd/9"  # inherited from the lab's launch.py
_WATCHED = {signal.SIGCHLD, signal.SIGTERM}


@dataclass
class _Child:
    part: Part
    log: Path
    pid: int = 0
    born_s: float = 0.0
    failures: int = 0
    due_s: float = 0.0  # when to start it; meaningful while pid is 0
    done: bool = False
    stale: bool = False  # to be started anew
    told_s: float = 0.0  # to end, since it is stale; 0: not yet


def encode(parts: list[Part], logs: Path) -> str:
    """The file that ``main`` reads."""
    return json.dumps({"logs": str(logs), "parts": [asdict(part) for part in parts]}, indent=2)


def decode(content: bytes) -> tuple[list[Part], Path]:
    stored: dict[str, Any] = json.loads(content)
    parts = [Part(**{**part, "argv": tuple(part["argv"])}) for part in stored["parts"]]
    return parts, Path(stored["logs"])


class Supervisor:
    """The loop. ``run`` returns after SIGTERM, when every part has ended.

    ``renew`` gives the names of the certificates that it made; it raises OSError, ValueError, ControlPlaneError.
    ``good_life_s``: so long every part must have lived before the next stale one is ended.
    """

    def __init__(
        self,
        parts: list[Part],
        logs: Path,
        renew: Callable[[], list[str]] | None = None,
        good_life_s: float = _GOOD_LIFE_S,
    ) -> None:
        self._logs = logs
        self._children = [_Child(part, logs / f"{part.name}.log") for part in parts]
        self._renew = renew
        self._renew_due_s = time.monotonic() + _RENEW_LOOK_S
        self._good_life_s = good_life_s

    def run(self) -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, _WATCHED)
        while True:
            self._start_due()
            received = signal.sigtimedwait(_WATCHED, self._wait_s())
            if received is not None and received.si_signo == signal.SIGTERM:
                break
            self._reap()
            self._renew_parts()
            for log in self._logs.glob("*.log"):
                bound_log(log, _LOG_LIMIT_BYTES)
        self._stop()

    def _start_due(self) -> None:
        now = time.monotonic()
        for child in self._children:
            if child.pid or child.done or child.due_s > now:
                continue
            if child.part.after and not Path(child.part.after).exists():
                continue
            child.pid = _spawn(child)
            child.born_s = now

    def _wait_s(self) -> float:
        waits = [_IDLE_TICK_S]
        now = time.monotonic()
        for child in self._children:
            if not child.pid and not child.done:
                waits.append(max(_TICK_S, child.due_s - now))
        return min(waits)

    def _reap(self) -> None:
        """Collect every ended process: parts, and orphans that the namespace hands to its PID 1."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            for child in self._children:
                if child.pid == pid:
                    self._ended(child, status)

    def _ended(self, child: _Child, status: int) -> None:
        now = time.monotonic()
        child.pid = 0
        code = os.waitstatus_to_exitcode(status)
        if child.told_s:
            child.stale, child.told_s, child.due_s = False, 0.0, now
            return
        if child.part.once and code == 0:
            child.done = True
            return
        child.failures = 1 if now - child.born_s >= self._good_life_s else child.failures + 1
        delay_s = _RESTART.delay_s(child.failures)
        child.due_s = now + delay_s
        how = f"signal {-code}" if code < 0 else f"code {code}"
        _say(f"{child.part.name} ended with {how}, starts again in {delay_s:.1f} s")

    def _renew_parts(self) -> None:
        now = time.monotonic()
        if self._renew is not None and now >= self._renew_due_s:
            self._renew_due_s = now + self._ask(self._renew)
        for child in self._children:
            if child.told_s and now - child.told_s >= _RENEW_END_LIMIT_S:
                os.kill(child.pid, signal.SIGKILL)
        if stale := next_stale(self._children, now, self._good_life_s):
            _say(f"{stale.part.name} is started anew, with its new certificates")
            stale.told_s = now
            os.kill(stale.pid, signal.SIGTERM)

    def _ask(self, renew: Callable[[], list[str]]) -> float:
        """Seconds until the next time."""
        try:
            made = renew()
        except (OSError, ValueError, ControlPlaneError) as error:
            _say(f"certificates were not renewed: {error}")
            return _RENEW_AGAIN_S
        if made:
            _say(f"certificates were renewed: {', '.join(made)}")
        for child in self._children:
            child.stale |= bool(made and child.pid)
        return _RENEW_LOOK_S

    def _stop(self) -> None:
        """etcd gets to close its files; the others keep nothing and are killed."""
        for child in reversed(self._children):
            if child.pid:
                number = signal.SIGTERM if child.part.orderly else signal.SIGKILL
                os.kill(child.pid, number)
        limit_s = time.monotonic() + _STOP_LIMIT_S
        while any(child.pid for child in self._children) and time.monotonic() < limit_s:
            signal.sigtimedwait({signal.SIGCHLD}, 0.2)
            self._reap()


def next_stale(children: list[_Child], now_s: float, good_life_s: float) -> _Child | None:
    """The stale part to end now: one at a time, and none while another is not well. Pure."""
    for child in children:
        if not child.done and (not child.pid or now_s - child.born_s < good_life_s or child.told_s):
            return None
    return next((child for child in children if child.stale), None)


def _spawn(child: _Child) -> int:
    """Start the part's process. posix_spawn, since it alone resets the signal mask in the child."""
    argv = list(child.part.argv)
    if child.part.on_machine:
        argv = ["/usr/bin/nsenter", f"--net={_MACHINE_NETNS}", "--", *argv]
    log_flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    actions = [
        (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, str(child.log), log_flags, 0o600),
        (os.POSIX_SPAWN_DUP2, 1, 2),
    ]
    try:
        return os.posix_spawn(
            argv[0], argv, os.environ, file_actions=actions, setpgroup=0, setsigmask=()
        )
    except OSError as error:
        _say(f"{child.part.name} cannot start: {error}")
        child.failures += 1
        child.due_s = time.monotonic() + _RESTART.delay_s(child.failures)
        return 0


def bound_log(path: Path, limit_bytes: int) -> None:
    """Keep one old generation. The writer appends, so it goes on at the start of the emptied file."""
    try:
        if path.stat().st_size > limit_bytes:
            shutil.copyfile(path, path.with_suffix(".log.1"))
            os.truncate(path, 0)
    except OSError as error:
        _say(f"{path}: {error.strerror}")


def _say(text: str) -> None:
    stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    sys.stderr.write(f"{stamp} {text}\n")
    sys.stderr.flush()


def main() -> None:
    parts, logs = decode(Path(sys.argv[1]).read_bytes())
    Supervisor(parts, logs).run()


if __name__ == "__main__":
    main()
