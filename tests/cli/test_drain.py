"""What a drain chooses, tells and estimates; the command at work is tried on a lab by tests/e2e."""

from __future__ import annotations

from typing import Any

import pytest

from drover.api.evacuation import Blocked, BlockedReason, blocked_patch
from drover.api.names import VM_NAME_LABEL
from drover.cli.drain_plan import Options, choose
from drover.cli.drain_view import Screen, Seen, row
from drover.controllers.vmop.following import QUEUED

MIB = 2**20


def pod(name: str, owner: str = "ReplicaSet", phase: str = "Running", **spec: Any) -> Any:
    meta: dict[str, Any] = {"name": name, "namespace": "default", "labels": {}, "annotations": {}}
    if owner:
        meta["ownerReferences"] = [{"kind": owner, "controller": True, "uid": "u"}]
    if owner == "VirtualMachine":
        meta["labels"] = {VM_NAME_LABEL: name}
    return {"metadata": meta, "spec": spec, "status": {"phase": phase}}


PODS = [
    pod("vm", "VirtualMachine"),
    pod("web"),
    pod("agent", "DaemonSet"),
    pod("bare", ""),
    pod("cache", volumes=[{"emptyDir": {}}]),
    pod("done", "", "Succeeded"),
]


@pytest.mark.parametrize(
    ("options", "chosen", "refused"),
    [
        (Options(), ["vm", "web", "done"], ["bare", "cache"]),
        (Options(vms_only=True), ["vm"], []),
        (Options(selector=f"{VM_NAME_LABEL}=vm"), ["vm"], []),
        (Options(selector="app=nothing"), [], []),
        (Options(force=True), ["vm", "web", "bare", "done"], ["cache"]),
        (Options(delete_emptydir_data=True), ["vm", "web", "cache", "done"], ["bare"]),
    ],
)
def test_the_choice_is_that_of_kubectl(options: Options, chosen: list[str], refused: list[str]):
    found = choose(PODS, options)
    assert [p["metadata"]["name"] for p in found.pods] == chosen
    assert [line.split()[1] for line in found.refused] == [f"default/{name}" for name in refused]


def test_a_refusal_names_the_way_out():
    found = choose(PODS, Options())
    assert "--force" in found.refused[0]
    assert "--delete-emptydir-data" in found.refused[1]
    assert found.stay == ("default/agent",)


def seen(**more: Any) -> Seen:
    least: dict[str, Any] = {
        "namespace": "default",
        "pod_name": "d8v-vm-a-xxxxx",
        "vm_name": "a",
        "node": "n1",
        "pod": pod("a", "VirtualMachine"),
        "vm": {"status": {"nodeName": "n1", "phase": "Running"}},
        "vmop": None,
        "vmm": None,
    }
    return Seen(**{**least, **more})


def vmop(phase: str, message: str = "", progress: str = "") -> Any:
    condition = {"type": "Completed", "status": "Unknown", "message": message}
    return {
        "metadata": {"name": "evacuation-1"},
        "spec": {"type": "Evict", "virtualMachineName": "a"},
        "status": {"phase": phase, "progress": progress, "conditions": [condition]},
    }


def vmm(phase: str, **status: Any) -> Any:
    return {"metadata": {"name": "m"}, "spec": {}, "status": {"phase": phase, **status}}


COPYING = vmm(
    "Copying",
    targetNode="n2",
    source={"ramTotalBytes": 192 * MIB, "ramRemainingBytes": 20 * MIB, "dirtyBytesPerSecond": MIB},
)


@pytest.mark.parametrize(
    ("what", "state", "text"),
    [
        ({}, "waiting", "waiting"),
        ({"answer": "the API server does not answer"}, "waiting", "waiting: the API server does not answer"),
        ({"vmop": vmop("Pending", "Waiting for a free migration slot: x.")}, "waiting",
         "waiting: Waiting for a free migration slot: x"),
        ({"vmop": vmop("InProgress"), "vmm": vmm("Scheduling")}, "preparing", "preparing: looking for a node"),
        ({"vmop": vmop("InProgress"), "vmm": vmm("Ready", targetNode="n2")}, "preparing", "preparing: on n2"),
        ({"vmop": vmop("InProgress", progress="43%"), "vmm": COPYING}, "copying",
         "copying 43 %: to n2, 20 MiB to go, 1.0 MiB/s written"),
        ({"pod": None, "vm": {"status": {"nodeName": "n3", "phase": "Running"}}}, "moved", "moved to n3"),
        ({"pod": None, "vm": {"status": {"phase": "Stopped"}}}, "gone", "has left: the VM is Stopped"),
        ({"vm": {"status": {"nodeName": "n3", "phase": "Running"}}}, "leaving",
         "leaving: moved to n3, its former Pod ends"),
        ({"vmop": vmop("Pending", QUEUED)}, "waiting", "waiting: for its turn"),
        ({"failed": "forbidden"}, "failed", "failed: forbidden"),
    ],
)  # fmt: skip
def test_the_row_of_a_vm(what: Any, state: str, text: str):
    found = row(seen(**what))
    assert (found.state, found.text()) == (state, text)
    assert found.done is (state in ("moved", "gone"))


def test_what_blocks_a_vm_comes_with_a_way_out():
    stuck = pod("a", "VirtualMachine")
    stuck["metadata"] |= blocked_patch(
        Blocked(BlockedReason.NO_ROOM, "0/3 nodes are available: 2 Insufficient memory.")
    )["metadata"]
    found = row(seen(pod=stuck))
    assert found.text() == "blocked: 0/3 nodes are available: 2 Insufficient memory."
    assert "stop a -n default" in found.way_out


def test_a_pod_that_its_budget_keeps():
    budget = "Cannot evict pod as it would violate the pod's disruption budget."
    found = row(seen(vm_name="", pod=pod("web"), answer=budget))
    assert found.state == "blocked"
    assert "get pdb" in found.way_out


def test_without_a_terminal_there_is_a_line_for_each_change(capsys):
    screen = Screen(quiet=False)
    for now_s in (0.0, 0.5):
        screen.show([row(seen())], "footer", now_s)
    screen.show([row(seen(vmop=vmop("InProgress", progress="43%"), vmm=COPYING))], "", 1.0)
    screen.show([row(seen(vmop=vmop("InProgress", progress="44%"), vmm=COPYING))], "", 1.2)
    out = capsys.readouterr().out
    assert len(out.splitlines()) == 2
    assert "\033" not in out
