"""Starts one process in namespaces of its own, then waits for the word "go" before it becomes that process.

Run as a script of the standard library alone (``python -I -S launch.py JSON``), because it forks: a fork in a process
with threads and an event loop is asking for trouble. It prints the new process's pid as the machine sees it, so that
the caller can plug links into the new network namespace, and writes ``go`` when they are there. When the caller dies
first, the pipe ends without a word and the new process ends too: an ``up`` that is killed half way leaves nothing.

The namespaces have no name and no file. They live exactly as long as a process in them, so killing the process removes
links, mounts and, with a PID namespace, every descendant.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import socket
import sys
from typing import Any, NoReturn

_CLONE = {"mnt": 0x00020000, "uts": 0x04000000, "pid": 0x20000000, "net": 0x40000000}
_MS_BIND, _MS_REC, _MS_SLAVE = 0x1000, 0x4000, 0x80000
_MACHINE_NETNS_FD = 9  # the network namespace outside, for children that must work there

_libc = ctypes.CDLL(None, use_errno=True)


def _check(result: int, what: str) -> None:
    if result != 0:
        error = ctypes.get_errno()
        raise OSError(error, f"{what}: {os.strerror(error)}")


def _mount(source: str, target: str, kind: str, flags: int, data: str = "") -> None:
    """mount(2)."""
    result = _libc.mount(source.encode(), target.encode(), kind.encode(), flags, data.encode())
    _check(result, f"mount {target}")


def _furnish(spec: dict[str, Any]) -> None:
    """Mounts and host name of the new namespaces. Nothing mounted here is seen outside."""
    if "mnt" in spec["namespaces"]:
        _mount("none", "/", "none", _MS_REC | _MS_SLAVE)
        if "pid" in spec["namespaces"]:
            _mount("proc", "/proc", "proc", 0)
        for path in spec.get("tmpfs", ()):
            _mount("tmpfs", path, "tmpfs", 0, "mode=755,size=64m")
        for path in spec.get("directories", ()):
            os.makedirs(path, 0o700, exist_ok=True)
        for path, seen in spec.get("binds", ()):
            os.makedirs(seen, 0o755, exist_ok=True)
            _mount(path, seen, "none", _MS_BIND)
    if spec.get("hostname"):
        socket.sethostname(spec["hostname"])


def _weigh(nice: int) -> None:
    """Share of CPU of the new session as a whole, on kernels that schedule by session."""
    if nice:
        with contextlib.suppress(OSError), open("/proc/self/autogroup", "w") as file:
            file.write(str(nice))


def _become(spec: dict[str, Any], report: int) -> NoReturn:
    """Furnish the namespaces, say so, wait for "go", then turn into the program asked for."""
    log = 2
    try:
        os.setsid()
        log = os.open(spec["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        null = os.open("/dev/null", os.O_RDWR)
        _weigh(spec.get("autogroup_nice", 0))
        _furnish(spec)
        os.write(report, b"ready")
        os.close(report)
        os.dup2(null, 1)
        os.dup2(log, 2)
        if os.read(0, 2) != b"go":
            os._exit(0)
        os.dup2(null, 0)
        os.dup2(log, 1)
        os.chdir("/")
        os.execve(spec["program"], spec["argv"], spec["env"])
    except BaseException as error:
        words = f"cannot start {spec['argv'][0]}: {error}"
        with contextlib.suppress(OSError):
            os.write(report, words.encode())
        os.write(log, f"drover: {words}\n".encode())
        os._exit(1)


def _start(spec: dict[str, Any]) -> str:
    """The line for our caller: ``pid N`` or ``error WORDS``."""
    if spec.get("machine_netns"):
        fd = os.open("/proc/self/ns/net", os.O_RDONLY)
        os.dup2(fd, _MACHINE_NETNS_FD)  # inheritable
    flags = sum(_CLONE[name] for name in spec["namespaces"])
    heard, report = os.pipe()
    try:
        _check(_libc.unshare(flags), f"unshare {' '.join(spec['namespaces'])}")
        pid = os.fork()
    except OSError as error:
        return f"error {error}"
    if pid == 0:
        _become(spec, report)
    os.close(report)
    words = os.read(heard, 4096).decode()
    return f"pid {pid}" if words == "ready" else f"error {words or 'it died at once'}"


def main() -> int:
    sys.stdout.write(_start(json.loads(sys.argv[1])) + "\n")
    sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
