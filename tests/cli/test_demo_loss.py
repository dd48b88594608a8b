"""The demo's losses leave the lab as it was, also when a step fails. The story itself is played in test_on_a_lab."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest

from drover.api import names, scheme
from drover.api.fencing import Armed, Evidence, Timing
from drover.cli import demo_loss
from drover.cli.demo_loss import Losses
from drover.cli.demo_stage import DemoFailed

NODES = ("virtlab-pt-1", "virtlab-pt-2", "virtlab-pt-3")


class Clock:
    """Jumps instead of waiting."""

    now_s = 0.0

    def monotonic(self) -> float:
        return self.now_s

    async def sleep(self, delay_s: float) -> None:
        self.now_s += delay_s


class Stage:
    """Notes the commands; ``lab power-off`` and ``isolate`` move the VM when ``restarts``."""

    def __init__(self, restarts: bool) -> None:
        self.clock = Clock()
        self.ran: list[str] = []
        self.restarts = restarts
        self.at = NODES[0]

    def title(self, text: str) -> None:
        return

    tell = title

    @contextlib.asynccontextmanager
    async def step(self, name: str) -> AsyncIterator[None]:
        yield

    ticking = step

    async def run(self, command: str) -> str:
        words = command.split()
        self.ran.append(" ".join(words[1:4]))
        if words[1:3] in (["lab", "power-off"], ["lab", "isolate"]) and self.restarts:
            self.at = NODES[(NODES.index(words[3]) + 1) % 3]
        return ""


class Client:
    """What the API says: all nodes are armed and well."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage

    async def get(self, kind: scheme.Kind, name: str, namespace: str = "") -> dict[str, Any]:
        assert kind is scheme.VML
        return {"spec": {"node": self._stage.at, "holder": "pod"}}

    async def list(self, kind: scheme.Kind, namespace: str = "", **_: str) -> tuple[Any, str]:
        if kind is scheme.NODE:
            ready = {"conditions": [{"type": "Ready", "status": "True"}]}
            return [{"metadata": {"name": node}, "spec": {}, "status": ready} for node in NODES], ""
        if kind is scheme.LEASE:
            return [lease(node) for node in NODES], ""
        return [], ""


def lease(node: str) -> dict[str, Any]:
    said = Evidence("7", "boot", node, 7, Armed.of(Timing(10), "deadline")).dump()
    marks = {names.INCARNATION_ANNOTATION: "life", names.EVIDENCE_ANNOTATION: said}
    return {"metadata": {"name": node, "annotations": marks}}


class Moves:
    async def address(self, vm: str) -> str:
        return "10.66.10.10"

    async def wait_answer(self, vm: str, address: str, limit_s: float) -> None:
        return


class Api:
    def __init__(self, stage: Stage) -> None:
        self.client = Client(stage)
        self.clock = stage.clock


def losses(stage: Stage) -> Losses:
    return Losses(stage, Api(stage), Moves())  # type: ignore[arg-type]


async def test_two_hosts_are_lost_and_mended() -> None:
    stage = Stage(restarts=True)
    await losses(stage).play("linux-vm")
    faults = [command for command in stage.ran if command.startswith("lab")]
    assert faults == [
        "lab power-off virtlab-pt-1",
        "lab power-on virtlab-pt-1",
        "lab isolate virtlab-pt-2",
        "lab rejoin virtlab-pt-2",
    ]
    assert stage.ran[0] == stage.ran[-1] == "k patch nodegroup"  # on, and off again
    assert stage.ran.count("fence show virtlab-pt-1") == 1


async def test_a_vm_that_does_not_come_leaves_the_lab_mended() -> None:
    stage = Stage(restarts=False)
    with pytest.raises(DemoFailed, match=r"linux-vm has not started elsewhere after 180 s"):
        await losses(stage).play("linux-vm")
    assert stage.ran[-2:] == ["lab power-on virtlab-pt-1", "k patch nodegroup"]
    assert stage.clock.now_s < demo_loss.LOSS_LIMIT_S + 5
