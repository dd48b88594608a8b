"""A cluster without room, on the real engine: who comes waits and says why, and nothing that runs dies for it.

One node of our own, full with two VMs; kube-scheduler places. A VM of high priority waits, in kube-scheduler's words;
so does a Pod that may preempt, since the Pods of VMs are not preempted (safety rule 13).
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from tests.controllers.test_on_engine import MODEL, NS, Hands, hands, vm_spec
from tests.support.engine import Engine

from drover.api import names
from drover.api.scheme import LEASE, NODE, POD, PRIORITYCLASS, VDISK, VM, VMCLASS, VML
from drover.api.wire import Object
from drover.base.clock import RealClock, rfc3339, rfc3339_micro
from drover.base.tasks import TaskScope
from drover.runtime.client import Client

pytestmark = [pytest.mark.engine, pytest.mark.timeout(180)]

RUN = secrets.token_hex(2)
NODE_NAME = f"full-{RUN}"
VM_CLASS, HIGH, RUDE = f"full-{RUN}", f"high-{RUN}", f"rude-{RUN}"
RENEWAL_S = 1.5

__all__ = ["hands"]  # the fixture


@pytest_asyncio.fixture
async def node(engine: Engine, hands: Hands) -> AsyncIterator[Client]:
    """A node with two cores, kept ready by its own identity."""
    transport = await engine.access(
        names.NODE_USER_PREFIX + NODE_NAME, (names.NODES_GROUP,)
    ).transport(RealClock())
    client, clock = Client(transport), RealClock()
    labels = {"kubernetes.io/hostname": NODE_NAME}
    taint = {"key": names.VM_NODE_TAINT, "effect": "NoSchedule"}
    await hands.admin.create(
        NODE, {"metadata": {"name": NODE_NAME, "labels": labels}, "spec": {"taints": [taint]}}
    )
    room = {"cpu": "2", "memory": "8Gi", "pods": "10"}
    ready = {
        "type": "Ready",
        "status": "True",
        "reason": "KubeletReady",
        "lastHeartbeatTime": rfc3339(clock.wall()),
        "lastTransitionTime": rfc3339(clock.wall()),
    }
    status = {"allocatable": room, "capacity": room, "conditions": [ready]}
    await hands.admin.patch(NODE, NODE_NAME, "", {"status": status}, subresource="status")
    notes = {names.INCARNATION_ANNOTATION: "life", names.MACHINES_ANNOTATION: "[]"}
    place = {"name": NODE_NAME, "namespace": names.NODE_LEASE_NAMESPACE}

    def life() -> Object:
        return {"holderIdentity": NODE_NAME, "renewTime": rfc3339_micro(clock.wall())}

    await client.create(LEASE, {"metadata": {**place, "annotations": notes}, "spec": life()})

    async def renew() -> None:
        while True:
            await clock.sleep(RENEWAL_S)
            await client.patch(LEASE, place["name"], place["namespace"], {"spec": life()})

    async with TaskScope("node") as scope:
        scope.guard(renew(), "renew")
        yield client
        assert scope.failure is None, scope.failure
    await hands.admin.delete(NODE, NODE_NAME)
    await transport.aclose()


async def run(hands: Hands, node: Client, name: str) -> Object:
    """A VM that kube-scheduler placed and its node runs."""
    await start(hands, name)
    pod = await hands.pod_of(name)
    meta = pod["metadata"]
    bound = await hands.until(POD, meta["name"], lambda pod: bool(pod["spec"].get("nodeName")))
    assert bound["spec"]["nodeName"] == NODE_NAME
    await hands.until(VML, name, lambda lease: bool(lease["spec"]["holder"] == meta["uid"]))
    running = {"status": {"phase": "Running"}}
    await hands.retry(lambda: node.patch(POD, meta["name"], NS, running, subresource="status"))
    await hands.phase(VM, name, "Running")
    return bound


async def start(hands: Hands, name: str, **more: object) -> None:
    await hands.create(VDISK, name, {"persistentVolumeClaim": {"size": "8Mi"}})
    spec = vm_spec(name, VM_CLASS, **more)
    await hands.create(VM, name, {**spec, "cpu": {"cores": 1}, "runPolicy": "AlwaysOn"})


async def priority(hands: Hands, name: str, preemption: str) -> None:
    body = {"metadata": {"name": name}, "value": 900_000, "preemptionPolicy": preemption}
    await hands.admin.create(PRIORITYCLASS, body)


async def test_nothing_that_runs_dies_for_what_comes(
    engine: Engine, hands: Hands, node: Client
) -> None:
    await hands.create(
        VMCLASS,
        VM_CLASS,
        {**MODEL, "nodeSelector": {"matchLabels": {"kubernetes.io/hostname": NODE_NAME}}},
    )
    await hands.phase(VMCLASS, VM_CLASS, "Ready")
    here = [await run(hands, node, f"here-{number}-{RUN}") for number in range(2)]

    await priority(hands, HIGH, "Never")
    await start(hands, f"high-{RUN}", priorityClassName=HIGH)

    def refused(vm: Object) -> bool:
        said = [c.get("message", "") for c in (vm.get("status") or {}).get("conditions") or ()]
        return any(
            text.startswith("Could not schedule the virtual machine: Unschedulable: 0/")
            and "1 Insufficient cpu" in text
            for text in said
        )

    await hands.until(VM, f"high-{RUN}", refused)
    await hands.phase(VM, f"high-{RUN}", "Pending")

    await priority(hands, RUDE, "PreemptLowerPriority")
    container = {"name": "c", "image": "none", "resources": {"requests": {"cpu": "1"}}}
    await hands.admin.create(
        POD,
        {
            "metadata": {"name": RUDE, "namespace": NS},
            "spec": {
                "priorityClassName": RUDE,
                "nodeSelector": {"kubernetes.io/hostname": NODE_NAME},
                "tolerations": [{"operator": "Exists"}],
                "containers": [container],
            },
        },
    )
    for _ in range(600):  # until it has tried
        if "is not preempted" in (engine.directory / "scheduler.log").read_text(errors="replace"):
            break
        await asyncio.sleep(0.1)
    else:
        raise AssertionError("kube-scheduler did not try to preempt")
    for pod in here:
        now = await hands.get(POD, pod["metadata"]["name"])
        assert now["metadata"]["uid"] == pod["metadata"]["uid"]
        assert "deletionTimestamp" not in now["metadata"]
        assert now["status"]["phase"] == "Running"
    waiting = await hands.get(POD, RUDE)
    assert not waiting["spec"].get("nodeName")
    await hands.admin.delete(POD, RUDE, NS, grace_s=0)
    for name in (f"here-0-{RUN}", f"here-1-{RUN}"):
        assert (await hands.get(VM, name))["status"]["phase"] == "Running"
