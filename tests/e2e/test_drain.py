"""Maintenance on a lab: kubectl's own drain, ours, and what may come in between."""

from __future__ import annotations

import contextlib
import itertools
import json
import signal
import subprocess
import time
from collections.abc import Iterator
from typing import Any

import pytest
from tests.e2e.vms import Vm, finished, make, operation
from tests.support.lab import CHECKOUT, RunningLab, Said, eventually

from drover.api import names
from drover.lab import faults

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(400)]

HOME, OTHERS = "virtlab-pt-2", ("virtlab-pt-1", "virtlab-pt-3")
VMS_ONLY = ("--pod-selector", names.VM_NAME_LABEL, "--delete-emptydir-data")
FULL = ("--ignore-daemonsets", "--delete-emptydir-data")
LIMIT = "--timeout=150s"
SLOW_BYTES = 8 * 2**20
_NUMBERS = itertools.count(1)


@contextlib.contextmanager
def cordoned(lab: RunningLab, *nodes: str) -> Iterator[None]:
    for node in nodes:
        assert lab.k("cordon", node).code == 0
    try:
        yield
    finally:
        for node in nodes:
            lab.k("uncordon", node)


@pytest.fixture(scope="module")
def three(lab: RunningLab) -> Iterator[list[Vm]]:
    """Three VMs, all on one node."""
    with cordoned(lab, *OTHERS):
        made = [make(lab, f"drained-{number}") for number in (1, 2, 3)]
        for vm in made:
            vm.wait_booted()
    yield made
    for vm in made:
        vm.delete()


@pytest.fixture(autouse=True)
def in_service(lab: RunningLab) -> Iterator[None]:
    yield
    for node in (HOME, *OTHERS):
        lab.k("uncordon", node)


def gather(lab: RunningLab, vms: list[Vm], node: str = HOME) -> None:
    """All of them on one node again, moved beside one another."""
    with cordoned(lab, *(other for other in (HOME, *OTHERS) if other != node)):
        away = [vm for vm in vms if vm.wait("Running")["nodeName"] != node]
        moves = {f"gather-{vm.name}-{next(_NUMBERS)}": vm for vm in away}
        for name, vm in moves.items():
            lab.apply(operation(name, vm.name, "Evict"))
        for name in moves:
            status = finished(lab, name)
            assert status["phase"] == "Completed", status
    assert {vm.wait("Running")["nodeName"] for vm in vms} == {node}


def drain(lab: RunningLab, node: str, *arguments: str) -> Said:
    return lab.k("drain", node, *arguments, LIMIT)


def evacuations(lab: RunningLab, vm: str) -> list[dict[str, Any]]:
    found = lab.get("vmop")["items"]
    return [
        op
        for op in found
        if op["spec"]["virtualMachineName"] == vm
        and op["metadata"]["name"].startswith(names.EVACUATION_PREFIX)
    ]


def unfinished(lab: RunningLab, vms: list[Vm]) -> list[str]:
    """Names of their evacuations that have not ended."""
    return [
        op["metadata"]["name"]
        for vm in vms
        for op in evacuations(lab, vm.name)
        if (op.get("status") or {}).get("phase") not in ("Completed", "Failed", "Superseded")
    ]


def pods_on(lab: RunningLab, node: str) -> list[str]:
    found = lab.get("pods", "--field-selector", f"spec.nodeName={node}")["items"]
    return [pod["metadata"]["name"] for pod in found]


@contextlib.contextmanager
def others(lab: RunningLab) -> Iterator[None]:
    """Pods that are no VMs: bare, with an emptyDir, and of a DaemonSet."""
    container = [{"name": "c", "image": "none"}]
    volumes = [{"name": "cache", "emptyDir": {}}]
    template = {
        "metadata": {"labels": {"app": "everywhere"}},
        "spec": {"tolerations": [{"operator": "Exists"}], "containers": container},
    }
    selector = {"matchLabels": {"app": "everywhere"}}
    items = [
        {"kind": "Pod", "apiVersion": "v1", "metadata": {"name": "bare"},
         "spec": {"nodeName": HOME, "containers": container}},
        {"kind": "Pod", "apiVersion": "v1", "metadata": {"name": "cache"},
         "spec": {"nodeName": HOME, "containers": container, "volumes": volumes}},
        {"kind": "DaemonSet", "apiVersion": "apps/v1", "metadata": {"name": "everywhere"},
         "spec": {"selector": selector, "template": template}},
    ]  # fmt: skip
    lab.apply(json.dumps({"apiVersion": "v1", "kind": "List", "items": items}))
    try:
        eventually(lambda: sum("everywhere" in pod for pod in pods_on(lab, HOME)) == 1)
        yield
    finally:
        lab.k("delete", "daemonset/everywhere", "--wait=false")
        lab.k("delete", "pod/bare", "pod/cache", "--ignore-not-found", "--wait=false")


