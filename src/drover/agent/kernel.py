"""What a node's first process asks of the kernel: children that die with it, its clock, and to be held up by nothing.

Standard library only, as ``nodeinit`` itself. Not promised: that every host grants locked memory or a place before
ordinary processes.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import json
import os
import select
import signal
import time
from typing import Any

from drover.agent import confine

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_MCL_CURRENT_AND_FUTURE = 3

_libc = ctypes.CDLL(None, use_errno=True)


def now_s() -> float:
    """Counts suspended time, as the Clock port does, which is not imported here."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def log(message: str, **fields: object) -> None:
    """A line that would have to wait (a stopped journal, a reader that is gone) is dropped: a deadline comes first."""
    line = json.dumps({"room": "nodeinit", "msg": message, **fields}).encode() + b"\n"
    err = select.poll()
    err.register(2, select.POLLOUT)
    if err.poll(0) == [(2, select.POLLOUT)]:
        with contextlib.suppress(OSError):
            os.write(2, line[: select.PIPE_BUF])


_locks: list[int] = []  # of ``alone``


def alone(path: str) -> bool:
    """Take a lock that lasts until we and every child that inherits it have ended. False: somebody has it."""
    lock = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    os.set_inheritable(lock, True)
    _locks.append(lock)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def hold_on() -> None:
    """Neither a lack of memory, nor a root disk that is gone, nor a busy host shall keep us from a deadline."""
    _libc.mlockall(_MCL_CURRENT_AND_FUTURE)
    with contextlib.suppress(OSError):
        policy = os.SCHED_RR | os.SCHED_RESET_ON_FORK
        os.sched_setscheduler(0, policy, os.sched_param(1))


def adopt_orphans() -> None:
    """Children of children become ours when their parent ends."""
    _libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def fork(argv: list[str], stdio: str, nice: int, confined: dict[str, Any] | None = None) -> int:
    """Start a child that dies with us. ``stdio`` is appended to; empty: our own standard output and error.
    ``confined``: see ``confine``.
    """
    parent = os.getpid()
    pid = os.fork()
    if pid:
        return pid
    try:
        signal.set_wakeup_fd(-1)
        for number in (
            signal.SIGCHLD,
            signal.SIGTERM,
            signal.SIGINT,
            signal.SIGHUP,
            signal.SIGPIPE,
        ):
            signal.signal(number, signal.SIG_DFL)
        _die_with(parent)
        os.setpgid(0, 0)  # a Ctrl-C at the terminal is for us alone
        null = os.open(os.devnull, os.O_RDONLY)
        os.dup2(null, 0)
        if stdio:
            out = os.open(stdio, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            os.dup2(out, 1)
            os.dup2(out, 2)
        if confined is not None:
            _let_go()
            confine.enter(confined)
            _die_with(parent)  # the kernel forgets it at a change of user
        if nice:
            os.nice(nice)
        os.execvp(argv[0], argv)
    except OSError as error:
        os.write(2, f"{argv[0]}: {error.strerror}\n".encode())
    except confine.CannotEnter as error:
        os.write(2, f"{error}\n".encode())
    finally:
        os._exit(127)


def _die_with(parent: int) -> None:
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(126)


def _let_go() -> None:
    """Of what is the first process's own, a watchdog device above all: an open of a disk may hang for long."""
    begin = 3
    for kept in sorted(_locks):
        os.closerange(begin, kept)
        begin = kept + 1
    os.closerange(begin, os.sysconf("SC_OPEN_MAX"))
