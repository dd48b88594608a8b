"""Pings a guest and finds the longest time without an answer. Pure but for the command's text.

The gap is that between the arrivals of two successive answers, so it holds the ping's own interval.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable
from dataclasses import dataclass

INTERVAL_MS = 20
_ANSWER = re.compile(r"\[(\d+\.\d+)\] \d+ bytes from .* icmp_seq=(\d+) ")


@dataclass(frozen=True)
class PingReport:
    """What a run of ``ping`` says."""

    answers: int
    lost: int
    longest_gap_ms: float


def command(address: str) -> str:
    return f"ping -D -n -i {INTERVAL_MS / 1000:.2f} {address}"


def once(address: str) -> str:
    return f"ping -n -c 1 -W 1 {address}"


def report(lines: Iterable[str]) -> PingReport:
    """From the lines of ``ping -D``."""
    times: list[float] = []
    numbers: list[int] = []
    for line in lines:
        if found := _ANSWER.match(line):
            times.append(float(found[1]))
            numbers.append(int(found[2]))
    gaps = [after - before for before, after in itertools.pairwise(times)]
    lost = numbers[-1] - numbers[0] + 1 - len(set(numbers)) if numbers else 0
    return PingReport(len(times), max(0, lost), 1000 * max(gaps, default=0.0))
