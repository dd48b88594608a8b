"""Who sees RebalancePlans and says yes to them, besides administrators."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from tests.api.ownership import patch, refused
from tests.api.test_ownership_rebalance import a_plan
from tests.support.cluster import EDITOR

from drover.api import scheme, status

if TYPE_CHECKING:
    from tests.support.cluster import Cluster

RBAC = "rbac.authorization.k8s.io"
pytestmark = pytest.mark.engine


@pytest.mark.parametrize(
    ("role", "approves"), [("view", False), ("drover-rebalance-approver", True)]
)
async def test_roles_of_the_whole_cluster_see_plans_and_one_says_yes(
    cluster: Cluster, role: str, approves: bool
) -> None:
    plan = await cluster.make(scheme.REBALANCEPLAN, a_plan(cluster))
    kind, name = scheme.REBALANCEPLAN, plan["metadata"]["name"]
    with pytest.raises(status.Forbidden):  # rights in a namespace show none
        await cluster.editor.get(kind, name)
    binding = {
        "metadata": {"name": cluster.name("reader")},
        "roleRef": {"apiGroup": RBAC, "kind": "ClusterRole", "name": role},
        "subjects": [{"apiGroup": RBAC, "kind": "User", "name": EDITOR}],
    }
    made = await cluster.admin.create(scheme.CLUSTERROLEBINDING, binding)
    try:
        await _seen(cluster, name)
        change = {"spec": {"approved": True}}
        if approves:
            await patch(cluster.editor, kind, plan, change)
        else:
            await refused(cluster.editor, kind, plan, change)
        await refused(cluster.editor, kind, plan, {"spec": {"hash": "b2"}})
    finally:
        await cluster.admin.delete(scheme.CLUSTERROLEBINDING, made["metadata"]["name"])


async def _seen(cluster: Cluster, name: str) -> None:
    """A binding holds a moment after it was made."""
    async with asyncio.timeout(20):
        while True:
            try:
                await cluster.editor.get(scheme.REBALANCEPLAN, name)
            except status.Forbidden:
                await asyncio.sleep(0.1)
            else:
                return
