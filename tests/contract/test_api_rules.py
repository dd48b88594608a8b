"""The API contract: our policies and NodeRestriction, and their twins in the model."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import pytest
from tests.contract.api_bodies import lease, node, operation, pod, vml, vmm
from tests.contract.api_rig import following

from drover.api.names import NODE_LEASE_NAMESPACE, VM_NAME_LABEL
from drover.api.scheme import LEASE, NODE, POD, REBALANCEPLAN, ROLEBINDING, VML, VMM, VMOP
from drover.api.status import ApiError, Forbidden, Invalid, NotFound
from drover.controllers import access

if TYPE_CHECKING:
    from tests.contract.api_rig import Rig

    from drover.api.wire import Object
    from drover.runtime.client import Client

pytestmark = pytest.mark.timeout(240)


async def turned(client: Client, old: Object, **spec: object) -> Object:
    """The lease after one change of hands: the epoch is raised, the finalizer follows the holder."""
    new = {**old, "spec": {**old["spec"], "epoch": old["spec"]["epoch"] + 1, **spec}}
    return await client.replace(VML, new)


class TestVmLease:
    async def test_its_whole_life(self, rig: Rig) -> None:
        controllers, one, two = await rig.controllers(), await rig.node("n1"), await rig.node("n2")
        held = await controllers.create(VML, vml(rig, "pod-1", 1))
        there = {"holder": "pod-2", "node": "n2", "nodeIncarnation": "n2-1"}
        handed = await turned(one, held, **there)
        back = await turned(two, handed, holder="pod-1", node="n1", nodeIncarnation="n1-1")
        away = copy.deepcopy(await turned(one, back, **there))
        away["metadata"]["finalizers"] = []
        free = await turned(two, away, holder="", lastReason="GuestShutdown")
        assert free["spec"]["epoch"] == 5
        await controllers.delete(VML, "vm", rig.namespace)
        with pytest.raises(NotFound):
            await controllers.get(VML, "vm", rig.namespace)

    async def test_every_change_raises_the_epoch(self, rig: Rig) -> None:
        controllers = await rig.controllers()
        free = await controllers.create(VML, vml(rig, "", 4))
        with pytest.raises(Invalid):
            await controllers.replace(VML, {**free, "spec": {**free["spec"], "lastReason": "x"}})

    async def test_only_the_controllers_create(self, rig: Rig) -> None:
        for client in (rig.admin, await rig.node("n1")):
            with pytest.raises(Forbidden):
                await client.create(VML, vml(rig, "pod-1", 1))

    async def test_only_the_holders_node_writes(self, rig: Rig) -> None:
        controllers = await rig.controllers()
        held = await controllers.create(VML, vml(rig, "pod-1", 1))
        stranger = await rig.node("n2")
        for client in (stranger, rig.admin, controllers):
            with pytest.raises(Forbidden):
                await turned(client, held, holder="pod-9", node="n2", nodeIncarnation="n2-1")
        own = await rig.node("n1")
        with pytest.raises(Forbidden):
            await turned(own, held, holder="pod-9")  # another Pod of the same node
        with pytest.raises(Forbidden):
            await turned(own, held, nodeIncarnation="n1-2")
        with pytest.raises(Forbidden):
            await turned(own, held, disks=["other"])

    async def test_controllers_break_only_for_a_lost_node(self, rig: Rig) -> None:
        controllers = await rig.controllers()
        held = await controllers.create(VML, vml(rig, "pod-1", 1))
        with pytest.raises(Forbidden):
            await turned(controllers, held, holder="", lastReason="Stopped")
        broken = await turned(controllers, held, holder="", lastReason="NodeLost")
        assert broken["spec"]["holder"] == ""

    async def test_a_held_one_is_deleted_by_nobody(self, rig: Rig) -> None:
        controllers = await rig.controllers()
        await controllers.create(VML, vml(rig, "pod-1", 1))
        for client in (rig.admin, controllers):
            with pytest.raises(Forbidden):
                await client.delete(VML, "vm", rig.namespace)

    async def test_a_held_one_carries_its_finalizer_and_its_place(self, rig: Rig) -> None:
        controllers = await rig.controllers()
        bare = vml(rig, "pod-1", 1)
        bare["metadata"].pop("finalizers")
        with pytest.raises(Invalid):
            await controllers.create(VML, bare)
        with pytest.raises(Invalid):
            await controllers.create(VML, vml(rig, "pod-1", 1, node=""))

    async def test_it_has_no_status(self, rig: Rig) -> None:
        controllers = await rig.controllers()
        free = await controllers.create(VML, vml(rig, "", 4))
        with pytest.raises((NotFound, ApiError)):
            await controllers.replace(VML, free, "status")


class TestMigration:
    async def test_each_party_writes_its_own_part(self, rig: Rig) -> None:
        controllers, source, target = (
            await rig.controllers(), await rig.node("n1"), await rig.node("n2"),
        )  # fmt: skip
        await controllers.create(VMM, vmm(rig))

        async def write(client: Client, **status: object) -> None:
            patch: Object = {"status": status}
            await client.patch(VMM, "move", rig.namespace, patch, subresource="status")

        with pytest.raises(Forbidden):
            await write(target, target={"phase": "Preparing"})  # not yet named
        await write(controllers, phase="Preparing", targetNode="n2")
        await write(target, target={"phase": "Preparing"})
        await write(source, source={"phase": "Copying"})
        for client, status in (
            (target, {"source": {"phase": "x"}}),
            (source, {"target": {"phase": "Failed"}}),
            (source, {"phase": "Succeeded"}),
            (rig.admin, {"phase": "Succeeded"}),
        ):
            with pytest.raises(Forbidden):
                await write(client, **status)
        with pytest.raises(Forbidden):
            await rig.admin.delete(VMM, "move", rig.namespace)

    async def test_its_spec_is_fixed(self, rig: Rig) -> None:
        controllers = await rig.controllers()
        await controllers.create(VMM, vmm(rig))
        patch = {"spec": {"sourceNode": "n2"}}
        with pytest.raises(Invalid):
            await controllers.patch(VMM, "move", rig.namespace, patch)


class TestOthers:
    async def test_status_is_drovers_spec_is_the_users(self, rig: Rig) -> None:
        controllers = await rig.controllers()
        await rig.admin.create(VMOP, operation(rig))
        patch: Object = {"status": {"phase": "Failed"}}
        with pytest.raises(Forbidden):
            await rig.admin.patch(VMOP, "one", rig.namespace, patch, subresource="status")
        await controllers.patch(VMOP, "one", rig.namespace, patch, subresource="status")
        with pytest.raises((Forbidden, Invalid)):
            await controllers.patch(VMOP, "one", rig.namespace, {"spec": {"force": True}})

    async def test_only_the_controllers_make_vm_pods(self, rig: Rig) -> None:
        controllers = await rig.controllers()
        body = pod(rig, "d8v-vm-x", priorityClassName="drover-vm")
        body["metadata"]["labels"] = {VM_NAME_LABEL: "x"}
        with pytest.raises(Forbidden):
            await rig.admin.create(POD, body)
        preempting = pod(rig, "d8v-vm-x")
        with pytest.raises(Invalid):
            await controllers.create(POD, preempting)
        await controllers.create(POD, body)
        scheduler = await rig.client("system:kube-scheduler")
        with pytest.raises(Forbidden):
            await scheduler.delete(POD, "d8v-vm-x", rig.namespace)
        patch: Object = {"metadata": {"labels": {VM_NAME_LABEL: "y"}}}
        with pytest.raises(Forbidden):
            await rig.admin.patch(POD, "d8v-vm-x", rig.namespace, patch)

    async def test_a_plan_is_the_controllers_and_its_yes_a_persons(self, rig: Rig) -> None:
        controllers, name = await rig.controllers(), f"plan-{rig.namespace}"
        spec = {"number": 1, "mode": "Approve", "hash": "a", "movesTotal": 0}
        body: Object = {"metadata": {"name": name}, "spec": spec}
        yes: Object = {"spec": {"approved": True}}
        with pytest.raises(Forbidden):
            await rig.admin.create(REBALANCEPLAN, body)
        with pytest.raises(Forbidden):
            await controllers.create(REBALANCEPLAN, {**body, "spec": {**spec, **yes["spec"]}})
        await controllers.create(REBALANCEPLAN, body)
        try:
            for writer, change in (
                (controllers, yes),
                (controllers, {"spec": {"hash": "b"}}),
                (rig.admin, {"spec": {"hash": "b"}}),
            ):
                with pytest.raises(Forbidden):
                    await writer.patch(REBALANCEPLAN, name, "", change)
            await rig.admin.patch(REBALANCEPLAN, name, "", yes)
            with pytest.raises(Invalid):
                await rig.admin.patch(REBALANCEPLAN, name, "", {"spec": {"approved": False}})
            told: Object = {"status": {"phase": "Executing"}}
            with pytest.raises(Forbidden):
                await rig.admin.patch(REBALANCEPLAN, name, "", told, subresource="status")
            await controllers.patch(REBALANCEPLAN, name, "", told, subresource="status")
        finally:
            await rig.admin.delete(REBALANCEPLAN, name)

    async def test_a_schema_prunes_defaults_and_refuses(self, rig: Rig) -> None:
        body = operation(rig)
        body["spec"]["nonsense"] = 1
        made = await rig.admin.create(VMOP, body)
        assert "nonsense" not in made["spec"]
        for spec in ({"type": "Evict"}, {"type": "Fly", "virtualMachineName": "x"}):
            with pytest.raises(Invalid):
                await rig.admin.create(VMOP, {**operation(rig, "two"), "spec": spec})


class TestNode:
    async def test_its_node_and_its_lease(self, rig: Rig) -> None:
        name = f"node-{rig.namespace}"
        agent = await rig.node(name)
        try:
            made = await agent.create(NODE, node(name))
            assert made["status"]["allocatable"]["cpu"] == "2"
            assert "node.kubernetes.io/not-ready" in {one["key"] for one in made["spec"]["taints"]}
            patch: Object = {"status": {"conditions": [{"type": "Ready", "status": "True"}]}}
            await agent.patch(NODE, name, "", patch, subresource="status")
            body = lease(rig, name)
            body["metadata"]["namespace"] = NODE_LEASE_NAMESPACE
            await agent.create(LEASE, body)
            with pytest.raises(Forbidden):
                await agent.create(LEASE, lease(rig, name))
            other = lease(rig, "other")
            other["metadata"]["namespace"] = NODE_LEASE_NAMESPACE
            with pytest.raises(Forbidden):
                await agent.create(LEASE, other)
            with pytest.raises(Forbidden):
                await agent.delete(NODE, name)
        finally:
            await rig.admin.delete(NODE, name)
            await rig.admin.delete(LEASE, name, NODE_LEASE_NAMESPACE)

    async def test_its_pods(self, rig: Rig) -> None:
        name = f"node-{rig.namespace}"
        agent = await rig.node(name)
        await rig.admin.create(POD, pod(rig, "own", nodeName=name))
        await rig.admin.create(POD, pod(rig, "foreign", nodeName="elsewhere"))
        with pytest.raises(Forbidden):
            await agent.list(POD)
        found, version = await agent.list(POD, fields=f"spec.nodeName={name}")
        assert [one["metadata"]["name"] for one in found] == ["own"]
        # In a namespace with VMs; the model lets a node look anywhere.
        await rig.admin.create(ROLEBINDING, access.wanted(rig.namespace))
        for tries in range(100):
            try:
                await agent.get(POD, "foreign", rig.namespace)
                break
            except Forbidden:
                assert tries < 99  # an authorizer learns of a binding a moment later
        running: Object = {"status": {"phase": "Running"}}
        selected = following(agent, POD, version, "", fields=f"spec.nodeName={name}")
        async with selected as follower:
            await agent.patch(POD, "own", rig.namespace, running, subresource="status")
            await follower.until(1)
        with pytest.raises(Forbidden):
            await agent.patch(POD, "foreign", rig.namespace, running, subresource="status")
        with pytest.raises(Forbidden):
            await agent.patch(POD, "own", rig.namespace, {"metadata": {"labels": {"a": "b"}}})
        with pytest.raises(Forbidden):
            await agent.create(POD, pod(rig, "new", nodeName=name))
        with pytest.raises(Forbidden):
            await agent.delete(POD, "foreign", rig.namespace, grace_s=0)
        await agent.delete(POD, "own", rig.namespace, grace_s=0)