def test_a_drain_of_vms_only_and_then_of_everything(lab, three):
    gather(lab, three)
    boots = {vm.name: vm.boot_id() for vm in three}
    with others(lab):
        eventually(lambda: lab.get("pod", "bare")["status"].get("reason") == "NotAVirtualMachine")
        said = drain(lab, HOME, *VMS_ONLY)
        assert said.code == 0, said.out + said.err
        assert {vm.wait("Running")["nodeName"] for vm in three} <= set(OTHERS)
        assert {"bare", "cache"} <= set(pods_on(lab, HOME))
        refused = drain(lab, HOME, *FULL)
        assert refused.code == 1
        assert "cannot delete Pods that declare no controller" in refused.err
        said = drain(lab, HOME, *FULL, "--force")
        assert said.code == 0, said.out + said.err
        assert all(pod.startswith("everywhere") for pod in pods_on(lab, HOME))
    for vm in three:
        assert [op["status"]["phase"] for op in evacuations(lab, vm.name)] == ["Completed"]
        assert vm.boot_id() == boots[vm.name]
        assert not vm.condition("EvictionRequired")
        vm.assert_runs_once()
    again = drain(lab, HOME, *FULL)
    assert (again.code, "drained" in again.out) == (0, True)
    places = {vm.name: vm.status["nodeName"] for vm in three}
    assert lab.k("uncordon", HOME).code == 0
    time.sleep(5)
    assert {vm.name: vm.status["nodeName"] for vm in three} == places  # nothing moves back


def test_our_own_drain_tells_what_it_does(lab, three):
    gather(lab, three)
    forecast = lab.drover("drain", HOME, "--dry-run", "-o", "json")
    assert forecast.code == 0, forecast.out + forecast.err
    assert {vm["vm"] for vm in json.loads(forecast.out)["vms"]} == {
        f"default/{v.name}" for v in three
    }
    assert not lab.get("node", HOME)["spec"].get("unschedulable")
    said = lab.drover("drain", HOME)
    assert said.code == 0, said.out + said.err
    for vm in three:
        assert f"default/{vm.name}" in said.out
        assert vm.wait("Running")["nodeName"] in OTHERS
    assert f"node/{HOME} drained" in said.out
    assert "\033" not in said.out
    assert lab.drover("uncordon", HOME).code == 0
    unknown = lab.drover("drain", "nowhere")
    assert unknown.code == 1
    assert 'there is no node "nowhere"' in unknown.err


def test_a_restart_of_the_controllers_ends_no_drain(lab, three):
    gather(lab, three)
    faults.slow(lab.lab, HOME, SLOW_BYTES)
    try:
        command = lab.argv("k", "drain", HOME, *VMS_ONLY, LIMIT)
        child = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            env=lab.environment, cwd=CHECKOUT,
        )  # fmt: skip
        eventually(lambda: any(evacuations(lab, vm.name) for vm in three), 60)
        faults.kill_control_plane_part(lab.lab, "controllers")
        out, _ = child.communicate(timeout=200)
    finally:
        faults.slow(lab.lab, HOME, None)
    assert child.returncode == 0, out
    assert "disruption budget" in out, out  # what stood in for the review
    for vm in three:
        assert vm.wait("Running")["nodeName"] in OTHERS
        vm.assert_runs_once()


