"""Lines of docs/ownership.md about Pods and nodes."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import pytest
from tests.api.ownership import NAMESPACE, A, patch, refused

from drover.api import firmware, names, scheme, status
from drover.api.evacuation import Blocked, BlockedReason, Mark, blocked_patch, mark_patch
from drover.controllers.evacuation import budgets

if TYPE_CHECKING:
    from tests.support.cluster import Cluster

    from drover.api.wire import Object

pytestmark = [pytest.mark.engine, pytest.mark.timeout(90)]  # the first starts the engine


def a_pod(name: str, priority: str = names.VM_PRIORITY_CLASS, vm: str = "linux-vm") -> Object:
    return {
        "metadata": {
            "name": name,
            "namespace": NAMESPACE,
            "labels": {names.VM_NAME_LABEL: vm} if vm else {},
            "annotations": {names.MACHINE_ANNOTATION: "{}"} if vm else {},
        },
        "spec": {
            "priorityClassName": priority,
            "automountServiceAccountToken": False,
            "containers": [{"name": names.COMPUTE_CONTAINER, "image": "drover.dev/machine"}],
            "terminationGracePeriodSeconds": 0,
        },
    }


async def a_vm_pod(cluster: Cluster, node: str = "") -> Object:
    pod = a_pod(names.POD_PREFIX + cluster.name("vm"))
    if node:
        pod["spec"]["nodeName"] = node
    return await cluster.make(scheme.POD, pod)


async def test_pod_create(cluster: Cluster) -> None:
    named = a_pod(names.POD_PREFIX + "linux-vm-abcde", vm="")
    labelled = a_pod("innocent")
    del labelled["metadata"]["annotations"]
    machine = a_pod("innocent")
    del machine["metadata"]["labels"]
    prefixed = a_pod("", vm="")
    prefixed["metadata"] |= {"generateName": names.POD_PREFIX}
    del prefixed["metadata"]["name"]
    for pod in (named, labelled, machine, prefixed):
        for stranger in (cluster.admin, cluster.editor):
            with pytest.raises(status.Forbidden, match="only drover:controllers"):
                await stranger.create_dry(scheme.POD, pod)
    await cluster.editor.create_dry(scheme.POD, a_pod("innocent", vm=""))
    await cluster.controllers.create_dry(scheme.POD, a_pod(names.POD_PREFIX + "linux-vm-abcde"))


async def test_pod_priority(cluster: Cluster) -> None:
    pod = a_pod(names.POD_PREFIX + "linux-vm-abcde", priority="system-cluster-critical")
    with pytest.raises(status.Invalid, match="preemptionPolicy is not Never"):
        await cluster.controllers.create_dry(scheme.POD, pod)


async def test_pod_machine(cluster: Cluster) -> None:
    pod = await a_vm_pod(cluster)
    changes = (
        (names.MACHINE_ANNOTATION, "other"),
        (names.MACHINE_ANNOTATION, None),
        (names.STOP_ANNOTATION, "force"),
    )
    for annotation, text in changes:
        change: Object = {"metadata": {"annotations": {annotation: text}}}
        for stranger in (cluster.admin, cluster.editor):
            said = await refused(stranger, scheme.POD, pod, change)
            assert "annotations drover.dev/* of a Pod" in said
        await refused(cluster.admin, scheme.POD, pod, change, "status")
    change = {"metadata": {"labels": {names.VM_NAME_LABEL: "other"}}}
    assert names.VM_NAME_LABEL in await refused(cluster.admin, scheme.POD, pod, change)
    plain = await cluster.make(scheme.POD, a_pod(cluster.name("pod"), vm=""))
    await refused(cluster.editor, scheme.POD, plain, change)
    await patch(cluster.editor, scheme.POD, pod, {"metadata": {"labels": {"app": "web"}}})


async def test_pod_eviction(cluster: Cluster) -> None:
    pod = await a_vm_pod(cluster)
    mark = mark_patch(Mark("2026-01-01T00:00:00Z", cordoned=True))
    for stranger in (cluster.admin, cluster.editor):
        assert "annotations drover.dev/*" in await refused(stranger, scheme.POD, pod, mark)
    marked = await patch(cluster.controllers, scheme.POD, pod, mark)
    await refused(cluster.editor, scheme.POD, marked, mark_patch(None))
    await patch(cluster.controllers, scheme.POD, marked, mark_patch(None))


async def test_pod_blocked(cluster: Cluster) -> None:
    pod = await a_vm_pod(cluster)
    change = blocked_patch(Blocked(BlockedReason.NO_ROOM, "0/3 nodes are available"))
    for stranger in (cluster.admin, cluster.editor):
        assert "annotations drover.dev/*" in await refused(stranger, scheme.POD, pod, change)
    await patch(cluster.controllers, scheme.POD, pod, change)


async def test_budget(cluster: Cluster) -> None:
    """Any other budget is its user's own."""
    wanted = budgets.wanted(NAMESPACE)
    with pytest.raises(status.Forbidden, match="belongs to drover:controllers"):
        await cluster.admin.create(scheme.BUDGET, wanted)
    budget = await cluster.make(scheme.BUDGET, wanted, by=cluster.controllers)
    loose: Object = {"spec": {"minAvailable": 0}}
    assert "belongs to drover:controllers" in await refused(
        cluster.admin, scheme.BUDGET, budget, loose
    )
    with pytest.raises(status.Forbidden, match="belongs to drover:controllers"):
        await cluster.admin.delete(scheme.BUDGET, budgets.NAME, NAMESPACE)
    name = cluster.name("budget")
    own = {**wanted, "metadata": {"name": name, "namespace": NAMESPACE}}
    await cluster.make(scheme.BUDGET, own)
    await cluster.controllers.delete(scheme.BUDGET, budgets.NAME, NAMESPACE)


