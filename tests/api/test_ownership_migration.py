"""Lines of docs/ownership.md about migrations."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.api import samples
from tests.api.ownership import NAMESPACE, A, B, patch, refused

from drover.api import names, scheme, status

if TYPE_CHECKING:
    from tests.support.cluster import Cluster

    from drover.api.wire import Object

pytestmark = [pytest.mark.engine, pytest.mark.timeout(90)]  # the first starts the engine


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
    kept = {"metadata": {"finalizers": [names.VMM_FINALIZER]}}
    vmm = await patch(cluster.controllers, scheme.VMM, vmm, kept)
    await refused(cluster.collector, scheme.VMM, vmm, {"metadata": {"finalizers": None}})
    await cluster.collector.delete(scheme.VMM, name, NAMESPACE)
    vmm = await cluster.controllers.get(scheme.VMM, name, NAMESPACE)
    assert vmm["metadata"]["finalizers"] == [names.VMM_FINALIZER]


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
    nowhere: Object = {"status": {"target": {"phase": "Listening", "port": 7000}}}
    assert "says where" in await refused(cluster.node_b, scheme.VMM, vmm, nowhere, "status")
    await patch(cluster.node_b, scheme.VMM, vmm, change, "status")
    unplaced = await patch(
        cluster.controllers, scheme.VMM, vmm, {"status": {"targetNode": ""}}, "status"
    )
    change = {"status": {"target": {"phase": "Failed"}}}
    await refused(cluster.node_b, scheme.VMM, unplaced, change, "status")