def test_deleting_the_operation_cancels_until_the_next_eviction(lab, three):
    [vm, *_] = three
    gather(lab, [vm])
    faults.slow(lab.lab, HOME, SLOW_BYTES // 4)
    try:
        pod = vm.living_pods()[0]
        eviction = {
            "apiVersion": "policy/v1", "kind": "Eviction",
            "metadata": {"name": pod, "namespace": "default"},
        }  # fmt: skip
        path = f"/api/v1/namespaces/default/pods/{pod}/eviction"
        with cordoned(lab, HOME):
            dry = lab.k("drain", HOME, *VMS_ONLY, "--dry-run=server", "--timeout=30s")
            assert (dry.code, "would be moved first" in dry.err) == (1, True)
            assert names.EVICTION_ANNOTATION not in lab.get("pod", pod)["metadata"]["annotations"]
            argv = lab.argv("k", "create", "--raw", path, "-f", "-")
            child = subprocess.Popen(
                argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                text=True, env=lab.environment, cwd=CHECKOUT,
            )  # fmt: skip
            assert child.stdin is not None
            child.stdin.write(json.dumps(eviction))
            child.stdin.close()
            eventually(lambda: vm.condition("EvictionRequired"), 60)
            [open_] = eventually(lambda: unfinished(lab, [vm]), 30)  # another controller's word
            before = {op["metadata"]["name"] for op in evacuations(lab, vm.name)}
            assert lab.k("delete", "vmop", open_, "--timeout=60s").code == 0
            eventually(lambda: not vm.condition("EvictionRequired"), 30)
            child.stdin = None
            _, err = child.communicate(timeout=60)
            assert "Eviction triggered evacuation of VMI" in err
            time.sleep(6)
            assert {op["metadata"]["name"] for op in evacuations(lab, vm.name)} == before - {open_}
            assert vm.wait("Running")["nodeName"] == HOME
    finally:
        faults.slow(lab.lab, HOME, None)


def test_a_vm_that_nothing_can_take_waits_with_the_reason_and_goes_when_it_can(lab, three):
    """All other nodes are cordoned, so it is the only one."""
    [vm, *_] = three
    gather(lab, [vm])
    with cordoned(lab, *OTHERS):
        said = lab.drover("drain", HOME, "--vms-only", "--timeout", "16s")
        assert said.code == 1
        assert "blocked" in said.out
        assert "node(s) were unschedulable" in said.out
        assert "way out:" in said.out
        assert vm.condition("EvacuationBlocked")["reason"] == "NoFeasibleNode"
        refused = lab.k("drain", HOME, *VMS_ONLY, "--timeout=8s")
        assert refused.code == 1
        assert "0/3 nodes are available" in refused.err
    eventually(lambda: vm.status["nodeName"] in OTHERS, 60)
    assert not vm.condition("EvacuationBlocked")


def set_affinity(lab: RunningLab, vm: Vm, rule: dict[str, Any] | None) -> None:
    patch = json.dumps({"spec": {"affinity": rule}})
    assert lab.k("patch", "vm", vm.name, "--type=merge", "-p", patch).code == 0


def test_vms_that_must_stay_together_move_as_a_group(lab, three):
    """Each alone could go nowhere: the other one is where it must be."""
    pair = three[:2]
    gather(lab, pair)
    term = {
        "topologyKey": names.HOSTNAME_LABEL,
        "labelSelector": {"matchLabels": {"together": "yes"}},
    }
    rule = {
        "virtualMachineAndPodAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}
    }
    for vm in pair:
        assert lab.k("label", "vm", vm.name, "together=yes").code == 0
    try:
        for vm in pair:
            set_affinity(lab, vm, rule)
        with cordoned(lab, HOME):
            said = drain(lab, HOME, *VMS_ONLY)
            assert said.code == 0, said.out + said.err
            places = {vm.wait("Running")["nodeName"] for vm in pair}
        assert len(places) == 1
        assert places <= set(OTHERS)
    finally:
        for vm in pair:
            set_affinity(lab, vm, None)
            lab.k("label", "vm", vm.name, "together-")


def test_uncordon_calls_off_what_waits_and_two_drains_do_not_hang(lab, three):
    gather(lab, three)
    faults.slow(lab.lab, HOME, SLOW_BYTES // 2)  # one copy outlasts what is said meanwhile
    try:
        argv = lab.argv("k", "drain", HOME, *VMS_ONLY, LIMIT)
        drains = [
            subprocess.Popen(
                argv,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env=lab.environment,
                cwd=CHECKOUT,
            )
            for _ in range(2)
        ]
        eventually(lambda: all(vm.condition("EvictionRequired") for vm in three), 60)
        for child in drains:
            child.send_signal(signal.SIGINT)
            child.wait(30)
        assert lab.get("node", HOME)["spec"]["unschedulable"] is True
        assert lab.k("uncordon", HOME).code == 0
        eventually(lambda: not any(vm.condition("EvictionRequired") for vm in three), 90)
        eventually(lambda: not unfinished(lab, three), 20)  # a move ends after its VM has arrived
    finally:
        faults.slow(lab.lab, HOME, None)
    here = [vm.name for vm in three if vm.wait("Running")["nodeName"] == HOME]
    assert len(here) >= 2, "more than the one that was copying has moved"


def test_a_selector_that_matches_nothing(lab):
    said = drain(lab, HOME, "--pod-selector", "nothing=here", "--delete-emptydir-data")
    assert (said.code, "drained" in said.out) == (0, True)
    bad = lab.drover("drain", HOME, "--pod-selector", "a b c")
    assert bad.code == 2
    assert "is no selector" in bad.err


def test_a_budget_of_the_user_does_not_hold_up_a_vm_that_can_move(lab, three):
    """Moving is no disruption; only while the review is away both budgets would count."""
    [vm, *_] = three
    gather(lab, [vm])
    budget = {
        "apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": "never"},
        "spec": {"minAvailable": 1, "selector": {"matchLabels": {names.VM_NAME_LABEL: vm.name}}},
    }  # fmt: skip
    lab.apply(json.dumps(budget))
    try:
        said = drain(lab, HOME, *VMS_ONLY)
        assert said.code == 0, said.out + said.err
        assert vm.wait("Running")["nodeName"] in OTHERS
    finally:
        lab.k("delete", "pdb", "never")
