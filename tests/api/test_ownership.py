"""Each line of docs/ownership.md: the wrong writer is refused by a real control plane.

Where a right writer could be refused by mistake it is tried too, in the same test. A test is tied
to its line by its name: ``test_vml_give`` is the line ``vml.give``.
"""

from __future__ import annotations

import contextlib
import copy
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.api import samples

from drover.api import names, scheme, status

if TYPE_CHECKING:
    from tests.api.conftest import Caller, Cluster

    from drover.api.scheme import Kind
    from drover.api.wire import Object

pytestmark = pytest.mark.engine

PAGE = Path(__file__).parents[2] / "docs" / "ownership.md"
NAMESPACE = "default"
A, B = "node-a", "node-b"


def test_every_line_has_a_test() -> None:
    lines = re.findall(r"^\| ([a-z.]+) \|", PAGE.read_text(), re.MULTILINE)
    lines.remove("line")
    tests = {name for name in globals() if name.startswith("test_")}
    assert {"test_" + line.replace(".", "_") for line in lines} <= tests
    assert len(lines) == len(set(lines)) == len(tests) - 1


# ---- the user's kinds


async def test_vm_spec(cluster: Cluster) -> None:
    vm = await cluster.a_sample(scheme.VM)
    await refused(cluster.controllers, scheme.VM, vm, {"spec": {"runPolicy": "AlwaysOff"}})
    await refused(cluster.node_a, scheme.VM, vm, {"spec": {"runPolicy": "AlwaysOff"}})
    held = {"metadata": {"finalizers": [names.VM_FINALIZER]}}
    await patch(cluster.controllers, scheme.VM, vm, held)
    await patch(cluster.editor, scheme.VM, vm, {"spec": {"runPolicy": "AlwaysOff"}})


async def test_vm_metadata(cluster: Cluster) -> None:
    vm = await cluster.a_sample(scheme.VM)
    for part in ("labels", "annotations"):
        change = {"metadata": {part: {names.VM_NAME_LABEL.replace("/name", ".kubevirt.io/x"): "y"}}}
        said = await refused(cluster.admin, scheme.VM, vm, change)
        assert "kubevirt.io" in said
    await patch(cluster.editor, scheme.VM, vm, {"metadata": {"labels": {"app": "web"}}})


async def test_vm_requests(cluster: Cluster) -> None:
    vm = await cluster.a_sample(scheme.VM)

    def asks(text: str | None) -> Object:
        return {"metadata": {"annotations": {"drover.dev/stop-requested": text}}}

    for stranger in (cluster.admin, cluster.editor):
        said = await refused(stranger, scheme.VM, vm, asks("vmop-1"))
        assert "VirtualMachineOperation" in said
    await patch(cluster.controllers, scheme.VM, vm, asks("vmop-1"))
    await refused(cluster.editor, scheme.VM, vm, asks("vmop-2"))
    await patch(cluster.editor, scheme.VM, vm, {"metadata": {"labels": {"app": "web"}}})
    await patch(cluster.editor, scheme.VM, vm, asks(None))


async def test_vm_status(cluster: Cluster) -> None:
    await only_controllers_write_status(cluster, scheme.VM, {"phase": "Running"})


async def test_vmop_spec(cluster: Cluster) -> None:
    vmop = await cluster.a_sample(scheme.VMOP)
    change = {"spec": {"virtualMachineName": "other"}}
    assert ".spec is immutable" in await refused(cluster.admin, scheme.VMOP, vmop, change)
    await refused(cluster.controllers, scheme.VMOP, vmop, change)


async def test_vmop_status(cluster: Cluster) -> None:
    await only_controllers_write_status(cluster, scheme.VMOP, {"phase": "Completed"})


async def test_vmclass_spec(cluster: Cluster) -> None:
    vmclass = await cluster.a_sample(scheme.VMCLASS)
    await refused(cluster.controllers, scheme.VMCLASS, vmclass, {"spec": {"sizingPolicies": None}})
    await refused(cluster.editor, scheme.VMCLASS, vmclass, {"spec": {"sizingPolicies": None}})
    change = {"spec": {"cpu": {"model": "Skylake-Client"}}}
    assert "immutable" in await refused(cluster.admin, scheme.VMCLASS, vmclass, change)
    await patch(cluster.admin, scheme.VMCLASS, vmclass, {"spec": {"sizingPolicies": None}})


async def test_vmclass_status(cluster: Cluster) -> None:
    await only_controllers_write_status(cluster, scheme.VMCLASS, {"phase": "Ready"})


