"""The API contract: Pods, their binding, deletion and eviction; what the background does."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.contract.api_bodies import config_map, node, operation, pod, toleration
from tests.contract.api_rig import eventually

from drover.api.scheme import CONFIGMAP, NODE, POD, VMOP
from drover.api.status import Conflict, Forbidden, Invalid, NotFound

if TYPE_CHECKING:
    from tests.contract.api_rig import Rig

pytestmark = pytest.mark.timeout(240)


async def bind(rig: Rig, name: str, node_name: str) -> None:
    body = {
        "apiVersion": "v1",
        "kind": "Binding",
        "metadata": {"name": name, "namespace": rig.namespace},
        "target": {"apiVersion": "v1", "kind": "Node", "name": node_name},
    }
    await rig.admin.post(POD.path(rig.namespace, name, "binding"), body)


async def evict(rig: Rig, name: str, **options: object) -> None:
    body = {
        "apiVersion": "policy/v1",
        "kind": "Eviction",
        "metadata": {"name": name, "namespace": rig.namespace},
        "deleteOptions": options,
    }
    await rig.admin.post(POD.path(rig.namespace, name, "eviction"), body)


class TestPod:
    async def test_defaults(self, rig: Rig) -> None:
        made = await rig.admin.create(POD, pod(rig))
        spec = made["spec"]
        assert made["status"]["phase"] == "Pending"
        assert spec["terminationGracePeriodSeconds"] == 30
        assert spec["restartPolicy"] == "Always"
        assert spec["schedulerName"] == "default-scheduler"
        patience = {one["key"]: one["tolerationSeconds"] for one in spec["tolerations"]}
        assert set(patience.values()) == {300}
        assert len(patience) == 2

    async def test_a_priority_class_gives_priority_and_preemption(self, rig: Rig) -> None:
        made = await rig.admin.create(POD, pod(rig, priorityClassName="drover-vm"))
        assert made["spec"]["preemptionPolicy"] == "Never"
        assert made["spec"]["priority"] == 1000
        with pytest.raises(Forbidden):
            await rig.admin.create(POD, pod(rig, "other", priorityClassName="none"))

    async def test_the_spec_is_fixed_but_for_added_tolerations(self, rig: Rig) -> None:
        made = await rig.admin.create(POD, pod(rig))
        with pytest.raises(Invalid):
            await rig.admin.patch(POD, "pod", rig.namespace, {"spec": {"nodeSelector": {"a": "b"}}})
        more = [*made["spec"]["tolerations"], toleration("x")]
        after = await rig.admin.patch(POD, "pod", rig.namespace, {"spec": {"tolerations": more}})
        assert toleration("x") in after["spec"]["tolerations"]

    async def test_it_is_bound_once(self, rig: Rig) -> None:
        """Of a scheduler that is not there: the real one might say meanwhile that it fits nowhere."""
        await rig.admin.create(POD, pod(rig, schedulerName="by-hand"))
        await bind(rig, "pod", "node-a")
        after = await rig.admin.get(POD, "pod", rig.namespace)
        assert after["spec"]["nodeName"] == "node-a"
        scheduled = [one for one in after["status"]["conditions"] if one["type"] == "PodScheduled"]
        assert [one["status"] for one in scheduled] == ["True"]
        with pytest.raises(Conflict):
            await bind(rig, "pod", "node-b")
        with pytest.raises(NotFound):
            await bind(rig, "none", "node-b")
        found, _ = await rig.admin.list(POD, rig.namespace, fields="spec.nodeName=node-a")
        assert [one["metadata"]["name"] for one in found] == ["pod"]


class TestPodDeletion:
    async def test_one_without_node_goes_at_once(self, rig: Rig) -> None:
        await rig.admin.create(POD, pod(rig))
        await rig.admin.delete(POD, "pod", rig.namespace)
        with pytest.raises(NotFound):
            await rig.admin.get(POD, "pod", rig.namespace)

    async def test_one_on_a_node_stays_until_its_agent_removes_it(self, rig: Rig) -> None:
        await rig.admin.create(POD, pod(rig, nodeName="node-a", terminationGracePeriodSeconds=90))
        await rig.admin.delete(POD, "pod", rig.namespace)
        marked = await rig.admin.get(POD, "pod", rig.namespace)
        assert marked["metadata"]["deletionTimestamp"]
        assert marked["metadata"]["deletionGracePeriodSeconds"] == 90
        await rig.admin.delete(POD, "pod", rig.namespace, grace_s=60)
        shorter = await rig.admin.get(POD, "pod", rig.namespace)
        assert shorter["metadata"]["deletionGracePeriodSeconds"] == 60
        await rig.admin.delete(POD, "pod", rig.namespace, grace_s=80)
        same = await rig.admin.get(POD, "pod", rig.namespace)
        assert same["metadata"]["deletionGracePeriodSeconds"] == 60
        await rig.admin.delete(POD, "pod", rig.namespace, grace_s=0, uid=same["metadata"]["uid"])
        with pytest.raises(NotFound):
            await rig.admin.get(POD, "pod", rig.namespace)

    async def test_one_that_ended_goes_at_once(self, rig: Rig) -> None:
        await rig.admin.create(POD, pod(rig, nodeName="node-a"))
        patch = {"status": {"phase": "Succeeded"}}
        await rig.admin.patch(POD, "pod", rig.namespace, patch, subresource="status")
        await rig.admin.delete(POD, "pod", rig.namespace)
        with pytest.raises(NotFound):
            await rig.admin.get(POD, "pod", rig.namespace)

    async def test_a_finalizer_holds_even_a_forced_deletion(self, rig: Rig) -> None:
        body = pod(rig, nodeName="node-a")
        body["metadata"]["finalizers"] = ["x.dev/a"]
        await rig.admin.create(POD, body)
        await rig.admin.delete(POD, "pod", rig.namespace, grace_s=0)
        held = await rig.admin.get(POD, "pod", rig.namespace)
        assert held["metadata"]["deletionGracePeriodSeconds"] == 0
        await rig.admin.patch(POD, "pod", rig.namespace, {"metadata": {"finalizers": None}})
        with pytest.raises(NotFound):
            await rig.admin.get(POD, "pod", rig.namespace)

    async def test_an_eviction_is_a_deletion_with_grace(self, rig: Rig) -> None:
        await rig.admin.create(POD, pod(rig, nodeName="node-a"))
        await evict(rig, "pod", dryRun=["All"])
        untouched = await rig.admin.get(POD, "pod", rig.namespace)
        assert "deletionTimestamp" not in untouched["metadata"]
        await evict(rig, "pod")
        marked = await rig.admin.get(POD, "pod", rig.namespace)
        assert marked["metadata"]["deletionGracePeriodSeconds"] == 30
        with pytest.raises(NotFound):
            await evict(rig, "none")


class TestBackground:
    async def test_what_its_owner_left_behind_is_collected(self, rig: Rig) -> None:
        owner = await rig.admin.create(VMOP, operation(rig, "owner"))
        reference = {
            "apiVersion": VMOP.api_version, "kind": VMOP.kind, "name": "owner",
            "uid": owner["metadata"]["uid"], "controller": True,
        }  # fmt: skip
        await rig.admin.create(CONFIGMAP, config_map(rig, "owned", ownerReferences=[reference]))
        stranger = {**reference, "uid": "00000000-0000-4000-8000-000000000000"}
        await rig.admin.create(CONFIGMAP, config_map(rig, "astray", ownerReferences=[stranger]))
        await rig.admin.create(CONFIGMAP, config_map(rig, "free"))

        async def left() -> list[str]:
            found, _ = await rig.admin.list(CONFIGMAP, rig.namespace)
            names = [one["metadata"]["name"] for one in found]
            return [name for name in names if name != "kube-root-ca.crt"]

        async def only(*names: str) -> bool:
            return await left() == list(names)

        await eventually(lambda: only("free", "owned"), "the wrong uid is no owner")
        await rig.admin.delete(VMOP, "owner", rig.namespace)
        await eventually(lambda: only("free"), "the owned one is collected")

    async def test_the_scheduler_binds_what_fits_and_says_why_not(self, rig: Rig) -> None:
        """Other tests leave nodes on the shared control plane, so counts of nodes are not compared."""
        name = f"node-{rig.namespace}"
        await rig.admin.create(NODE, node(name, taint=rig.namespace))
        mine = {"tolerations": [toleration(rig.namespace)]}
        await rig.admin.create(POD, pod(rig, "fits", "1500m", **mine))

        async def placed(pod_name: str) -> str:
            found = await rig.admin.get(POD, pod_name, rig.namespace)
            return str(found["spec"].get("nodeName", ""))

        try:
            assert await eventually(lambda: placed("fits"), "bound") == name
            await rig.admin.create(POD, pod(rig, "big", "1", **mine))
            assert "Insufficient cpu" in await refused(rig, "big")
            await rig.admin.create(POD, pod(rig, "stranger"))
            assert "node(s) had untolerated taint" in await refused(rig, "stranger")
            fussy = pod(rig, "fussy", nodeSelector={"a": "b"}, **mine)
            await rig.admin.create(POD, fussy)
            why = await refused(rig, "fussy")
            assert "node(s) didn't match Pod's node affinity/selector" in why
            term = {
                "labelSelector": {"matchLabels": {"app": "fits"}},
                "topologyKey": "kubernetes.io/hostname",
            }
            apart = {"requiredDuringSchedulingIgnoredDuringExecution": [term]}
            shy = pod(rig, "shy", affinity={"podAntiAffinity": apart}, **mine)
            await rig.admin.create(POD, shy)
            assert "node(s) didn't match pod anti-affinity rules" in await refused(rig, "shy")
            await rig.admin.patch(NODE, name, "", {"spec": {"unschedulable": True}})
            await rig.admin.create(POD, pod(rig, "late", **mine))
            assert "node(s) were unschedulable" in await refused(rig, "late")
            await rig.admin.delete(POD, "fits", rig.namespace, grace_s=0)
            await rig.admin.patch(NODE, name, "", {"spec": {"unschedulable": False}})
            assert await eventually(lambda: placed("big"), "room was made") == name
        finally:
            await rig.admin.delete(NODE, name)


async def refused(rig: Rig, name: str) -> str:
    """The scheduler's message about a Pod that it cannot place."""

    async def message() -> str:
        found = await rig.admin.get(POD, name, rig.namespace)
        conditions = found["status"].get("conditions") or []
        words = [one["message"] for one in conditions if one.get("reason") == "Unschedulable"]
        return words[0] if words else ""

    text = str(await eventually(message, f"{name} is refused"))
    assert text.startswith("0/")
    return text
