"""The ledger counts on where its file ends, and the check finds what would be wrong with it."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any


def tool(path: Path, *args: str | Path) -> str:
    command = [path, *args]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=20).stdout


def check(path: Path, ledger: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(tool(path, "check", ledger))
    return found


def test_goes_on_where_it_ended(guest_tool: Path, tmp_path: Path) -> None:
    ledger = tmp_path / "ledger"
    tool(guest_tool, "ledger", ledger, "1", "20")
    tool(guest_tool, "ledger", ledger, "1", "1")
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    found = check(guest_tool, ledger)
    pause = found.pop("worst_pause_ms")
    assert 0 < pause < 5000
    assert found == {
        "boots": [boot],
        "lines": 21,
        "first": 1,
        "last": 21,
        "duplicates": 0,
        "gaps": 0,
        "missing": 0,
        "torn": 0,
    }


def test_cuts_a_torn_last_line(guest_tool: Path, tmp_path: Path) -> None:
    ledger = tmp_path / "ledger"
    tool(guest_tool, "ledger", ledger, "1", "3")
    with ledger.open("a") as f:
        f.write("4 torn-bo")
    assert check(guest_tool, ledger)["torn"] == 1
    tool(guest_tool, "ledger", ledger, "1", "2")
    found = check(guest_tool, ledger)
    assert (found["torn"], found["last"], found["gaps"]) == (0, 5, 0)


def test_a_lone_torn_line_is_an_empty_ledger(guest_tool: Path, tmp_path: Path) -> None:
    ledger = tmp_path / "ledger"
    ledger.write_text("77 half")
    tool(guest_tool, "ledger", ledger, "1", "1")
    assert check(guest_tool, ledger)["first"] == 1


def test_check_counts_what_is_wrong(guest_tool: Path, tmp_path: Path) -> None:
    lines = [(1, "a", 0), (2, "a", 10), (5, "a", 320), (5, "b", 1), (6, "b", 2), (9, "b", 9)]
    ledger = tmp_path / "ledger"
    ledger.write_text("".join(f"{n} {boot} 0 {ms * 1000000}\n" for n, boot, ms in lines))
    assert check(guest_tool, ledger) == {
        "boots": ["a", "b"],
        "lines": 6,
        "first": 1,
        "last": 9,
        "duplicates": 1,
        "gaps": 2,
        "missing": 4,
        "torn": 0,
        "worst_pause_ms": 310,
    }


def test_ticks_go_to_the_serial_line(guest_tool: Path, tmp_path: Path) -> None:
    serial = tmp_path / "tty"
    serial.touch()
    tool(guest_tool, "ledger", "--serial", serial, tmp_path / "ledger", "1", "2")
    assert serial.read_text() == "TICK 1\nTICK 2\n"


def test_dirty_keeps_to_its_rate(guest_tool: Path) -> None:
    tool(guest_tool, "dirty", "4", "8", "1")
    assert subprocess.run([guest_tool, "dirty", "0", "8"], capture_output=True).returncode == 2