async def test_vd_spec(cluster: Cluster) -> None:
    disk = await cluster.a_sample(scheme.VDISK)
    for change in ({"size": "2Gi"}, {"size": None}):
        await refused(
            cluster.editor, scheme.VDISK, disk, {"spec": {"persistentVolumeClaim": change}}
        )
    source = {"type": "ObjectRef", "objectRef": {"kind": "VirtualImage", "name": "i"}}
    await refused(cluster.editor, scheme.VDISK, disk, {"spec": {"dataSource": source}})
    await refused(cluster.controllers, scheme.VDISK, disk, {"spec": {"dataSource": source}})


async def test_vd_status(cluster: Cluster) -> None:
    await only_controllers_write_status(
        cluster, scheme.VDISK, {"heldBy": {"name": "linux-vm", "uid": "u"}}
    )


async def test_vi_status(cluster: Cluster) -> None:
    await only_controllers_write_status(cluster, scheme.VIMAGE, {"phase": "Ready"})


async def test_cvi_status(cluster: Cluster) -> None:
    await only_controllers_write_status(cluster, scheme.CVIMAGE, {"phase": "Ready"})


async def test_vmip_spec(cluster: Cluster) -> None:
    claim = await cluster.a_sample(scheme.VMIP)
    change = {"spec": {"type": "Static", "staticIP": "10.66.10.77"}}
    assert "immutable" in await refused(cluster.editor, scheme.VMIP, claim, change)


async def test_vmip_status(cluster: Cluster) -> None:
    await only_controllers_write_status(cluster, scheme.VMIP, {"address": "10.66.10.77"})


async def test_vmipl(cluster: Cluster) -> None:
    lease = {
        "metadata": {"name": cluster.name("ip")},
        "spec": samples.works("VirtualMachineIPAddressLease")[0],
    }
    for stranger in (cluster.admin, cluster.node_a):
        with pytest.raises(status.Forbidden):
            await stranger.create(scheme.VMIPLEASE, lease)
    made = await cluster.make(scheme.VMIPLEASE, lease)
    change = {"spec": {"virtualMachineIPAddressRef": {"name": "other"}}}
    await refused(cluster.admin, scheme.VMIPLEASE, made, change)
    await refused(cluster.admin, scheme.VMIPLEASE, made, {"status": {"phase": "Bound"}}, "status")
    await patch(cluster.controllers, scheme.VMIPLEASE, made, change)
    with pytest.raises(status.Forbidden):
        await cluster.admin.delete(scheme.VMIPLEASE, made["metadata"]["name"])


# ---- the lease of a VM


def a_lease(name: str, **spec: object) -> Object:
    held = bool(spec.get("holder"))
    return {
        "metadata": {
            "name": name,
            "namespace": NAMESPACE,
            "finalizers": [names.HELD_FINALIZER] if held else [],
        },
        "spec": {"holder": "", "epoch": 1, **spec},
    }


async def held_by_a(cluster: Cluster) -> Object:
    """The lease of a new VM, held by a Pod of node a."""
    lease = a_lease(
        cluster.name("vml"), holder="pod-1", node=A, nodeIncarnation="life-1", disks=["root"]
    )
    return await cluster.make(scheme.VML, lease)


def changed(lease: Object, **spec: object) -> Object:
    """The whole object for the next epoch, with the finalizer that belongs to it."""
    wanted = copy.deepcopy(lease)
    wanted["spec"] |= {"epoch": lease["spec"]["epoch"] + 1, **spec}
    wanted["metadata"]["finalizers"] = [names.HELD_FINALIZER] if wanted["spec"]["holder"] else []
    return wanted


RELEASED = {"holder": "", "node": "", "nodeIncarnation": "", "disks": [], "lastReason": "Stopped"}
TO_B = {"holder": "pod-2", "node": B, "nodeIncarnation": "life-2"}


async def not_written(who: Caller, wanted: Object) -> str:
    with pytest.raises((status.Forbidden, status.Invalid)) as refusal:
        await who.replace(scheme.VML, wanted)
    return refusal.value.message


async def test_vml_create(cluster: Cluster) -> None:
    for stranger in (cluster.admin, cluster.node_a, cluster.editor):
        with pytest.raises(status.Forbidden):
            await stranger.create(scheme.VML, a_lease(cluster.name("vml")))
    await cluster.make(scheme.VML, a_lease(cluster.name("vml")))


