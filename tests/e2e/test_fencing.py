"""A node of the lab is lost: its VM starts elsewhere, with its address and disk, and the old copy was dead before."""

from __future__ import annotations

import json
import time

import pytest
from tests.e2e.vms import Vm, make
from tests.support.lab import eventually

from drover.lab import faults

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(400)]

GROUP = "worker"
FENCED_S = 25.0  # nine by the rule; the machine may be busy
REJOINED_S = 60.0


@pytest.fixture
def fenced(lab):
    """The lab with fencing on, and off again afterwards with all nodes as they were."""
    wish = {"mode": "Watchdog", "watchdog": {"timeout": "6s"}}
    patch(lab, {"spec": {"fencing": wish}})
    eventually(lambda: len(armed(lab)) == 3 and settled(lab), 60)
    yield lab
    patch(lab, {"spec": {"fencing": None}})
    eventually(lambda: not armed(lab), 60)


def patch(lab, change) -> None:
    said = lab.k("patch", "nodegroup", GROUP, "--type=merge", "-p", json.dumps(change))
    assert said.code == 0, said.err


def armed(lab) -> list[str]:
    label = "node-manager.deckhouse.io/fencing-enabled"
    return [node["metadata"]["name"] for node in lab.get("nodes", "-l", label)["items"]]


def settled(lab) -> bool:
    roster = lab.get("noderoster", GROUP)
    return (
        roster is not None
        and len(roster["spec"]["members"]) == 3
        and not roster["spec"].get("previous")
    )


def takes_vms(lab, node: str) -> bool:
    found = lab.get("node", node)
    if found is None or found["spec"].get("unschedulable"):
        return False
    return "drover.dev/rejoining" not in [t["key"] for t in found["spec"].get("taints", [])]


def never_twice(vm: Vm, old_pid: int, node: str) -> float:
    """Seconds until the VM has a QEMU elsewhere; at no look are there two."""
    since = time.monotonic()
    while time.monotonic() - since < FENCED_S:
        copies = vm.guest.copies()
        assert len(copies) <= 1, copies
        if copies and copies[0].pid != old_pid:
            assert copies[0].node != node
            return time.monotonic() - since
        time.sleep(0.05)
    raise AssertionError(f"{vm.name} has not started elsewhere: {vm.status}")


@pytest.mark.parametrize(
    ("fault", "mend"),
    [
        (faults.power_off, faults.power_on),
        (faults.isolate, faults.rejoin),
        (faults.freeze, faults.thaw),
    ],
    ids=["power-off", "isolate", "freeze"],
)
def test_a_lost_node(fenced, fault, mend):
    vm = make(fenced, f"lost-{fault.__name__.replace('_', '-')}")
    vm.wait_booted()
    boot, address = vm.boot_id(), vm.status["ipAddress"]
    vm.shell("echo kept >/root/kept; sync")
    (old,) = vm.guest.copies()
    fault(fenced.lab, old.node)
    never_twice(vm, old.pid, old.node)
    vm.wait_new_boot(boot)
    assert vm.status["ipAddress"] == address
    assert vm.shell("cat /root/kept") == "kept"
    mend(fenced.lab, old.node)
    eventually(lambda: takes_vms(fenced, old.node), REJOINED_S)
    vm.assert_runs_once()
    vm.delete()


def armed_for_ms(lab) -> set[int]:
    """The ages that the nodes' renewals tell."""
    leases = lab.get("leases", "-n", "kube-node-lease")["items"]
    said = [json.loads(lease["metadata"]["annotations"]["drover.dev/evidence"]) for lease in leases]
    return {evidence.get("armed", {}).get("ageMs", 0) for evidence in said}


def test_an_api_that_answers_nobody_kills_nobody(fenced):
    # With six seconds a second's stall of this machine, at the wrong moment, is enough to lose the nodes' first round.
    patch(fenced, {"spec": {"fencing": {"watchdog": {"timeout": "15s"}}}})
    eventually(lambda: armed_for_ms(fenced) == {15000}, 60)
    vm = make(fenced, "outlasts-the-api")
    vm.wait_booted()
    before = vm.guest.copies()
    faults.api_down(fenced.lab)
    try:
        time.sleep(45)
        assert vm.guest.copies() == before
    finally:
        faults.api_up(fenced.lab)
    time.sleep(20)
    assert vm.guest.copies() == before
    vm.delete()
