"""What a host that somebody took over tries on the rest of the cluster: lines ``node.*`` of docs/security.md."""

from __future__ import annotations

import asyncio
import contextlib
import copy
from typing import TYPE_CHECKING

import pytest
from tests.api import samples
from tests.api.ownership import NAMESPACE, A, B, patch, refused

from drover.api import names, scheme, status
from drover.controllers import access

if TYPE_CHECKING:
    from tests.support.cluster import Caller, Cluster

    from drover.api.wire import Object

pytestmark = pytest.mark.engine

HIGHEST = 2**63 - 1


async def denied(who: Caller, wanted: Object, kind: scheme.Kind = scheme.VML) -> str:
    with pytest.raises((status.Forbidden, status.Invalid)) as refusal:
        await who.replace(kind, wanted)
    return refusal.value.message


async def allowed(who: Caller, kind: scheme.Kind, name: str, namespace: str) -> Object:
    """The object, as soon as it may be read."""
    async with asyncio.timeout(20):
        while True:
            with contextlib.suppress(status.Forbidden):
                return await who.get(kind, name, namespace)
            await asyncio.sleep(0.05)


async def a_vm_pod(
    cluster: Cluster, node: str, namespace: str = NAMESPACE, secret: str = ""
) -> Object:
    pod: Object = {
        "metadata": {
            "name": names.POD_PREFIX + cluster.name("vm"),
            "namespace": namespace,
            "labels": {names.VM_NAME_LABEL: "linux-vm"},
        },
        "spec": {
            "nodeName": node,
            "priorityClassName": names.VM_PRIORITY_CLASS,
            "automountServiceAccountToken": False,
            "containers": [{"name": names.COMPUTE_CONTAINER, "image": "drover.dev/machine"}],
            "volumes": [{"name": "s", "secret": {"secretName": secret}}] if secret else [],
        },
    }
    return await cluster.make(scheme.POD, pod)


async def held_by_a(cluster: Cluster) -> Object:
    """The lease of a VM that runs on node a."""
    return await cluster.make(
        scheme.VML,
        {
            "metadata": {
                "name": cluster.name("vml"),
                "namespace": NAMESPACE,
                "finalizers": [names.HELD_FINALIZER],
            },
            "spec": {"holder": "pod-1", "node": A, "nodeIncarnation": "life-1", "epoch": 1},
        },
    )


def next_hand(lease: Object, **spec: object) -> Object:
    wanted = copy.deepcopy(lease)
    wanted["spec"] |= {"epoch": lease["spec"]["epoch"] + 1, **spec}
    wanted["metadata"]["finalizers"] = [names.HELD_FINALIZER] if wanted["spec"]["holder"] else []
    return wanted


async def test_node_lease(cluster: Cluster) -> None:
    space = names.NODE_LEASE_NAMESPACE
    lease = {"metadata": {"name": A, "namespace": space}, "spec": {"holderIdentity": A}}
    with pytest.raises(status.Forbidden):
        await cluster.node_b.create_dry(scheme.LEASE, lease)
    with contextlib.suppress(status.AlreadyExists):
        await cluster.make(scheme.LEASE, lease, by=cluster.node_a)
    there = await cluster.node_a.get(scheme.LEASE, A, space)
    renewal: Object = {"spec": {"renewTime": "2026-01-01T00:00:00.000000Z"}}
    await refused(cluster.node_b, scheme.LEASE, there, renewal)
    with pytest.raises(status.Forbidden):
        await cluster.node_b.delete(scheme.LEASE, A, space)
    elsewhere = {"metadata": {"name": B, "namespace": NAMESPACE}, "spec": {"holderIdentity": B}}
    with pytest.raises(status.Forbidden):
        await cluster.node_b.create_dry(scheme.LEASE, elsewhere)
    await patch(cluster.node_a, scheme.LEASE, there, renewal)


async def test_node_node(cluster: Cluster) -> None:
    other = await cluster.admin.get(scheme.NODE, A)
    for change in ({"metadata": {"labels": {"x": "y"}}}, {"spec": {"unschedulable": True}}):
        await refused(cluster.node_b, scheme.NODE, other, change)
    await refused(cluster.node_b, scheme.NODE, other, {"status": {"conditions": []}}, "status")
    with pytest.raises(status.Forbidden):
        await cluster.node_b.delete(scheme.NODE, B)
    own = await cluster.node_b.get(scheme.NODE, B)
    taint = {"key": names.VM_NODE_TAINT, "effect": "NoSchedule"}
    own = await patch(cluster.admin, scheme.NODE, own, {"spec": {"taints": [taint]}})
    await refused(cluster.node_b, scheme.NODE, own, {"spec": {"taints": None}})
    group: Object = {"metadata": {"labels": {names.NODE_GROUP_LABEL: "worker"}}}
    own = await patch(cluster.node_b, scheme.NODE, own, group)
    for value in ("others", None):
        leave: Object = {"metadata": {"labels": {names.NODE_GROUP_LABEL: value}}}
        for part in ("", "status"):
            assert "stays in its group" in await refused(
                cluster.node_b, scheme.NODE, own, leave, part
            )
    await patch(
        cluster.admin, scheme.NODE, own, {"metadata": {"labels": {names.NODE_GROUP_LABEL: None}}}
    )