async def test_vml_acquire(cluster: Cluster) -> None:
    lease = await cluster.make(scheme.VML, a_lease(cluster.name("vml"), node=A))
    wanted = changed(lease, holder="pod-1", node=A, nodeIncarnation="life-1")
    for stranger in (cluster.node_a, cluster.node_b, cluster.admin):
        await not_written(stranger, wanted)
    nameless = changed(lease, holder="pod-1", node=A, nodeIncarnation="")
    assert "nodeIncarnation" in await not_written(cluster.controllers, nameless)
    await cluster.controllers.replace(scheme.VML, wanted)


async def test_vml_give(cluster: Cluster) -> None:
    lease = await held_by_a(cluster)
    for stranger in (cluster.node_b, cluster.admin, cluster.controllers):
        await not_written(stranger, changed(lease, **RELEASED))
        await not_written(stranger, changed(lease, **TO_B))
    await not_written(cluster.node_a, changed(lease, holder="pod-9"))  # another Pod of its own
    await not_written(cluster.node_a, changed(lease, node=B))  # its Pod, but elsewhere
    await not_written(cluster.node_a, changed(lease, **TO_B, disks=["other"]))
    settled = await cluster.node_a.replace(scheme.VML, changed(lease))  # back to itself
    given = await cluster.node_a.replace(scheme.VML, changed(settled, **TO_B))
    await not_written(cluster.node_a, changed(given, **RELEASED))  # the former holder
    back = {"holder": "pod-1", "node": A, "nodeIncarnation": "life-1"}
    again = await cluster.node_b.replace(scheme.VML, changed(given, **back))
    await cluster.node_a.replace(scheme.VML, changed(again, **RELEASED))


async def test_vml_break(cluster: Cluster) -> None:
    lease = await held_by_a(cluster)
    lost = {**RELEASED, "lastReason": names.LastReason.NODE_LOST}
    for stranger in (cluster.admin, cluster.node_b):
        await not_written(stranger, changed(lease, **lost))
    await not_written(cluster.controllers, changed(lease, **RELEASED))
    await not_written(cluster.controllers, changed(lease, **TO_B, lastReason="NodeLost"))
    await cluster.controllers.replace(scheme.VML, changed(lease, **lost))


async def test_vml_epoch(cluster: Cluster) -> None:
    lease = await held_by_a(cluster)
    for epoch in (1, 0):
        wanted = changed(lease, **TO_B) | {"spec": {**lease["spec"], **TO_B, "epoch": epoch}}
        assert "spec.epoch" in await not_written(cluster.node_a, wanted)
    late = changed(lease, **RELEASED)
    await cluster.node_a.replace(scheme.VML, changed(lease, **TO_B))
    with pytest.raises(status.Conflict):
        await cluster.node_a.replace(scheme.VML, late)


async def test_vml_finalizer(cluster: Cluster) -> None:
    bare = a_lease(cluster.name("vml"), holder="pod-1", node=A, nodeIncarnation="life-1")
    bare["metadata"]["finalizers"] = []
    with pytest.raises(status.Invalid, match=names.HELD_FINALIZER):
        await cluster.controllers.create(scheme.VML, bare)
    lease = await held_by_a(cluster)
    stripped = copy.deepcopy(lease)
    stripped["metadata"]["finalizers"] = []
    for anyone in (cluster.node_a, cluster.admin, cluster.controllers):
        await not_written(anyone, stripped)


async def test_vml_delete(cluster: Cluster) -> None:
    lease = await held_by_a(cluster)
    name = lease["metadata"]["name"]
    for anyone in (cluster.admin, cluster.controllers, cluster.node_a, cluster.editor):
        with pytest.raises(status.Forbidden):
            await anyone.delete(scheme.VML, name, NAMESPACE)
    with pytest.raises(status.Forbidden, match="stop the VM first"):
        await cluster.admin.delete(scheme.VML, name, NAMESPACE, grace_s=0)
    await cluster.node_a.replace(scheme.VML, changed(lease, **RELEASED))
    with pytest.raises(status.Forbidden):
        await cluster.node_a.delete(scheme.VML, name, NAMESPACE)
    await cluster.controllers.delete(scheme.VML, name, NAMESPACE)


# ---- migrations


async def a_move(cluster: Cluster) -> Object:
    """A migration from node a to node b."""
    spec = samples.works("VirtualMachineMigration")[0] | {"sourceNode": A}
    vmm = await cluster.make(
        scheme.VMM,
        {"metadata": {"name": cluster.name("vmm"), "namespace": NAMESPACE}, "spec": spec},
    )
    change = {"status": {"phase": "Preparing", "targetNode": B, "targetPod": {"uid": "u"}}}
    return await patch(cluster.controllers, scheme.VMM, vmm, change, "status")


