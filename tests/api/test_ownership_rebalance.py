"""Lines of docs/ownership.md about what is moved by itself, and who may say so."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import pytest
from tests.api import samples
from tests.api.ownership import patch, refused

from drover.api import scheme, status

if TYPE_CHECKING:
    from tests.support.cluster import Cluster

    from drover.api.wire import Object

pytestmark = [pytest.mark.engine, pytest.mark.timeout(90)]  # the first starts the engine


async def the_descheduler(cluster: Cluster) -> Object:
    """The one that comes with every installation."""
    return await cluster.admin.get(scheme.DESCHEDULER, "virtualization")


def a_plan(cluster: Cluster) -> Object:
    [spec] = samples.works("RebalancePlan")
    return {"metadata": {"name": cluster.name("plan")}, "spec": spec}


async def test_descheduler_spec(cluster: Cluster) -> None:
    found = await the_descheduler(cluster)
    change = {"spec": {"evictLocalStoragePods": not found["spec"]["evictLocalStoragePods"]}}
    for stranger in (cluster.controllers, cluster.editor, cluster.node_a):
        await refused(stranger, scheme.DESCHEDULER, found, change)
    await patch(cluster.admin, scheme.DESCHEDULER, found, change)


async def test_descheduler_status(cluster: Cluster) -> None:
    found = await the_descheduler(cluster)
    told = {"status": {"overloadedNodes": 7}}
    for stranger in (cluster.admin, cluster.editor, cluster.node_a):
        await refused(stranger, scheme.DESCHEDULER, found, told, "status")
    after = await patch(cluster.controllers, scheme.DESCHEDULER, found, told, "status")
    assert after["status"]["overloadedNodes"] == 7


async def test_plan_spec(cluster: Cluster) -> None:
    for stranger in (cluster.admin, cluster.editor, cluster.node_a):
        with pytest.raises(status.Forbidden):
            await cluster.make(scheme.REBALANCEPLAN, a_plan(cluster), by=stranger)
    plan = await cluster.make(scheme.REBALANCEPLAN, a_plan(cluster))
    moves = copy.deepcopy(plan["spec"]["moves"])
    moves[0]["target"] = "elsewhere"
    for writer in (cluster.admin, cluster.controllers):
        for change in ({"moves": moves}, {"moves": None}, {"hash": "b2"}, {"mode": "Automatic"}):
            said = await refused(writer, scheme.REBALANCEPLAN, plan, {"spec": change})
            assert "does not change" in said


async def test_plan_approved(cluster: Cluster) -> None:
    yes = {"spec": {"approved": True}}
    forged = a_plan(cluster)
    forged["spec"]["approved"] = True
    with pytest.raises(status.Forbidden, match="word of a person"):
        await cluster.make(scheme.REBALANCEPLAN, forged)
    plan = await cluster.make(scheme.REBALANCEPLAN, a_plan(cluster))
    for stranger in (cluster.controllers, cluster.editor, cluster.node_a):
        await refused(stranger, scheme.REBALANCEPLAN, plan, yes)
    await patch(cluster.admin, scheme.REBALANCEPLAN, plan, yes)
    for back in (False, None):
        said = await refused(
            cluster.admin, scheme.REBALANCEPLAN, plan, {"spec": {"approved": back}}
        )
        assert "cannot be taken back" in said
    # A plan that was approved can still be told about.
    told = {"status": {"phase": "Executing"}}
    await patch(cluster.controllers, scheme.REBALANCEPLAN, plan, told, "status")


async def test_plan_status(cluster: Cluster) -> None:
    plan = await cluster.make(scheme.REBALANCEPLAN, a_plan(cluster))
    told = {"status": {"phase": "Done"}}
    for stranger in (cluster.admin, cluster.editor, cluster.node_a):
        await refused(stranger, scheme.REBALANCEPLAN, plan, told, "status")
    after = await patch(cluster.controllers, scheme.REBALANCEPLAN, plan, told, "status")
    assert after["status"]["phase"] == "Done"
