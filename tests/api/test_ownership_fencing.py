"""Lines of docs/ownership.md about what proves that a node's VMs are dead."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.api.ownership import A, only_controllers_write_status, patch, refused

from drover.api import names, scheme, status
from drover.api.kinds.nodegroup import PAUSE_ANNOTATIONS

if TYPE_CHECKING:
    from tests.support.cluster import Cluster

    from drover.api.wire import Object

pytestmark = [pytest.mark.engine, pytest.mark.timeout(90)]  # the first starts the engine


async def the_lease(cluster: Cluster) -> Object:
    """Node a's, as that node made it."""
    meta = {
        "name": A,
        "namespace": names.NODE_LEASE_NAMESPACE,
        "annotations": {names.INCARNATION_ANNOTATION: "life-1"},
    }
    try:
        return await cluster.node_a.create(scheme.LEASE, {"metadata": meta, "spec": {}})
    except status.AlreadyExists:
        return await cluster.node_a.get(scheme.LEASE, A, names.NODE_LEASE_NAMESPACE)


def marks(epoch: int, **more: str) -> Object:
    annotations = {names.EPOCH_ANNOTATION: str(epoch), names.CONDEMNED_ANNOTATION: "life-1", **more}
    return {"metadata": {"annotations": annotations}}


async def condemn(cluster: Cluster, change: Object) -> Object:
    """As the controllers do it: the whole Lease as it was read, with the marks."""
    lease = await the_lease(cluster)
    meta = lease["metadata"]
    annotations = {**meta.get("annotations", {}), **change["metadata"]["annotations"]}
    wanted = {**lease, "metadata": {**meta, "annotations": annotations}}
    return await cluster.controllers.replace(scheme.LEASE, wanted)


async def test_nodelease_epoch(cluster: Cluster) -> None:
    lease = await the_lease(cluster)
    present = int(lease["metadata"].get("annotations", {}).get(names.EPOCH_ANNOTATION, "0"))
    for stranger in (cluster.admin, cluster.node_a):
        said = await refused(stranger, scheme.LEASE, lease, marks(present + 1))
        assert "belong to drover:controllers" in said
    await refused(cluster.editor, scheme.LEASE, lease, marks(present + 1))
    raised = await condemn(cluster, marks(present + 1))
    assert raised["metadata"]["annotations"][names.EPOCH_ANNOTATION] == str(present + 1)
    for wrong in (marks(present), marks(present + 2, other="x")):
        with pytest.raises(status.Forbidden, match="may only condemn"):
            await condemn(cluster, wrong)
    # The node goes on renewing beside the marks, and cannot take them away.
    lease = await the_lease(cluster)
    await patch(cluster.node_a, scheme.LEASE, lease, {"spec": {"leaseDurationSeconds": 7}})
    gone: Object = {"metadata": {"annotations": {names.CONDEMNED_ANNOTATION: None}}}
    assert "drover.dev/condemned" in await refused(cluster.node_a, scheme.LEASE, lease, gone)


async def test_nodelease_confirmed(cluster: Cluster) -> None:
    lease = await the_lease(cluster)
    word: Object = {"metadata": {"annotations": {names.CONFIRMED_ANNOTATION: "life-1/attempt"}}}
    said = await refused(cluster.node_a, scheme.LEASE, lease, word)
    assert "an administrator's word" in said
    await refused(cluster.editor, scheme.LEASE, lease, word)
    there = {**lease["metadata"].get("annotations", {}), **word["metadata"]["annotations"]}
    forged: Object = {**lease, "metadata": {**lease["metadata"], "annotations": there}}
    with pytest.raises(status.Forbidden):
        await cluster.controllers.replace(scheme.LEASE, forged)
    after = await patch(cluster.admin, scheme.LEASE, lease, word)
    assert after["metadata"]["annotations"] == there
    # The node goes on beside it, and cannot take it away.
    await patch(cluster.node_a, scheme.LEASE, lease, {"spec": {"leaseDurationSeconds": 8}})
    gone: Object = {"metadata": {"annotations": {names.CONFIRMED_ANNOTATION: None}}}
    await refused(cluster.node_a, scheme.LEASE, lease, gone)


