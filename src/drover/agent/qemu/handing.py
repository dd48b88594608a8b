"""How a QEMU gets at its files, sockets and tap: by name, with the agent's rights; or handed to it, opened.

``commandline`` asks one of these for the words. ``ByName`` is for a node that cannot confine (an earlier first process,
no root). ``Handed`` collects what the first process opens before it becomes QEMU (``agent.confine``); the words then
name a descriptor. A disk's locks and the meaning of every option stay what they were: QEMU looks a descriptor set up
where it would open a file, and takes the locks itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from drover.agent.confine import FIRST_FD


class Handing(Protocol):
    """Words of a command line for things of the host."""

    def disk(self, path: str, read_only: bool) -> str:
        """A file name for a block device."""
        ...

    def log(self, path: Path) -> str:
        """A file name to append to."""
        ...

    def socket(self, path: Path) -> str:
        """The part of a chardev that says where it listens."""
        ...

    def netdev(self, wire: Mapping[str, object]) -> dict[str, object]:
        """``wire`` as QEMU gets it."""
        ...

    def words(self) -> list[str]:
        """Options that must be there for the above."""
        ...


class ByName:
    """QEMU opens everything itself."""

    def disk(self, path: str, read_only: bool) -> str:
        return path

    def log(self, path: Path) -> str:
        return doubled(str(path))

    def socket(self, path: Path) -> str:
        return f"path={doubled(str(path))}"

    def netdev(self, wire: Mapping[str, object]) -> dict[str, object]:
        return dict(wire)

    def words(self) -> list[str]:
        return []


class Handed:
    """``things``: what the first process shall open, as ``agent.confine`` has it."""

    def __init__(self) -> None:
        self.things: list[tuple[int, str, str]] = []
        self._files: list[tuple[int, str]] = []  # descriptor, what it is for people

    def disk(self, path: str, read_only: bool) -> str:
        return self._file("read" if read_only else "write", path)

    def log(self, path: Path) -> str:
        return self._file("append", str(path))

    def socket(self, path: Path) -> str:
        return f"fd={self._take('socket', str(path))}"

    def netdev(self, wire: Mapping[str, object]) -> dict[str, object]:
        if wire["type"] != "tap":
            return dict(wire)
        return {"type": "tap", "fd": str(self._take("tap", str(wire["ifname"])))}

    def words(self) -> list[str]:
        said: list[str] = []
        for number, what in self._files:
            said += ["-add-fd", f"fd={number},set={number},opaque={doubled(what)}"]
        return said

    def _take(self, kind: str, name: str) -> int:
        number = FIRST_FD + len(self.things)
        self.things.append((number, kind, name))
        return number

    def _file(self, kind: str, path: str) -> str:
        number = self._take(kind, path)
        self._files.append((number, f"{kind}:{path}"))
        return f"/dev/fdset/{number}"


def doubled(text: str) -> str:
    """For options that know no JSON."""
    return text.replace(",", ",,")