async def test_node_handover(cluster: Cluster) -> None:
    lease = await held_by_a(cluster)
    mine = {"holder": "pod-2", "node": B, "nodeIncarnation": "life-2"}
    gone = {"holder": "", "node": "", "nodeIncarnation": "", "lastReason": "Stopped"}
    for spec in (mine, gone, {"node": B}, {"nodeIncarnation": "life-2"}, {"disks": ["root"]}):
        assert A in await denied(cluster.node_b, next_hand(lease, **spec))
    free = await cluster.node_a.replace(scheme.VML, next_hand(lease, **gone))
    assert "acquire" in await denied(cluster.node_b, next_hand(free, **mine))
    with pytest.raises(status.Forbidden):
        await cluster.node_b.delete(scheme.VML, lease["metadata"]["name"], NAMESPACE)


async def test_node_epoch(cluster: Cluster) -> None:
    lease = await held_by_a(cluster)
    gone = {"holder": "", "node": "", "nodeIncarnation": ""}
    for spec in ({"epoch": HIGHEST}, {"epoch": HIGHEST, **gone}, {"epoch": 3}):
        assert "by one" in await denied(cluster.node_a, next_hand(lease, **spec))
    await cluster.node_a.replace(scheme.VML, next_hand(lease))


async def test_node_migration(cluster: Cluster) -> None:
    """Node b is the target; a third one has no part in it."""
    spec = samples.works("VirtualMachineMigration")[0] | {"sourceNode": "node-c"}
    meta = {"name": cluster.name("vmm"), "namespace": NAMESPACE}
    vmm = await cluster.make(scheme.VMM, {"metadata": meta, "spec": spec})
    named: Object = {"status": {"phase": "Preparing", "targetNode": B, "targetPod": {"uid": "u"}}}
    vmm = await patch(cluster.controllers, scheme.VMM, vmm, named, "status")
    report: Object = {"phase": "Running"}
    for part in ("source", "target"):
        await refused(cluster.node_a, scheme.VMM, vmm, {"status": {part: report}}, "status")
    await refused(cluster.node_b, scheme.VMM, vmm, {"status": {"source": report}}, "status")
    for own in ({"targetNode": A}, {"phase": "Succeeded"}, {"message": "x"}):
        await refused(cluster.node_b, scheme.VMM, vmm, {"status": own}, "status")
    await refused(cluster.node_b, scheme.VMM, vmm, {"spec": {"sourceNode": B}})
    await patch(cluster.node_b, scheme.VMM, vmm, {"status": {"target": report}}, "status")


async def test_every_part_of_a_migrations_status_has_a_holder(cluster: Cluster) -> None:
    """The policy names what is the controllers'; a field that is added later must not fall out of it."""
    crd = await cluster.admin.get(scheme.CRD, "virtualmachinemigrations.drover.dev")
    schema = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    fields = set(schema["properties"]["status"]["properties"])
    policy = await cluster.admin.get(
        scheme.Kind("admissionregistration.k8s.io", "v1", "", "validatingadmissionpolicies", False),
        "drover-vmm-status",
    )
    said = " ".join(rule["expression"] for rule in policy["spec"]["validations"])
    assert [field for field in sorted(fields) if f"variables.new.?{field} " not in said] == []


async def test_node_secret(cluster: Cluster) -> None:
    name = cluster.name("user-data")
    data = {"metadata": {"name": name, "namespace": NAMESPACE}, "data": {"userData": "eA=="}}
    await cluster.make(scheme.SECRET, data, by=cluster.admin)
    await a_vm_pod(cluster, A, secret=name)
    await cluster.node_b.get(scheme.NODE, B)
    with pytest.raises(status.Forbidden):
        await cluster.node_b.get(scheme.SECRET, name, NAMESPACE)
    with pytest.raises(status.Forbidden):
        await cluster.node_b.list(scheme.SECRET, NAMESPACE)
    # Its authorizer learns of the Pod a moment later.
    assert (await allowed(cluster.node_a, scheme.SECRET, name, NAMESPACE))["data"]


async def test_node_pod(cluster: Cluster) -> None:
    pod = await a_vm_pod(cluster, A)
    await refused(cluster.node_b, scheme.POD, pod, {"status": {"phase": "Failed"}}, "status")
    with pytest.raises(status.Forbidden):
        await cluster.node_b.delete(scheme.POD, pod["metadata"]["name"], NAMESPACE)
    forged = copy.deepcopy(pod)
    forged["metadata"] = {
        "name": f"{names.POD_PREFIX}x-{B}",
        "namespace": NAMESPACE,
        "annotations": {"kubernetes.io/config.mirror": "x", names.MACHINE_ANNOTATION: "{}"},
        "ownerReferences": [],
    }
    forged["spec"]["nodeName"] = B
    with pytest.raises(status.Forbidden):
        await cluster.node_b.create_dry(scheme.POD, forged)
    space = cluster.name("space")
    await cluster.make(scheme.NAMESPACE, {"metadata": {"name": space}}, by=cluster.admin)
    there = await a_vm_pod(cluster, A, space)
    place = (scheme.POD, there["metadata"]["name"], space)
    with pytest.raises(status.Forbidden):
        await cluster.node_b.get(*place)
    await cluster.make(scheme.ROLEBINDING, access.wanted(space))  # as the controllers do
    await allowed(cluster.node_b, *place)


async def test_node_fence(cluster: Cluster) -> None:
    fence = {"metadata": {"name": cluster.name("nf")}, "spec": samples.works("NodeFence")[0]}
    roster = {"metadata": {"name": "worker"}, "spec": samples.works("NodeRoster")[0]}
    for kind, obj in ((scheme.NODEFENCE, fence), (scheme.NODEROSTER, roster)):
        with pytest.raises(status.Forbidden):
            await cluster.node_b.create_dry(kind, obj)
        with pytest.raises(status.Forbidden, match="only drover:controllers"):
            await cluster.admin.create_dry(kind, obj)
