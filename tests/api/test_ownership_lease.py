"""Lines of docs/ownership.md about the lease of a VM: who may run it."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import pytest
from tests.api.ownership import NAMESPACE, A, B

from drover.api import names, scheme, status
from drover.api.kinds.vml import RESTORE_LEAP

if TYPE_CHECKING:
    from tests.support.cluster import Caller, Cluster

    from drover.api.wire import Object

pytestmark = [pytest.mark.engine, pytest.mark.timeout(90)]  # the first starts the engine


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
    leaving = a_lease(cluster.name("vml"))
    leaving["metadata"]["finalizers"] = ["example.org/keep"]
    name = (await cluster.make(scheme.VML, leaving))["metadata"]["name"]
    await cluster.controllers.delete(scheme.VML, name, NAMESPACE)
    leaving = await cluster.controllers.get(scheme.VML, name, NAMESPACE)
    wanted = changed(leaving, holder="pod-1", node=A, nodeIncarnation="life-1")
    wanted["metadata"]["finalizers"] += leaving["metadata"]["finalizers"]
    assert "being deleted" in await not_written(cluster.controllers, wanted)


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


async def test_vml_settle(cluster: Cluster) -> None:
    lease = await held_by_a(cluster)
    settled = {**TO_B, "lastReason": names.LastReason.RESTORED}

    def at(leap: int) -> Object:
        spec = {**lease["spec"], **settled, "epoch": lease["spec"]["epoch"] + leap}
        return {**lease, "spec": spec}

    for stranger in (cluster.admin, cluster.node_b):
        await not_written(stranger, at(RESTORE_LEAP))
    await not_written(cluster.controllers, at(RESTORE_LEAP - 1))
    after = await cluster.controllers.replace(scheme.VML, at(RESTORE_LEAP))
    assert after["spec"]["node"] == TO_B["node"]


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
