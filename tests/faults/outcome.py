"""The outcome of one cell of the table, and waiting for one."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from tests.faults.cells import Fault, Step

from drover.api import status

POLL_S = 0.1


@dataclass
class Cell:
    """The outcome of one pair."""

    step: Step
    fault: Fault
    wrong: list[str] = field(default_factory=list)
    took_s: float = 0.0
    pause_ms: int = 0  # as the guest's clock saw it
    gap_ms: int = 0  # as a ping from the machine saw it
    restarted: bool = False
    fell: Step | None = None  # where the fault really came, by the times in the logs
    held: bool = False
    vmop: str = ""
    spent_s: dict[str, float] = field(default_factory=dict)  # where the time of the cell went

    @contextmanager
    def timed(self, part: str) -> Iterator[None]:
        began = time.monotonic()
        try:
            yield
        finally:
            spent = time.monotonic() - began
            self.spent_s[part] = round(self.spent_s.get(part, 0.0) + spent, 2)

    @property
    def good(self) -> bool:
        return not self.wrong


async def eventually(check: Callable[[], Awaitable[str]], limit_s: float) -> str:
    """Poll until ``check`` finds nothing wrong; silence of the API is not an answer. Returns what is still wrong."""
    deadline = time.monotonic() + limit_s
    wrong = ""
    while True:
        try:
            wrong = await check()
        except (status.ApiError, status.Unanswered) as error:
            wrong = f"the API says: {error}"
        if not wrong or time.monotonic() > deadline:
            return wrong
        await asyncio.sleep(POLL_S)
