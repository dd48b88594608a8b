"""A node is lost: its VM starts elsewhere, with its address and disk, and the old copy was dead before.

These tests have a lab of their own, so that a node that is lost for good hurts no other test. They measure safety, not
speed: the limits suit a slow and busy machine, what is exact is that the old QEMU ended before the new one began.
"""

from __future__ import annotations

import json
import os
import select
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.e2e.test_migration import copying, start_evict
from tests.e2e.vms import Vm, finished, make
from tests.support.lab import RunningLab, a_lab, eventually

from drover.lab import faults
from drover.lab.errors import LabError

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(600)]

GROUP = "worker"
TIMEOUT = "10s"  # a stall of the machine of some seconds must not cost a node its life
ARMED_S = 90.0
ELSEWHERE_S = 150.0  # 13 s by the rule; then a Pod is made, placed and started
REJOINED_S = 120.0
SLOW_BYTES = 4 * 2**20  # a second: a copy takes long enough to be struck
_TICK_S = 1 / os.sysconf("SC_CLK_TCK")


@pytest.fixture(scope="module")
def fencing_lab() -> Iterator[RunningLab]:
    """A lab with fencing on."""
    with a_lab() as running:
        arm(running, TIMEOUT)
        yield running
        patch(running, {"spec": {"fencing": None}})
        told(running, lambda: not armed_for_ms(running), "its nodes are disarmed", ARMED_S)


@pytest.fixture
def fenced(fencing_lab):
    """The lab, its nodes whole before and after each test whatever happened in it."""
    yield fencing_lab
    mend(fencing_lab)
    arm(fencing_lab, TIMEOUT)


def arm(lab, timeout: str) -> None:
    times = {"profile": "lab", "watchdog": {"timeout": timeout}}
    patch(lab, {"spec": {"fencing": {"mode": "Watchdog", **times}}})
    wanted_ms = int(timeout.removesuffix("s")) * 1000
    told(
        lab,
        lambda: set(armed_for_ms(lab).values()) == {wanted_ms} and whole(lab),
        f"its nodes are armed for {timeout}",
        ARMED_S,
    )


def patch(lab, change) -> None:
    said = lab.k("patch", "nodegroup", GROUP, "--type=merge", "-p", json.dumps(change))
    assert said.code == 0, said.err


def mend(lab) -> None:
    """Undo every fault that a test may have left."""
    faults.api_up(lab.lab)
    for node in lab.lab.settings().node_names:
        for cure in (faults.power_on, faults.rejoin, faults.thaw):
            try:
                cure(lab.lab, node)
            except LabError:
                continue  # its agent is being started: nothing is frozen there


def told(lab, check, what: str, limit_s: float) -> None:
    """Wait for it; when it does not come true, say what the cluster knows."""
    try:
        eventually(check, limit_s)
    except AssertionError:
        raise AssertionError(f"not within {limit_s:g} s: {what}\n{state(lab)}") from None


def state(lab) -> str:
    """What the objects of fencing say."""
    kinds = "nodegroup,noderoster,nodefence,node"
    parts = [lab.k("get", kinds, "-o", "yaml").out]
    parts.append(lab.k("get", "leases", "-n", "kube-node-lease", "-o", "yaml").out)
    parts.append(lab.k("get", "vm,pods,vml", "-A", "-o", "wide").out)
    log = (lab.home.logs / "controllers.log").read_text(errors="replace").splitlines()
    parts += [line for line in log if "fencing" in line or "watch failed" in line][-60:]
    return "\n".join(parts)


def armed_for_ms(lab) -> dict[str, int]:
    """The ages that the armed nodes' renewals tell."""
    found = {}
    for lease in lab.get("leases", "-n", "kube-node-lease")["items"]:
        evidence = json.loads(lease["metadata"]["annotations"]["drover.dev/evidence"])
        if "armed" in evidence:
            found[lease["metadata"]["name"]] = evidence["armed"]["ageMs"]
    return found


def whole(lab) -> bool:
    """All nodes take VMs, may vouch, and are suspected of nothing."""
    names = lab.lab.settings().node_names
    roster = lab.get("noderoster", GROUP)
    if roster is None or roster["spec"].get("previous"):
        return False
    if len(roster["spec"]["members"]) != len(names):
        return False
    phases = {(f.get("status") or {}).get("phase") for f in lab.get("nodefence")["items"]}
    return phases <= {"Rejoined"} and all(takes_vms(lab, node) for node in names)


def takes_vms(lab, node: str) -> bool:
    found = lab.get("node", node)
    if found is None or found["spec"].get("unschedulable"):
        return False
    ready = {c["type"]: c["status"] for c in found["status"]["conditions"]}.get("Ready")
    keys = [taint["key"] for taint in found["spec"].get("taints", [])]
    return ready == "True" and "drover.dev/rejoining" not in keys


class Death:
    """Notes when a process ended, on the clock that also says when one began."""

    def __init__(self, pid: int) -> None:
        self._pidfd = os.pidfd_open(pid)
        self.at_s: float | None = None
        threading.Thread(target=self._wait, daemon=True).start()

    def _wait(self) -> None:
        select.select([self._pidfd], [], [])
        self.at_s = time.clock_gettime(time.CLOCK_BOOTTIME)
        os.close(self._pidfd)


