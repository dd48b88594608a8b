"""A VM as a user writes it, moved about: transcript, address, memory; aborts; and deletions at the wrong moment."""

from __future__ import annotations

import contextlib
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.e2e.vms import Vm, finished, make, manifest, operate, operation
from tests.support.guest import Guest
from tests.support.lab import CHECKOUT, RunningLab, eventually

from drover.lab import faults

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(400)]

SLOW_BYTES = 8 * 2**20


@pytest.fixture(scope="module")
def vm(lab: RunningLab) -> Iterator[Vm]:
    """The VM of the README."""
    said = lab.k("apply", "-f", "examples/linux-vm.yaml")
    assert said.code == 0, said.err
    vm = Vm(lab, "linux-vm")
    vm.wait_booted()
    yield vm
    vm.delete()
    lab.k("delete", "vd", "linux-vm-root", "--wait=false")


@pytest.fixture
def spare(lab: RunningLab, request: pytest.FixtureRequest) -> Iterator[Vm]:
    """A VM for one test that may lose it."""
    vm = make(lab, request.node.name.replace("_", "-")[5:40].strip("-"))
    vm.wait_booted()
    yield vm
    vm.delete()


@contextlib.contextmanager
def slow_link(vm: Vm) -> Iterator[None]:
    """What the VM's node sends to other nodes takes its time."""
    node = vm.status["nodeName"]
    faults.slow(vm.lab.lab, node, SLOW_BYTES)
    try:
        yield
    finally:
        faults.slow(vm.lab.lab, node, None)


@contextlib.contextmanager
def watching(lab: RunningLab, vm: str) -> Iterator[list[list[str]]]:
    """The lines of ``k get vm -w``, as words, without the first."""
    lines: list[list[str]] = []
    command = lab.argv("k", "get", "vm", vm, "-w", "--no-headers")
    child = subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env=lab.environment, cwd=CHECKOUT
    )
    assert child.stdout is not None
    stream = child.stdout

    def read() -> None:
        lines.extend(line.split() for line in stream)

    reader = threading.Thread(target=read)
    reader.start()
    try:
        eventually(lambda: lines, 30)
        yield lines
    finally:
        child.terminate()
        child.wait()
        reader.join()
        stream.close()


def copying(vm: Vm, vmop: str) -> bool:
    """The guest's memory is on its way."""
    vmm = vm.lab.get("vmm", f"vmop-{vmop}")
    said = ((vmm or {}).get("status") or {}).get("source") or {}
    return int(said.get("ramTransferredBytes", 0)) > 0


def start_evict(vm: Vm, name: str) -> None:
    vm.lab.apply(operation(name, vm.name, "Evict"))


def test_a_vm_as_a_user_writes_it(lab, vm):
    """User data, address by DHCP, guest agent, serial log."""
    assert "This is linux-vm" in vm.shell("cat /etc/motd")
    assert vm.shell("hostname") == "linux-vm"
    assert vm.status["ipAddress"] in vm.shell("ip -4 addr show eth0")
    assert eventually(vm.pings, 30)
    assert eventually(lambda: vm.condition("AgentReady").get("status") == "True", 60)
    log = lab.k("logs", vm.living_pods()[0])
    assert "GUEST READY" in log.out, log


def test_evict_as_the_transcript_tells(lab, vm):
    before, boot = vm.status, vm.begin_ledger()
    with watching(lab, vm.name) as lines:
        said = lab.drover("evict", vm.name, "--yes", "--wait")
        assert said.code == 0, said.out + said.err
        eventually(lambda: lines[-1][1] == "Running" and lines[-1][2] != before["nodeName"], 20)
    phases = [line[1] for line in lines]
    steps = [phase for i, phase in enumerate(phases) if i == 0 or phases[i - 1] != phase]
    assert steps == ["Running", "Migrating", "Running"], lines
    assert {line[3] for line in lines} == {before["ipAddress"]}
    after, ledger = vm.wait("Running"), vm.ledger()
    assert after["nodeName"] != before["nodeName"]
    assert (ledger.boots, ledger.boot) == ([boot], boot)
    assert (ledger.duplicates, ledger.missing) == (0, 0)
    assert vm.pings()
    vm.assert_runs_once()


def test_migrate_to_a_named_node(lab, vm):
    here = vm.status["nodeName"]
    there = next(n for n in lab.lab.settings().node_names if n != here)
    selector = {"nodeSelector": {"kubernetes.io/hostname": there}}
    status = operate(lab, "to-a-node", vm.name, "Migrate", migrate=selector)
    assert status["phase"] == "Completed", status
    assert vm.wait("Running")["nodeName"] == there


def test_one_operation_at_a_time(lab, vm):
    with slow_link(vm):
        start_evict(vm, "the-first")
        second = lab.k("create", "-f", "-", stdin=operation("the-second", vm.name, "Evict"))
        assert second.code != 0
        assert 'Previously created operation "the-first" should finish first' in second.err
    assert finished(lab, "the-first")["phase"] == "Completed"


