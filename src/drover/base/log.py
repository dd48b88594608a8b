"""Structured log lines, one JSON object each, with the caller's clock.

A ``Log`` carries bound fields (vm, node, vmop) and writes to one sink. ``mark`` writes a named step of a story: tests
and the fault harness wait for marks, and the simulation proves that every branch with a mark is reached.
The sink must not block for long; nothing here buffers. Secrets never go into fields: callers log names, not contents.
"""

from __future__ import annotations

import json
import sys
import traceback
from collections.abc import Callable
from typing import Any

from drover.base.clock import Clock, rfc3339_micro

BUG = "an object has found a bug"
_MOST_TRACEBACK = 8000

Sink = Callable[[dict[str, Any]], None]


def stderr_sink(entry: dict[str, Any]) -> None:
    """One JSON line on standard error, flushed."""
    sys.stderr.write(json.dumps(entry, default=str) + "\n")
    sys.stderr.flush()


class Log:
    """A log with bound fields. ``bind`` makes a child with more of them."""

    def __init__(self, clock: Clock, sink: Sink = stderr_sink, **fields: Any) -> None:
        self._clock = clock
        self._sink = sink
        self._fields = fields

    def bind(self, **fields: Any) -> Log:
        return Log(self._clock, self._sink, **{**self._fields, **fields})

    def info(self, message: str, **fields: Any) -> None:
        self._write("info", message, fields)

    def warn(self, message: str, **fields: Any) -> None:
        self._write("warn", message, fields)

    def error(self, message: str, **fields: Any) -> None:
        self._write("error", message, fields)

    def bug(self, error: Exception, **fields: Any) -> None:
        """A mistake of ours that one object has found; whoever handles objects goes on with the others."""
        told = "".join(traceback.format_exception(error))[-_MOST_TRACEBACK:]
        self._write("error", BUG, {**fields, "error": repr(error), "traceback": told})

    def mark(self, step: str, **fields: Any) -> None:
        """A named step of a story, for example ``evict.handed-over``."""
        self._write("mark", step, fields)

    def _write(self, level: str, message: str, fields: dict[str, Any]) -> None:
        stamp = rfc3339_micro(self._clock.wall())
        self._sink({"t": stamp, "level": level, "msg": message, **self._fields, **fields})
