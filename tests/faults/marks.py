"""Follows the logs of a running lab: marks are the steps of a story, and a test waits for them here."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.faults.cells import Step

POLL_S = 0.001  # between two steps of a hand-over lie a few milliseconds


class NoMark(AssertionError):
    """The step did not come in time."""


@dataclass(frozen=True)
class Mark:
    """One step, as somebody has noted it."""

    name: str
    at: str
    fields: dict[str, Any] = field(default_factory=dict)

    def get(self, key: str) -> str:
        return str(self.fields.get(key, ""))


class MarkLog:
    """All marks that the parts of a lab write from now on."""

    def __init__(self, logs: Path) -> None:
        self._logs = logs
        self._offsets = {path: path.stat().st_size for path in self._paths()}
        self._rest: dict[Path, bytes] = {}
        self.seen: list[Mark] = []

    def _paths(self) -> list[Path]:
        return sorted(self._logs.glob("*.log"))

    def read(self) -> list[Mark]:
        """The marks since the last call."""
        new: list[Mark] = []
        for path in self._paths():
            size, offset = path.stat().st_size, self._offsets.get(path, 0)
            if size < offset:  # the supervisor bounds the logs
                offset = 0
            if size > offset:
                with path.open("rb") as file:
                    file.seek(offset)
                    data = self._rest.get(path, b"") + file.read(size - offset)
                lines = data.split(b"\n")
                self._rest[path] = lines.pop()
                new += [mark for line in lines if (mark := _mark(line)) is not None]
            self._offsets[path] = size
        self.seen += new
        return new

    async def wait(self, wanted: Callable[[Mark], bool], limit_s: float, what: str) -> Mark:
        """The first mark from now on, or of those read already, that is wanted."""
        deadline = time.monotonic() + limit_s
        looked = 0
        while True:
            self.read()
            for mark in self.seen[looked:]:
                if wanted(mark):
                    return mark
            looked = len(self.seen)
            if time.monotonic() > deadline:
                steps = ", ".join(mark.name for mark in self.seen) or "nothing"
                raise NoMark(f"no {what} within {limit_s:.0f} s; seen: {steps}")
            await asyncio.sleep(POLL_S)


def _mark(line: bytes) -> Mark | None:
    if b'"mark"' not in line:
        return None
    try:
        entry = json.loads(line)
    except ValueError:
        return None
    if entry.get("level") != "mark":
        return None
    return Mark(str(entry["msg"]), str(entry["t"]), entry)


def fell_into(meant: Step, seen: list[Mark], vm: str, at: str) -> Step:
    """The step at which a fault came: a mark may be read late, and the next step may have been taken before."""
    later = {
        "evict.completed": Step.COMPLETED,
        "evict.hand-over": Step.HANDED_OVER,
        "resumed": Step.RESUMED,
    }
    order = list(Step)
    fell = meant
    for mark in seen:
        step = later.get(mark.name)
        known = step is not None and mark.get("vm") == vm and mark.at < at
        if known and order.index(step) > order.index(fell):
            fell = step
    return fell