async def test_nodefence(cluster: Cluster) -> None:
    spec = {"node": A, "incarnation": "life-1"}
    obj: Object = {"metadata": {"name": cluster.name("fence")}, "spec": spec}
    with pytest.raises(status.Forbidden, match="only drover:controllers may write nodefences"):
        await cluster.admin.create(scheme.NODEFENCE, obj)
    with pytest.raises(status.Forbidden):
        await cluster.node_a.create(scheme.NODEFENCE, obj)
    made = await cluster.make(scheme.NODEFENCE, obj)
    proof = {"status": {"phase": "Fenced", "evidence": "WatchdogTime"}}
    for stranger in (cluster.admin, cluster.node_a):
        await refused(stranger, scheme.NODEFENCE, made, proof, "status")
        with pytest.raises(status.Forbidden):
            await stranger.delete(scheme.NODEFENCE, made["metadata"]["name"])
    after = await patch(cluster.controllers, scheme.NODEFENCE, made, proof, "status")
    assert after["status"]["phase"] == "Fenced"
    assert "immutable" in await refused(
        cluster.controllers, scheme.NODEFENCE, made, {"spec": {"incarnation": "life-2"}}
    )
    assert (await cluster.node_b.get(scheme.NODEFENCE, made["metadata"]["name"]))["status"]


async def test_noderoster(cluster: Cluster) -> None:
    member = {"node": A, "address": "10.67.10.11", "port": 10260}
    obj: Object = {
        "metadata": {"name": cluster.name("group")},
        "spec": {"generation": 1, "members": [member]},
    }
    for stranger in (cluster.admin, cluster.node_a):
        with pytest.raises(status.Forbidden):
            await stranger.create(scheme.NODEROSTER, obj)
    made = await cluster.make(scheme.NODEROSTER, obj)
    await refused(cluster.admin, scheme.NODEROSTER, made, {"spec": {"generation": 2}})
    said = await refused(cluster.controllers, scheme.NODEROSTER, made, {"spec": {"members": []}})
    assert "raises spec.generation" in said
    empty = {"spec": {"members": [], "previous": [member], "generation": 2}}
    await patch(cluster.controllers, scheme.NODEROSTER, made, empty)
    assert (await cluster.node_b.get(scheme.NODEROSTER, made["metadata"]["name"]))["spec"]


async def test_fencing_pause(cluster: Cluster) -> None:
    node = await cluster.node_a.get(scheme.NODE, A)
    group = await cluster.a_sample(scheme.NODEGROUP)
    for mark in PAUSE_ANNOTATIONS:
        on: Object = {"metadata": {"annotations": {mark: ""}}}
        off: Object = {"metadata": {"annotations": {mark: None}}}
        for stranger in (cluster.node_a, cluster.controllers):
            assert "that pause fencing" in await refused(stranger, scheme.NODE, node, on)
        await refused(cluster.editor, scheme.NODE, node, on)
        await refused(cluster.editor, scheme.NODEGROUP, group, on)
        for about, obj in ((scheme.NODE, node), (scheme.NODEGROUP, group)):
            await patch(cluster.admin, about, obj, on)
        assert "that pause fencing" in await refused(cluster.node_a, scheme.NODE, node, off)
        for about, obj in ((scheme.NODE, node), (scheme.NODEGROUP, group)):
            await patch(cluster.admin, about, obj, off)


async def test_nodegroup_spec(cluster: Cluster) -> None:
    group = await cluster.a_sample(scheme.NODEGROUP)
    off: Object = {"spec": {"fencing": None}}
    for stranger in (cluster.controllers, cluster.node_a, cluster.editor):
        await refused(stranger, scheme.NODEGROUP, group, off)
    after = await patch(cluster.admin, scheme.NODEGROUP, group, off)
    assert "fencing" not in after["spec"]


async def test_nodegroup_status(cluster: Cluster) -> None:
    condition = {"type": "FencingActive", "status": "True"}
    await only_controllers_write_status(cluster, scheme.NODEGROUP, {"conditions": [condition]})