async def test_vmm(cluster: Cluster) -> None:
    vmm = await a_move(cluster)
    name = vmm["metadata"]["name"]
    other = {"metadata": {"name": cluster.name("vmm"), "namespace": NAMESPACE}}
    for stranger in (cluster.admin, cluster.node_a, cluster.editor):
        with pytest.raises(status.Forbidden):
            await stranger.create(scheme.VMM, other | {"spec": vmm["spec"]})
        with pytest.raises(status.Forbidden):
            await stranger.delete(scheme.VMM, name, NAMESPACE)
        await refused(stranger, scheme.VMM, vmm, {"metadata": {"finalizers": ["a.example/b"]}})


async def test_vmm_spec(cluster: Cluster) -> None:
    vmm = await a_move(cluster)
    change = {"spec": {"sourceNode": B}}
    assert "immutable" in await refused(cluster.controllers, scheme.VMM, vmm, change)


async def test_vmm_status(cluster: Cluster) -> None:
    vmm = await a_move(cluster)
    parts: list[Object] = [
        {"phase": "Copying"},
        {"targetNode": A},
        {"targetPod": {"uid": "other"}},
        {"reason": "Because"},
        {"message": "because"},
        {"startTimestamp": "2026-01-01T00:00:00Z"},
        {"endTimestamp": "2026-01-01T00:00:00Z"},
        {"conditions": [{"type": "Done", "status": "True"}]},
    ]
    for part in parts:
        for stranger in (cluster.node_a, cluster.node_b, cluster.admin, cluster.editor):
            await refused(stranger, scheme.VMM, vmm, {"status": part}, "status")
        await patch(cluster.controllers, scheme.VMM, vmm, {"status": part}, "status")


async def test_vmm_status_source(cluster: Cluster) -> None:
    vmm = await a_move(cluster)
    change = {"status": {"source": {"iteration": 3}}}
    for stranger in (cluster.node_b, cluster.controllers, cluster.admin):
        said = await refused(stranger, scheme.VMM, vmm, change, "status")
        assert "status.source" in said
    await patch(cluster.node_a, scheme.VMM, vmm, change, "status")


async def test_vmm_status_target(cluster: Cluster) -> None:
    vmm = await a_move(cluster)
    change = {"status": {"target": {"phase": "Running"}}}
    for stranger in (cluster.node_a, cluster.controllers, cluster.admin):
        said = await refused(stranger, scheme.VMM, vmm, change, "status")
        assert "status.target" in said
    await patch(cluster.node_b, scheme.VMM, vmm, change, "status")
    unplaced = await patch(
        cluster.controllers, scheme.VMM, vmm, {"status": {"targetNode": ""}}, "status"
    )
    change = {"status": {"target": {"phase": "Failed"}}}
    await refused(cluster.node_b, scheme.VMM, unplaced, change, "status")


# ---- Pods


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


# ---- nodes


async def test_node_status(cluster: Cluster) -> None:
    node = await cluster.node_a.get(scheme.NODE, A)
    change = {"status": {"conditions": [{"type": "Ready", "status": "True"}]}}
    for stranger in (cluster.node_b, cluster.controllers, cluster.editor):
        await refused(stranger, scheme.NODE, node, change, "status")
    await patch(cluster.node_a, scheme.NODE, node, change, "status")


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


# ---- how it is tried


async def patch(
    who: Caller, kind: Kind, obj: Object, change: Object, subresource: str = ""
) -> Object:
    meta = obj["metadata"]
    return await who.patch(
        kind, meta["name"], meta.get("namespace", ""), change, subresource=subresource
    )


async def refused(
    who: Caller, kind: Kind, obj: Object, change: Object, subresource: str = ""
) -> str:
    """What the control plane says to it."""
    with pytest.raises((status.Forbidden, status.Invalid)) as refusal:
        await patch(who, kind, obj, change, subresource)
    return refusal.value.message


async def only_controllers_write_status(cluster: Cluster, kind: Kind, part: Object) -> None:
    obj = await cluster.a_sample(kind)
    for stranger in (cluster.admin, cluster.editor, cluster.node_a):
        await refused(stranger, kind, obj, {"status": part}, "status")
    said = await refused(cluster.admin, kind, obj, {"status": part}, "status")
    assert f"the status of {kind.plural} belongs to drover:controllers" in said
    after = await patch(cluster.controllers, kind, obj, {"status": part}, "status")
    assert part.items() <= after["status"].items()
