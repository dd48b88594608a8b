"""A watchdog device that is none: what is written to it goes into a FIFO, and a model tells whether it would fire.

``FifoDriver`` stands in for the kernel's driver within a real first process of a node (run this file for one);
``Model`` reads the other end. No device of this machine is ever opened.
"""

from __future__ import annotations

import os
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from drover.agent.device import DeviceRefused
from drover.agent.nodeinit import NodeInit


class FifoDriver:
    """Takes whole seconds up to ``most_s``."""

    def __init__(self, most_s: int = 60) -> None:
        self._most_s = most_s
        self._fd = -1

    def open(self, path: str) -> None:
        if not Path(path).is_fifo():
            raise DeviceRefused(f"{path} is no stand-in for a watchdog")
        self._fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        self.write(b"o")  # the device counts from now on

    def set_timeout(self, timeout_s: int) -> int:
        return timeout_s if timeout_s <= self._most_s else 2 * timeout_s

    def write(self, content: bytes) -> None:
        os.write(self._fd, content)

    def close(self) -> None:
        os.close(self._fd)


@dataclass
class Model:
    """The device. It counts from when it is opened (the first byte) until a magic close."""

    path: Path
    timeout_s: float
    fed_s: list[float] = field(default_factory=list)
    closed: bool = False
    fired: bool = False

    def __post_init__(self) -> None:
        os.mkfifo(self.path)
        self._fd = os.open(self.path, os.O_RDONLY | os.O_NONBLOCK)

    def look(self) -> None:
        """Take in what was written since the last look; look often."""
        try:
            said = os.read(self._fd, 4096)
        except BlockingIOError:
            said = b""
        now_s = time.monotonic()
        if said:
            self.closed = said.endswith(b"V")
            self.fed_s.append(now_s)
        elif self.fed_s and not self.closed and now_s - self.fed_s[-1] > self.timeout_s:
            self.fired = True

    def close(self) -> None:
        os.close(self._fd)


if __name__ == "__main__":
    sys.exit(NodeInit(sys.argv[1], sys.argv[2:], FifoDriver()).run())
