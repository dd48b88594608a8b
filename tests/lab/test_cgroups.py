"""What labs that were killed leave of control groups. On a directory, where a file stands for what makes the kernel
refuse: a process in the group."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from drover.lab import cgroups
from drover.lab.home import Home
from drover.lab.lab import Lab

DEAD, LIVES = "0a1b2c", "ffee00"


@pytest.fixture
def mounts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(cgroups, "_MOUNTS", tmp_path / "mounts")
    return tmp_path / "mounts"


def left(mounts: Path) -> list[str]:
    return sorted(str(path.relative_to(mounts)) for path in mounts.glob("**/drover-*"))


def make(mounts: Path, *groups: str) -> None:
    for group in groups:
        (mounts / group).mkdir(parents=True)


def none() -> set[str]:
    return set()


def test_groups_of_dead_labs_are_swept_with_what_is_below_wherever_they_are(mounts: Path) -> None:
    make(mounts, f"cpu/drover-{DEAD}-virtlab-pt-1/vm-a", f"memory/x/drover-{DEAD}-virtlab-pt-12")
    cgroups.sweep_dead(none)
    assert left(mounts) == []


def test_those_of_a_living_lab_and_of_strangers_stay(mounts: Path) -> None:
    stays = [
        f"cpu/drover-{LIVES}-virtlab-pt-1",
        "cpu/drover-agent.service",
        f"cpu/drover-{DEAD}-host-1",
    ]
    make(mounts, *stays)
    cgroups.sweep_dead(lambda: {LIVES})
    assert left(mounts) == sorted(stays)


def test_a_group_with_a_process_stays(mounts: Path) -> None:
    group = f"cpu/drover-{DEAD}-virtlab-pt-1"
    make(mounts, f"{group}/vm-a", f"{group}/vm-b")
    (mounts / group / "vm-a" / "cgroup.procs").write_text("1")
    cgroups.sweep_dead(none)
    assert [path.name for path in (mounts / group).iterdir()] == ["vm-a"]


def test_a_lab_that_begins_while_we_look_keeps_its_groups(mounts: Path) -> None:
    make(mounts, f"cpu/drover-{DEAD}-virtlab-pt-1")

    def living() -> set[str]:
        make(mounts, f"cpu/drover-{LIVES}-virtlab-pt-1")
        return set()  # its first process came after we had looked for processes

    cgroups.sweep_dead(living)
    assert left(mounts) == [f"cpu/drover-{LIVES}-virtlab-pt-1"]


@pytest.mark.parametrize("end", [lambda lab: lab.down(print), lambda lab: lab.reset(print)])
def test_down_and_reset_sweep_also_when_the_home_is_gone(
    mounts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, end: Callable[[Lab], object]
) -> None:
    monkeypatch.setattr("drover.lab.lab._require_root", lambda: None)
    lab = Lab(Home.at(tmp_path / "gone"))
    make(mounts, f"cpu/drover-{lab.lab_id}-virtlab-pt-1/vm-a")
    end(lab)
    assert left(mounts) == []