async def test_pod_node(cluster: Cluster) -> None:
    pod = await a_vm_pod(cluster)
    name = pod["metadata"]["name"]
    binding = {
        "apiVersion": "v1",
        "kind": "Binding",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "target": {"apiVersion": "v1", "kind": "Node", "name": A},
    }
    path = scheme.POD.path(NAMESPACE, name, "binding")
    for stranger in (cluster.node_a, cluster.controllers, cluster.editor):
        with pytest.raises(status.Forbidden):
            await stranger.post(path, binding)
    await cluster.scheduler.post(path, binding)


async def test_pod_status(cluster: Cluster) -> None:
    pod = await a_vm_pod(cluster, node=A)
    change = {"status": {"phase": "Running"}}
    for stranger in (cluster.node_b, cluster.controllers, cluster.editor):
        await refused(stranger, scheme.POD, pod, change, "status")
    await patch(cluster.node_a, scheme.POD, pod, change, "status")


async def test_pod_delete(cluster: Cluster) -> None:
    pod = await a_vm_pod(cluster)
    name = pod["metadata"]["name"]
    with pytest.raises(status.Forbidden, match="not preempted"):
        await cluster.scheduler.delete(scheme.POD, name, NAMESPACE)
    plain = await cluster.make(scheme.POD, a_pod(cluster.name("pod"), vm=""))
    await cluster.scheduler.delete(scheme.POD, plain["metadata"]["name"], NAMESPACE)
    await cluster.editor.delete(scheme.POD, name, NAMESPACE)


async def test_node_status(cluster: Cluster) -> None:
    node = await cluster.node_a.get(scheme.NODE, A)
    change = {"status": {"conditions": [{"type": "Ready", "status": "True"}]}}
    for stranger in (cluster.node_b, cluster.controllers, cluster.editor):
        await refused(stranger, scheme.NODE, node, change, "status")
    await patch(cluster.node_a, scheme.NODE, node, change, "status")


async def test_node_firmware(cluster: Cluster) -> None:
    node = await cluster.node_a.get(scheme.NODE, A)
    offer = [firmware.Offer("10.0.2", ("pc-q35-7.2",))]
    change = {"metadata": {"annotations": {names.FIRMWARE_ANNOTATION: firmware.encode(offer)}}}
    for stranger in (cluster.node_b, cluster.controllers, cluster.editor, cluster.admin):
        await refused(stranger, scheme.NODE, node, change)
    after = await patch(cluster.node_a, scheme.NODE, node, change)
    assert firmware.can_run(after, "10.0.2", "pc-q35-7.2")


async def test_node_group(cluster: Cluster) -> None:
    node = await cluster.node_a.get(scheme.NODE, A)
    for who, group, allowed in (
        (cluster.node_a, "worker", True),  # at its registration
        (cluster.node_a, "other", False),
        (cluster.admin, "other", True),
        (cluster.admin, None, True),
    ):
        change: Object = {"metadata": {"labels": {names.NODE_GROUP_LABEL: group}}}
        if allowed:
            await patch(who, scheme.NODE, node, change)
        else:
            await refused(who, scheme.NODE, node, change)


async def a_node_lease(cluster: Cluster) -> Object:
    lease = {
        "metadata": {
            "name": A,
            "namespace": names.NODE_LEASE_NAMESPACE,
            "annotations": {names.INCARNATION_ANNOTATION: "life-1"},
        },
        "spec": {"holderIdentity": A, "leaseDurationSeconds": 40},
    }
    with contextlib.suppress(status.NotFound):
        await cluster.node_a.delete(scheme.LEASE, A, names.NODE_LEASE_NAMESPACE)
    return await cluster.make(scheme.LEASE, lease, by=cluster.node_a)


async def test_nodelease(cluster: Cluster) -> None:
    lease = await a_node_lease(cluster)
    change = {"spec": {"leaseDurationSeconds": 50}}
    for stranger in (cluster.node_b, cluster.controllers, cluster.editor):
        await refused(stranger, scheme.LEASE, lease, change)
    with pytest.raises(status.Forbidden, match="belongs to that node"):
        await cluster.editor.delete(scheme.LEASE, A, names.NODE_LEASE_NAMESPACE)
    await patch(cluster.node_a, scheme.LEASE, lease, change)
    read = await cluster.node_b.get(scheme.LEASE, A, names.NODE_LEASE_NAMESPACE)
    assert read["spec"]["leaseDurationSeconds"] == 50


async def test_nodelease_incarnation(cluster: Cluster) -> None:
    lease = await a_node_lease(cluster)
    for value in ("life-2", None):
        change: Object = {"metadata": {"annotations": {names.INCARNATION_ANNOTATION: value}}}
        said = await refused(cluster.admin, scheme.LEASE, lease, change)
        assert names.INCARNATION_ANNOTATION in said
    change = {"metadata": {"annotations": {names.INCARNATION_ANNOTATION: "life-2"}}}
    await patch(cluster.node_a, scheme.LEASE, lease, change)
