"""Marks on disk that survive a crash of agent and node: the real Journal.

One small file per mark, ``<directory>/<copy>/<mark>``, replaced at once and synced, file and
directories both, before ``put`` returns. Safety rule 4 rests on this: "resuming" is on disk before
the first ``cont`` is sent. It does not promise to be fast (a few milliseconds a mark) or to guard
against a directory that is lost as a whole (rule 9).

One journal of one process writes in a directory, so what it has read or written is what is there, and
is not read again: a keeper looks at seven marks at every turn, most of all while a guest stands still.
A write that fails may have landed or not; then the file is asked.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
from pathlib import Path

from drover.agent.ports import host_errors
from drover.base.checks import require

_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")


class DiskJournal:
    """Marks below one directory of the node's lasting state."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._known: dict[str, dict[str, str | None]] = {}  # by copy and mark; None: not there
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        sync_directory(directory.parent)

    def put(self, copy: str, mark: str, value: str = "") -> None:
        home = self._home(copy)
        with host_errors(f"the mark {mark} of {copy} cannot be written"):
            self._unknown(copy, mark)
            if not home.is_dir():
                home.mkdir(mode=0o700)
                sync_directory(self._directory)
            write_synced(home / _checked(mark), value.encode())
            self._known.setdefault(copy, {})[mark] = value

    def get(self, copy: str, mark: str) -> str | None:
        known = self._known.get(copy, {})
        if mark in known:
            return known[mark]
        home = self._home(copy)
        with host_errors(f"the mark {mark} of {copy} cannot be read"):
            try:
                value: str | None = (home / _checked(mark)).read_text()
            except FileNotFoundError:
                if not home.is_dir():
                    return None  # nor is it kept here: a copy that is forgotten leaves nothing
                value = None
            self._known.setdefault(copy, {})[mark] = value
        return value

    def drop(self, copy: str, mark: str) -> None:
        home = self._home(copy)
        with host_errors(f"the mark {mark} of {copy} cannot be removed"):
            self._unknown(copy, mark)
            if home.is_dir():
                (home / _checked(mark)).unlink(missing_ok=True)
                sync_directory(home)

    def forget(self, copy: str) -> None:
        with host_errors(f"the marks of {copy} cannot be removed"):
            self._known.pop(copy, None)
            with contextlib.suppress(FileNotFoundError):
                shutil.rmtree(self._home(copy))
            sync_directory(self._directory)

    def copies(self) -> list[str]:
        return sorted(entry.name for entry in self._directory.iterdir() if entry.is_dir())

    def _unknown(self, copy: str, mark: str) -> None:
        self._known.get(copy, {}).pop(mark, None)

    def _home(self, copy: str) -> Path:
        return self._directory / _checked(copy)


def write_synced(path: Path, content: bytes) -> None:
    """Replace ``path`` at once; its content and name are on disk when this returns."""
    part = path.with_name(path.name + ".part")
    with part.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
    sync_directory(path.parent)


def sync_directory(path: Path) -> None:
    """Force the entries of a directory to disk."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _checked(name: str) -> str:
    require(_NAME.fullmatch(name) is not None, f"{name!r} is no name for a journal entry")
    return name