def born_s(pid: int) -> float:
    """When a process began, on CLOCK_BOOTTIME, to a tick of 10 ms."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    return int(fields[19]) * _TICK_S


def starts_elsewhere(vm: Vm, old: int, node: str, death: Death) -> None:
    """The VM gets a QEMU on another node; at no look are there two, and the old one had ended before it began."""
    deadline = time.monotonic() + ELSEWHERE_S
    while time.monotonic() < deadline:
        copies = vm.guest.copies()
        assert len(copies) <= 1, copies
        if copies and copies[0].pid != old:
            assert copies[0].node != node
            assert death.at_s is not None
            assert born_s(copies[0].pid) > death.at_s
            return
        time.sleep(0.2)
    raise AssertionError(f"{vm.name} has not started elsewhere: {vm.status}\n{state(vm.lab)}")


def locks_refused(lab) -> list[Path]:
    """Logs of QEMUs that found a disk in use: the second guard had to help."""
    logs = lab.home.path.glob("nodes/*/state/log/*/*.log")
    return [log for log in logs if '"write" lock' in log.read_text(errors="replace")]


@pytest.mark.parametrize(
    ("fault", "profile"),
    [(faults.power_off, "fast"), (faults.isolate, ""), (faults.freeze, "")],
    ids=["power-off", "isolate", "freeze"],
)
def test_a_lost_node(fenced, fault, profile):
    """Once by the fast profile, which is chosen while the guest runs; `fenced` goes back from it. A node that stands
    still for 2 s by itself may lose its VMs then: another start, and never a second copy."""
    vm = make(fenced, f"lost-{fault.__name__.replace('_', '-')}")
    vm.wait_booted()
    address = vm.status["ipAddress"]
    vm.shell("echo kept >/root/kept; sync")
    if profile:
        changed = fenced.drover("fence", "on", "--profile", profile, "--timeout", f"{ARMED_S:g}s")
        assert changed.code == 0, (changed, state(fenced))
        told(fenced, lambda: whole(fenced), "the roster has settled", ARMED_S)
    boot = vm.boot_id()
    (old,) = vm.guest.copies()
    death = Death(old.pid)
    fault(fenced.lab, old.node)
    starts_elsewhere(vm, old.pid, old.node, death)
    vm.wait_new_boot(boot)
    assert vm.status["ipAddress"] == address
    assert vm.shell("cat /root/kept") == "kept"
    mend(fenced)
    told(fenced, lambda: whole(fenced), f"{old.node} is back", REJOINED_S)
    vm.assert_runs_once()
    assert locks_refused(fenced) == []
    vm.delete()


# The loss of a target is as good, and costs another minute: `python -m tests.faults losses` plays it.
@pytest.mark.parametrize(
    "fault",
    [faults.power_off, faults.isolate, faults.freeze],
    ids=["power-off", "isolate", "freeze"],
)
def test_a_node_is_lost_while_its_vm_moves_away(fenced, fault):
    """What the guest appends to its disk tells in which boots it ran, and that no two of them ran at once."""
    vm = make(fenced, f"on-the-way-{fault.__name__.replace('_', '-')}")
    vm.wait_booted()
    boot = vm.begin_ledger()
    (old,) = vm.guest.copies()
    faults.slow(fenced.lab, old.node, SLOW_BYTES)
    try:
        start_evict(vm, f"of-{vm.name}")
        eventually(lambda: copying(vm, f"of-{vm.name}"), 60, 0.05)
        fault(fenced.lab, old.node)
        vm.wait_new_boot(boot)
        boots = [boot, vm.begin_ledger(anew=False)]
    finally:
        mend(fenced)
        faults.slow(fenced.lab, old.node, None)
    told(fenced, lambda: whole(fenced), "all nodes are back", REJOINED_S)
    ran_once(vm, boots)


def test_the_api_answers_nobody_while_a_vm_moves(fenced):
    """All is copied, and the lease cannot change hands: the guest goes on where it was, or later where it goes to."""
    vm = make(fenced, "unheard-on-the-way")
    vm.wait_booted()
    boot = vm.begin_ledger()
    (old,) = vm.guest.copies()
    faults.slow(fenced.lab, old.node, SLOW_BYTES)
    try:
        start_evict(vm, "unheard")
        eventually(lambda: copying(vm, "unheard"), 60, 0.05)
        faults.api_down(fenced.lab)
        faults.slow(fenced.lab, old.node, None)
        time.sleep(15)
    finally:
        mend(fenced)
        faults.slow(fenced.lab, old.node, None)
    finished(fenced, "unheard", ELSEWHERE_S)
    ran_once(vm, [boot])


def ran_once(vm: Vm, boots: list[str]) -> None:
    vm.assert_runs_once()
    ledger = vm.ledger()
    assert (ledger.boots, ledger.duplicates, ledger.missing) == (boots, 0, 0)
    assert locks_refused(vm.lab) == []
    vm.delete()


def test_a_person_confirms_that_a_node_is_off(fenced):
    """Where nothing else may be done: fencing of the whole cluster is paused."""
    vm = make(fenced, "confirmed")
    vm.wait_booted()
    boot = vm.boot_id()
    (old,) = vm.guest.copies()
    assert fenced.drover("fence", "pause", "--cluster").code == 0
    try:
        told(fenced, lambda: not armed_for_ms(fenced), "its nodes are disarmed", ARMED_S)
        alive = fenced.drover("fence", "confirm", old.node, "--yes")
        assert (alive.code, "is alive" in alive.err) == (1, True), alive
        death = Death(old.pid)
        faults.power_off(fenced.lab, old.node)
        done = fenced.drover("fence", "confirm", old.node, "--yes", "--timeout", "120s")
        assert done.code == 0, (done, state(fenced))
        starts_elsewhere(vm, old.pid, old.node, death)
        vm.wait_new_boot(boot)
        story = fenced.drover("fence", "show", old.node).out
        assert f"default/{vm.name} starts on" in story
        assert "Confirmed" in story
    finally:
        assert fenced.drover("fence", "resume", "--cluster").code == 0
    vm.delete()


def test_an_api_that_answers_nobody_kills_nobody(fenced):
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
