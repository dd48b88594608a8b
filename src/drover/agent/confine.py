"""What a child of the node's first process gives up before it becomes QEMU, and what it is handed instead.

A *confinement* is a dict, since it comes over a socket: ``user`` (a number, of the user and of its group), ``groups``
(further ones), ``cgroups`` (files that a process joins by writing to them), ``handed``: ``[fd, kind, name]`` for each
thing that is opened here, with root's rights, and found by QEMU under that descriptor:

    read | write | append   the file of that name            socket   bound to that path, not listening yet
    tap                     the interface of that name

So QEMU opens no disk, log, socket or device by name, and nothing of it has to be readable by its user: directories
that hosts share keep their owners and modes, and the user is a matter of this host alone.

The order: files and control groups while we are root, then the user, with which all capabilities go, then the promise
that no exec gives any back. Standard library only, as ``nodeinit`` itself. Not promised: that QEMU cannot open what
every user of the host may read.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import struct
from collections.abc import Iterable
from typing import Any

from drover.agent import sockets

FIRST_FD = 200  # well above what a first process has open
_TUN = "/dev/net/tun"
_TUNSETIFF = 0x400454CA
_TAP_NO_INFO_VNET_HEADER = 0x0002 | 0x1000 | 0x4000
_PR_SET_NO_NEW_PRIVS = 38

_libc = ctypes.CDLL(None, use_errno=True)


class CannotEnter(Exception):
    """``str()`` is for people; of a file that cannot be opened the words are QEMU's own."""


def enter(wanted: dict[str, Any]) -> None:
    """In the child. Raises CannotEnter, OSError."""
    for number, kind, name in wanted["handed"]:
        try:
            taken = _taken(kind, name)
        except OSError as error:
            raise CannotEnter(f"Could not open '{name}': {error.strerror}") from error
        os.dup2(taken, number)
        os.close(taken)
    for tasks in wanted["cgroups"]:
        _join(tasks)
    user = wanted["user"]
    os.setgroups(wanted["groups"])
    os.setresgid(user, user, user)
    os.setresuid(user, user, user)
    if _libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        raise CannotEnter("the kernel does not know PR_SET_NO_NEW_PRIVS")


def above(tasks: Iterable[str]) -> set[str]:
    """The control groups in which the groups of children are."""
    return {os.path.dirname(os.path.dirname(file)) for file in tasks}


def leave(groups: Iterable[str]) -> None:
    """Remove these with all that is in them, as far as nobody is in them any more."""
    for group in groups:
        with contextlib.suppress(OSError):
            for entry in list(os.scandir(group)):
                if entry.is_dir():
                    os.rmdir(entry.path)
            os.rmdir(group)


def _join(tasks: str) -> None:
    try:
        with open(tasks, "wb", buffering=0) as file:
            file.write(b"0")  # whoever writes it
    except OSError as error:
        raise CannotEnter(f"{tasks}: {error.strerror}") from error


def _taken(kind: str, name: str) -> int:
    match kind:
        case "read":
            return os.open(name, os.O_RDONLY)
        case "write":
            return os.open(name, os.O_RDWR)
        case "append":
            return os.open(name, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        case "socket":
            return sockets.bound(name).detach()
        case "tap":
            tap = os.open(_TUN, os.O_RDWR)
            fcntl.ioctl(
                tap, _TUNSETIFF, struct.pack("16sH22x", name.encode(), _TAP_NO_INFO_VNET_HEADER)
            )
            return tap
    raise CannotEnter(f"nothing of the kind {kind!r} can be handed to a process")
