"""A log that a guest writes as it likes does not fill the disk, and its readers see whole lines of the end."""

from __future__ import annotations

from pathlib import Path

from drover.agent import logfiles
from drover.agent.kubelet.serial_log import Wanted, read
from drover.base.clock import RealClock

MIB = 1 << 20
LINE = b"x" * 63 + b"\n"


def written(path: Path, mebibytes: int) -> None:
    with path.open("ab") as file:
        file.write(LINE * (mebibytes * MIB // len(LINE)))


def used(path: Path) -> int:
    return path.stat().st_blocks * 512


async def content(path: Path, want: Wanted) -> bytes:
    return b"".join([chunk async for chunk in read(path, want, RealClock())])


async def test_the_oldest_part_gives_its_space_back(tmp_path: Path) -> None:
    log = tmp_path / "serial.log"
    written(log, 8)
    for _ in range(3):
        logfiles.bound(log, MIB)
        assert used(log) <= MIB + 4096
        assert log.stat().st_size >= 8 * MIB  # the writer's place is what it was
        written(log, 1)
    logfiles.bound(log, MIB)
    assert await content(log, Wanted()) == LINE * (MIB // len(LINE))
    assert await content(log, Wanted(tail_lines=2)) == LINE * 2


def test_a_short_log_and_a_missing_one_are_left_alone(tmp_path: Path) -> None:
    log = tmp_path / "serial.log"
    logfiles.bound(log, MIB)
    assert not log.exists()
    log.write_bytes(LINE)
    logfiles.bound(log, MIB)
    assert log.read_bytes() == LINE
    assert logfiles.first(log) == 0
