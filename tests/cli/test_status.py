"""How `status` reads when parts are off or the API is silent; `top` as a table."""

from __future__ import annotations

from typing import Any

import pytest
from tests.answers.test_why_objects import a_node, a_vm

from drover.answers.overview import Overview
from drover.answers.world import World
from drover.cli import status, top
from drover.cli.status import Seen
from drover.lab.lab import PartStatus


def part(name: str, state: str = "Running") -> PartStatus:
    return PartStatus(name, state, "10.67.10.1", 7)


def known(*objects: Any) -> Overview:
    return Overview(World.of(objects, 0.0))


def test_what_is_broken_comes_with_its_way_out() -> None:
    broken = [part("etcd", "Off"), part("n1", "Isolated"), part("n2", "Frozen"), part("n3")]
    seen = Seen(broken, silent="etcd is off")
    assert not seen.well
    ways = {one["says"]: one["wayOut"] for one in seen.as_json()["attention"]}
    assert ways["n1 is Isolated"] == "`drover lab rejoin n1` plugs its cable in"
    assert ways["n2 is Frozen"] == "`drover lab thaw n2` lets its agent go on"
    assert "drover up" in ways["etcd is Off"]
    assert any(said.startswith("The API does not answer: etcd is off") for said in ways)
    assert seen.as_json()["api"] == {"answers": False, "why": "etcd is off"}
    assert "nodes" not in seen.as_json()


def test_a_lab_that_is_down_is_one_line_and_nothing_is_said_of_vms_that_run_on() -> None:
    off = [part(name, "Off") for name in ("etcd", "apiserver", "n1", "n2")]
    seen = Seen(off, silent="apiserver and etcd are off")
    (one,) = seen.as_json()["attention"]
    assert one["says"] == "The lab is stopped: nothing of it runs"
    assert one["wayOut"] == "`drover up` starts what is off"
    assert not seen.well


def test_it_is_told_what_one_may_not_read(capsys: pytest.CaptureFixture[str]) -> None:
    seen = Seen([part("n1")], known(a_node("n1"), *a_vm("a", "n1")), missing=("NodeFence",))
    status._show(seen)
    out = capsys.readouterr().out
    assert "not readable with your rights: NodeFence" in out
    assert "VMs: 1 (1 Running)" in out
    assert "Nothing needs attention." in out
    assert "\x1b" not in out


def test_many_troubles_are_told_in_part(capsys: pytest.CaptureFixture[str]) -> None:
    status._show(Seen([part(f"n{number}", "Frozen") for number in range(status.MOST_TOLD + 3)]))
    assert "and 3 more: " in capsys.readouterr().out


def test_top_sorts_and_marks_80_percent() -> None:
    found = known(a_node("n1"), a_node("n2"), *a_vm("a", "n1"), *a_vm("b", "n2", cores=4))
    head, *rows = top._lines(found, "vms", "cpu")
    assert head.split()[0] == "VM"
    assert [row.split()[0] for row in rows] == ["users/b", "users/a"]
    assert [row.split()[0] for row in top._lines(found, "vms", "name")[1:]] == [
        "users/a",
        "users/b",
    ]
    assert top._bar(0) == "................|..."
    assert top._bar(80) == "################|..."
    assert top._bar(100) == "#" * 20
    assert len({len(top._bar(percent)) for percent in range(0, 300, 7)}) == 1
