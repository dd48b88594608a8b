"""A watchdog device, as a node's first process uses it: armed, fed, closed by magic. Standard library only.

    closed --arm--> fed --(nobody feeds for T)--> the host is reset
              ^----- close by magic ('V') --'

A device knows no deadline: it fires T after it was fed last. So it stands behind the deadline that nodeinit keeps by
itself, for the case that nodeinit, or a QEMU that cannot be killed, does not keep it; and the group's times allow for
2 T more (docs/timing.md). It is closed only when no guest could run: the node was disarmed, or none of the QEMUs of the
life that ended is left. A process that dies with the device open has the host reset.

``LinuxDriver`` is the kernel's. It refuses what could never be closed again (no magic close, nowayout).
"""

from __future__ import annotations

import fcntl
import os
import struct
from pathlib import Path
from typing import Protocol

_SETTIMEOUT_OPTION, _MAGICCLOSE_OPTION = 0x0080, 0x0100  # linux/watchdog.h
_GETSUPPORT, _SETTIMEOUT, _GETTIMEOUT = 0x80285700, 0xC0045706, 0x80045707
_INFO = struct.Struct("=II32s")
FEEDS_PER_TIMEOUT = 4


class DeviceRefused(Exception):
    """It cannot guard this node; ``str()`` says why."""


class Driver(Protocol):
    """The file behind a device. All may raise OSError."""

    def open(self, path: str) -> None:
        """It counts from now on. Raises DeviceRefused, and counts not, when it could not be closed again."""
        ...

    def set_timeout(self, timeout_s: int) -> int:
        """What it took."""
        ...

    def write(self, content: bytes) -> None: ...

    def close(self) -> None: ...


class LinuxDriver:
    """``/dev/watchdogN``."""

    def __init__(self) -> None:
        self._fd = -1

    def open(self, path: str) -> None:
        number = os.stat(path).st_rdev
        stays = Path(f"/sys/dev/char/{os.major(number)}:{os.minor(number)}/nowayout")
        if stays.exists() and stays.read_text().strip() == "1":
            raise DeviceRefused(f"{path} is set to nowayout: the node could never be disarmed")
        self._fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        packed = fcntl.ioctl(self._fd, _GETSUPPORT, bytes(_INFO.size))
        options, _, identity = _INFO.unpack(packed)
        missing = {
            _SETTIMEOUT_OPTION: "no timeout can be set",
            _MAGICCLOSE_OPTION: "it knows no magic close",
        }
        why = [words for option, words in missing.items() if not options & option]
        if why:
            self.write(b"V")
            self.close()
            name = identity.rstrip(b"\0").decode(errors="replace")
            raise DeviceRefused(f"{path} ({name}): {'; '.join(why)}")

    def set_timeout(self, timeout_s: int) -> int:
        fcntl.ioctl(self._fd, _SETTIMEOUT, struct.pack("=i", timeout_s))
        return int(struct.unpack("=i", fcntl.ioctl(self._fd, _GETTIMEOUT, bytes(4)))[0])

    def write(self, content: bytes) -> None:
        os.write(self._fd, content)

    def close(self) -> None:
        os.close(self._fd)
        self._fd = -1


class Device:
    """The one device of a node. Times are of the caller's clock."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver
        self.effective_s = 0  # T as read back; 0: not armed
        self._fed_s = 0.0

    @property
    def armed(self) -> bool:
        return self.effective_s > 0

    @property
    def next_s(self) -> float:
        """When it is to be fed next."""
        return self._fed_s + self.effective_s / FEEDS_PER_TIMEOUT

    def arm(self, path: str, most_s: int, now_s: float) -> int:
        """Open it and set its timeout; what it took, which is never above ``most_s``. Idempotent. Raises
        DeviceRefused."""
        if self.armed:
            if self.effective_s > most_s:
                raise DeviceRefused(f"{path} is armed already with {self.effective_s} s")
            return self.effective_s
        try:
            self._driver.open(path)
            took = self._driver.set_timeout(most_s)
        except OSError as error:
            raise DeviceRefused(f"{path}: {error.strerror or error}") from error
        self.effective_s, self._fed_s = took, now_s
        if not 0 < took <= most_s:
            self.close()
            raise DeviceRefused(
                f"{path} takes {took} s instead of {most_s} s: configure a timeout that it takes"
            )
        return took

    def feed(self, now_s: float) -> None:
        """If it is time."""
        if self.armed and now_s >= self.next_s:
            self._fed_s = now_s
            self._driver.write(b"\0")

    def close(self) -> None:
        """By magic: it counts no more. Only when no guest can run."""
        if self.armed:
            self._driver.write(b"V")
            self._driver.close()
            self.effective_s = 0
