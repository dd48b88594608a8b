"""A VM's serial log as container logs: tail, limits, follow. Lines carry no times: QEMU writes none.

``timestamps`` and ``since`` are therefore refused by name rather than answered with invented times.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from drover.agent import logfiles
from drover.base.clock import Clock

CHUNK_BYTES = 64 * 1024
POLL_S = 0.2


@dataclass(frozen=True)
class Wanted:
    follow: bool = False
    tail_lines: int | None = None
    limit_bytes: int | None = None


def wanted(query: Mapping[str, str]) -> Wanted:
    """From the query of a containerLogs request. Raises ValueError with a sentence for users."""
    for name in ("timestamps", "sinceSeconds", "sinceTime"):
        if query.get(name, "false") not in ("false", ""):
            raise ValueError(f"{name} is not supported: a serial log has no times")
    if query.get("previous") == "true":
        raise ValueError("previous is not supported: every start of a VM is a new Pod")

    def number(name: str) -> int | None:
        text = query.get(name)
        return None if text is None else max(0, int(text))

    follow = query.get("follow") in ("true", "1")
    return Wanted(follow, number("tailLines"), number("limitBytes"))


async def read(path: Path, want: Wanted, clock: Clock) -> AsyncIterator[bytes]:
    """The log's chunks; with ``follow`` until the file is removed or the caller stops."""
    left = want.limit_bytes
    offset = _tail_offset(path, want.tail_lines)
    while True:
        chunk = _chunk(path, offset)
        if chunk is None:
            return
        if chunk:
            offset += len(chunk)
            if left is not None:
                chunk = chunk[:left]
                left -= len(chunk)
            yield chunk
            if left == 0:
                return
        elif not want.follow:
            return
        else:
            await clock.sleep(POLL_S)


def _chunk(path: Path, offset: int) -> bytes | None:
    try:
        with path.open("rb") as file:
            file.seek(offset)
            return file.read(CHUNK_BYTES)
    except FileNotFoundError:
        return None


def _tail_offset(path: Path, lines: int | None) -> int:
    """Where the last ``lines`` lines begin."""
    if lines is None:
        return logfiles.first(path)
    try:
        size = path.stat().st_size
    except FileNotFoundError:
        return 0
    if lines == 0:
        return size
    position, found = size, 0
    with path.open("rb") as file:
        while position > 0:
            step = min(CHUNK_BYTES, position)
            position -= step
            file.seek(position)
            chunk = file.read(step)
            body = chunk[:-1] if position + step == size else chunk
            for index in range(len(body) - 1, -1, -1):
                if body[index] == 10:
                    found += 1
                    if found == lines:
                        return position + index + 1
    return 0
