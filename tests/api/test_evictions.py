"""What Kubernetes itself answers to the eviction of a VM Pod while nobody reviews it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.api.ownership import NAMESPACE, A, patch
from tests.api.test_ownership_pods import a_vm_pod

from drover.api import scheme, status
from drover.controllers.evacuation import budgets

if TYPE_CHECKING:
    from tests.support.cluster import Cluster

    from drover.api.wire import Object

pytestmark = [pytest.mark.engine, pytest.mark.timeout(90)]  # the first starts the engine


async def evict(cluster: Cluster, pod: Object, dry: bool = False) -> None:
    meta = {"name": pod["metadata"]["name"], "namespace": NAMESPACE}
    options = {"deleteOptions": {"dryRun": ["All"]}} if dry else {}
    body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": meta, **options}
    await cluster.admin.post(scheme.POD.path(NAMESPACE, meta["name"], "eviction"), body)


async def test_a_running_vm_is_kept_by_its_budget_and_an_ended_one_is_not(cluster: Cluster) -> None:
    """429 and nothing else: kubectl drain asks again after that, and gives up after any other answer."""
    pod = await a_vm_pod(cluster, node=A)
    await patch(cluster.node_a, scheme.POD, pod, {"status": {"phase": "Running"}}, "status")
    await cluster.make(scheme.BUDGET, budgets.wanted(NAMESPACE), by=cluster.controllers)
    try:
        for dry in (True, False):
            with pytest.raises(status.TooManyRequests):
                await evict(cluster, pod, dry)
        await patch(cluster.node_a, scheme.POD, pod, {"status": {"phase": "Succeeded"}}, "status")
        await evict(cluster, pod)
        with pytest.raises(status.NotFound):
            await cluster.admin.get(scheme.POD, pod["metadata"]["name"], NAMESPACE)
    finally:
        await cluster.controllers.delete(scheme.BUDGET, budgets.NAME, NAMESPACE)


async def test_two_budgets_are_more_than_kubernetes_takes(cluster: Cluster) -> None:
    """What docs/walks/drain.md says of a user's own budget, while the review is away."""
    pod = await a_vm_pod(cluster, node=A)
    await patch(cluster.node_a, scheme.POD, pod, {"status": {"phase": "Running"}}, "status")
    ours = budgets.wanted(NAMESPACE)
    await cluster.make(scheme.BUDGET, ours, by=cluster.controllers)
    own = {**ours, "metadata": {"name": cluster.name("budget"), "namespace": NAMESPACE}}
    await cluster.make(scheme.BUDGET, own)
    try:
        with pytest.raises(status.ServerError):
            await evict(cluster, pod)
    finally:
        await cluster.controllers.delete(scheme.BUDGET, budgets.NAME, NAMESPACE)
        await cluster.controllers.delete(scheme.BUDGET, own["metadata"]["name"], NAMESPACE)