@pytest.mark.parametrize("when", ["Pending", "InProgress"])
def test_abort_by_deleting_the_operation(lab, vm, when):
    before, boot = vm.wait("Running"), vm.begin_ledger()
    name = f"aborted-{when.lower()}"
    with slow_link(vm):
        start_evict(vm, name)
        if when == "InProgress":
            eventually(lambda: copying(vm, name), 60, 0.05)
        began = time.monotonic()
        lab.k("delete", "vmop", name, "--timeout=60s")
        took_s = time.monotonic() - began
        assert lab.get("vmop", name) is None
        # Accepted at once, and it works.
        start_evict(vm, f"after-{name}")
    assert took_s < 15, took_s  # two seconds on an idle machine
    assert finished(lab, f"after-{name}")["phase"] == "Completed"
    after = vm.wait("Running")
    assert after["nodeName"] != before["nodeName"]
    eventually(lambda: len(vm.living_pods()) == 1, 20)  # the source's ends after the operation
    ledger = vm.ledger()
    assert (ledger.boots, ledger.duplicates, ledger.missing) == ([boot], 0, 0)
    vm.assert_runs_once()


def test_an_aborted_migration_leaves_the_vm_on_the_source(lab, vm):
    before = vm.wait("Running")
    with slow_link(vm):
        start_evict(vm, "aborted-alone")
        eventually(lambda: copying(vm, "aborted-alone"), 60, 0.05)
        lab.k("delete", "vmop", "aborted-alone", "--timeout=60s")
        after = vm.wait("Running", 20)
        eventually(lambda: len(vm.living_pods()) == 1, 20)
    assert after["nodeName"] == before["nodeName"]
    vm.assert_runs_once()


def test_delete_node_of_a_living_node(lab, vm):
    """Its agent registers it again, and the guest never notices."""
    node, boot = vm.status["nodeName"], vm.boot_id()
    uid = lab.get("node", node)["metadata"]["uid"]
    assert lab.k("delete", "node", node, "--timeout=30s").code == 0
    eventually(
        lambda: (lab.get("node", node) or {"metadata": {"uid": uid}})["metadata"]["uid"] != uid
    )
    time.sleep(3)  # the collector of Pods without a node has had its chance
    assert vm.boot_id() == boot
    assert vm.wait("Running")["nodeName"] == node
    vm.assert_runs_once()


def test_delete_the_lease_of_a_running_vm(lab, vm):
    """Refused, or held by its finalizer; either way nobody else may run the VM."""
    holder = vm.lease()["holder"]
    refused = lab.k("delete", "vml", vm.name, "--wait=false")
    assert refused.code != 0, refused.out
    assert vm.lease()["holder"] == holder
    vm.assert_runs_once()


@pytest.mark.parametrize("grace", [(), ("--grace-period=0", "--force")], ids=["gently", "by force"])
def test_delete_the_pod_of_a_running_vm(lab, vm, grace):
    """The guest ends, and AlwaysOn starts it anew; never two at once."""
    vm.wait_booted()
    boot, address = vm.boot_id(), vm.status["ipAddress"]
    lab.k("delete", "pod", vm.living_pods()[0], "--wait=false", *grace)
    vm.wait_new_boot(boot)
    assert vm.status["ipAddress"] == address
    eventually(lambda: len(vm.living_pods()) == 1, 30)
    vm.assert_runs_once()


def test_delete_a_namespace_while_its_vm_migrates(lab):
    """Everything in it is asked to go at once, in no order, and nothing new may be made: no lease, no Event, no Pod."""
    name = "doomed"
    lab.k("create", "namespace", name)
    made = lab.k("-n", name, "apply", "-f", "-", stdin=manifest(name))
    assert made.code == 0, made.err
    lab.wait_running(name, name)
    node = lab.get("vm", name, "-n", name)["status"]["nodeName"]
    faults.slow(lab.lab, node, SLOW_BYTES)
    try:
        lab.k("-n", name, "apply", "-f", "-", stdin=operation("evict-the-doomed", name, "Evict"))

        def sent() -> bool:
            vmm = lab.get("vmm", "vmop-evict-the-doomed", "-n", name) or {}
            said = (vmm.get("status") or {}).get("source") or {}
            return int(said.get("ramTransferredBytes", 0)) > 0

        eventually(sent, 60, 0.05)
        lab.k("delete", "namespace", name, "--wait=false")
        eventually(lambda: lab.get("namespace", name) is None, 150)
    finally:
        faults.slow(lab.lab, node, None)
    assert Guest(lab.lab, f"{name}/{name}").copies() == []


def test_delete_a_vm_while_it_migrates(lab, spare):
    with slow_link(spare):
        start_evict(spare, "evict-the-deleted")
        eventually(lambda: copying(spare, "evict-the-deleted"), 60, 0.05)
        lab.k("delete", "vm", spare.name, "--wait=false")
        eventually(lambda: lab.get("vm", spare.name) is None, 120)
    # The target that waited for the copy is ended by its own agent, whoever ends the VM.
    eventually(lambda: spare.guest.copies() == [] and spare.living_pods() == [], 30)
    assert lab.get("vml", spare.name) is None
    assert (lab.get("vd", spare.name)["status"]["phase"]) == "Ready"
    status = finished(lab, "evict-the-deleted")
    assert status["phase"] == "Failed", status
    assert not list(Path(lab.home.path).glob(f"nodes/*/run/copies/*{spare.name}*"))
