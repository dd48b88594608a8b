"""All controllers against a real control plane: its schemas, policies and rights hold them too.

The test plays scheduler and agent; disks and images are real files.
"""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio
from tests.support.engine import connections_closed

from drover.api import names
from drover.api.scheme import CVIMAGE, LEASE, NODE, POD, VDISK, VM, VMCLASS, VMIP, VML, Kind
from drover.api.status import AlreadyExists, ApiError, NotFound
from drover.api.wire import Object
from drover.base.clock import RealClock, rfc3339_micro
from drover.base.ids import RealIds
from drover.base.log import Log
from drover.base.tasks import TaskScope
from drover.controllers.config import ControllersConfig
from drover.controllers.main import wire_all
from drover.runtime.client import Client
from drover.runtime.manager import Manager

if TYPE_CHECKING:
    from tests.support.engine import Engine

pytestmark = [pytest.mark.engine, pytest.mark.timeout(120)]

NS = "default"
RUN = secrets.token_hex(2)
NODE_NAME = f"ctl-{RUN}"
MODEL = {"cpu": {"type": "Model", "model": "Nehalem"}}
NETWORK = {
    "vm_cidr": "10.99.0.0/24",
    "vm_first": "10.99.0.10",
    "vm_last": "10.99.0.250",
    "vm_gateway": "10.99.0.254",
}


@dataclass
class Hands:
    """Who acts in the story. ``until`` looks again until the wish holds, at most ten seconds."""

    admin: Client
    node: Client
    directory: Path
    manager: Manager

    async def create(self, kind: Kind, name: str, spec: Any) -> Object:
        namespaced = {"namespace": NS} if kind.namespaced else {}
        return await self.admin.create(
            kind, {"metadata": {"name": name, **namespaced}, "spec": spec}
        )

    async def get(self, kind: Kind, name: str) -> Object:
        return await self.admin.get(kind, name, NS if kind.namespaced else "")

    async def until(self, kind: Kind, name: str, wish: Callable[[Object], bool]) -> Object:
        found: Object = {}
        try:
            async with asyncio.timeout(20):
                while True:
                    try:
                        found = await self.get(kind, name)
                        if wish(found):
                            return found
                    except NotFound:
                        pass
                    await asyncio.sleep(0.05)
        except TimeoutError:
            raise AssertionError(f"{kind.kind} {name}: {json.dumps(found, indent=1)}") from None

    async def phase(self, kind: Kind, name: str, phase: str) -> Object:
        return await self.until(kind, name, lambda obj: obj.get("status", {}).get("phase") == phase)

    async def gone(self, kind: Kind, name: str) -> None:
        async with asyncio.timeout(20):
            while True:
                try:
                    await self.get(kind, name)
                except NotFound:
                    return
                await asyncio.sleep(0.05)

    async def retry(self, write: Callable[[], Awaitable[Any]]) -> None:
        """The node authorizer learns of a binding a moment later."""
        for _ in range(100):
            try:
                await write()
            except ApiError:
                await asyncio.sleep(0.05)
            else:
                return
        await write()

    async def pod_of(self, vm: str) -> Object:
        for _ in range(200):
            found, _ = await self.admin.list(POD, NS, labels=f"{names.VM_NAME_LABEL}={vm}")
            alive = [p for p in found if p["status"].get("phase") == "Pending"]
            if alive:
                return alive[0]
            await asyncio.sleep(0.05)
        raise AssertionError(f"no Pod of {vm}")

    async def boot(self, vm: str) -> Object:
        pod = await self.pod_of(vm)
        name, uid = pod["metadata"]["name"], pod["metadata"]["uid"]
        binding = {"metadata": {"name": name}, "target": {"kind": "Node", "name": NODE_NAME}}
        await self.admin.post(POD.path(NS, name, "binding"), binding)
        await self.until(VML, vm, lambda lease: bool(lease["spec"]["holder"] == uid))
        patch = {"status": {"phase": "Running"}}
        await self.retry(lambda: self.node.patch(POD, name, NS, patch, subresource="status"))
        await self.phase(VM, vm, "Running")
        return pod

    async def release(self, vm: str, pod: Object, reason: str) -> None:
        lease = await self.node.get(VML, vm, NS)
        meta = {**lease["metadata"], "finalizers": []}
        spec = {
            **lease["spec"],
            "holder": "",
            "epoch": lease["spec"]["epoch"] + 1,
            "lastReason": reason,
        }
        await self.node.replace(VML, {**lease, "metadata": meta, "spec": spec})
        patch = {"status": {"phase": "Succeeded"}}
        await self.node.patch(POD, pod["metadata"]["name"], NS, patch, subresource="status")


@pytest_asyncio.fixture
async def hands(engine: Engine, tmp_path: Path) -> AsyncIterator[Hands]:
    for name in ("disks", "images"):
        (tmp_path / name).mkdir()
    (tmp_path / "linux.raw").write_bytes(b"\0" * 510 + b"\x55\xaa" + b"\0" * (2**20 - 512))
    config = ControllersConfig(
        api_server=engine.server, ca_file="", client_cert_file="", client_key_file="",
        disks_dir=str(tmp_path / "disks"), images_dir=str(tmp_path / "images"), webhook_address="", **NETWORK,
    )  # fmt: skip
    clock = RealClock()
    async with AsyncExitStack() as stack:
        stack.push_async_callback(connections_closed)
        clients = {}
        for who, groups in (
            ("drover-admin", ("system:masters",)),
            (names.CONTROLLERS_USER, (names.CONTROLLERS_USER,)),
            (names.NODE_USER_PREFIX + NODE_NAME, (names.NODES_GROUP,)),
        ):
            transport = await engine.access(who, groups).transport(clock)
            stack.push_async_callback(transport.aclose)
            clients[who] = Client(transport)
        manager = Manager(clients[names.CONTROLLERS_USER], clock, RealIds(), Log(clock))
        wire_all(manager, config, engine.server, None)
        scope = await stack.enter_async_context(TaskScope("controllers"))
        scope.guard(manager.run(), "manager")
        made = Hands(
            clients["drover-admin"], clients[names.NODE_USER_PREFIX + NODE_NAME], tmp_path, manager
        )
        await join(made, clock)
        yield made
        assert scope.failure is None, scope.failure


async def join(hands: Hands, clock: RealClock) -> None:
    taints = [{"key": names.VM_NODE_TAINT, "effect": "NoSchedule"}]
    with suppress(AlreadyExists):
        await hands.create(NODE, NODE_NAME, {"taints": taints})
    notes = {names.INCARNATION_ANNOTATION: "life", names.MACHINES_ANNOTATION: "[]"}
    meta = {"name": NODE_NAME, "namespace": names.NODE_LEASE_NAMESPACE, "annotations": notes}
    spec = {
        "holderIdentity": NODE_NAME,
        "leaseDurationSeconds": 40,
        "renewTime": rfc3339_micro(clock.wall()),
    }
    with suppress(AlreadyExists):
        await hands.node.create(LEASE, {"metadata": meta, "spec": spec})


def vm_spec(disk: str, vmclass: str, **more: Any) -> Object:
    return {
        "cpu": {"cores": 1, "coreFraction": "10%"},
        "memory": {"size": "64Mi"},
        "virtualMachineClassName": vmclass,
        "blockDeviceRefs": [{"kind": "VirtualDisk", "name": disk}],
        **more,
    }


async def test_image_disk_vm_and_back(hands: Hands) -> None:
    image, disk, vm = f"linux-{RUN}", f"root-{RUN}", f"vm-{RUN}"
    vmclass = f"own-{RUN}"
    await hands.create(VMCLASS, vmclass, MODEL)
    await hands.phase(VMCLASS, vmclass, "Ready")
    url = f"file://{hands.directory}/linux.raw"
    await hands.create(CVIMAGE, image, {"dataSource": {"type": "HTTP", "http": {"url": url}}})
    await hands.create(
        CVIMAGE, f"bad-{RUN}", {"dataSource": {"type": "HTTP", "http": {"url": f"{url}-not"}}}
    )
    reference = {"kind": "ClusterVirtualImage", "name": image}
    source = {"type": "ObjectRef", "objectRef": reference}
    await hands.create(
        VDISK, disk, {"dataSource": source, "persistentVolumeClaim": {"size": "8Mi"}}
    )
    data = {"type": "UserData", "userData": "#!/bin/sh\ntrue"}
    await hands.create(VM, vm, vm_spec(disk, vmclass, provisioning=data, runPolicy="AlwaysOn"))

    found = await hands.phase(VDISK, disk, "Ready")
    assert (hands.directory / "disks" / found["status"]["target"]["path"]).exists()
    failed = await hands.phase(CVIMAGE, f"bad-{RUN}", "Failed")
    assert "No such file" in json.dumps(failed["status"]["conditions"])

    first = await hands.boot(vm)
    status = (await hands.get(VM, vm))["status"]
    assert status["ipAddress"].startswith("10.99.0.")
    assert status["power"]["wanted"] is True
    held = (await hands.get(VDISK, disk))["status"]["heldBy"]
    assert held["name"] == vm
    assert held["epoch"] == 1

    await hands.admin.delete(VDISK, disk, NS)
    await hands.admin.delete(VMCLASS, vmclass)
    await hands.until(VDISK, disk, lambda obj: "uses this disk" in json.dumps(obj["status"]))
    await hands.until(VMCLASS, vmclass, lambda obj: vm in json.dumps(obj["status"]))
    assert (hands.directory / "disks" / found["status"]["target"]["path"]).exists()

    restart = {"drover.dev/restart-requested": "op;2026-01-01T00:00:00Z"}
    await hands.manager.client.patch(VM, vm, NS, {"metadata": {"annotations": restart}})
    name = first["metadata"]["name"]
    await hands.until(
        POD, name, lambda pod: names.STOP_ANNOTATION in pod["metadata"]["annotations"]
    )
    await hands.admin.delete(VM, vm, NS)
    await hands.phase(VM, vm, "Terminating")
    await hands.release(vm, first, "Stopped")
    for kind, gone in ((VM, vm), (VML, vm), (VDISK, disk), (VMIP, vm), (VMCLASS, vmclass)):
        await hands.gone(kind, gone)
    # Other tests' disks on the shared control plane are made here too; ours is gone.
    assert not (hands.directory / "disks" / found["status"]["target"]["path"]).exists()


async def test_what_cannot_start_says_why(hands: Hands) -> None:
    disk = f"blank-{RUN}"
    await hands.create(VDISK, disk, {"persistentVolumeClaim": {"size": "8Mi"}})
    await hands.create(VM, f"lost-{RUN}", vm_spec("nowhere", "unknown"))
    await hands.create(VMCLASS, f"plain-{RUN}", MODEL)
    preempting = vm_spec(disk, f"plain-{RUN}", priorityClassName="system-cluster-critical")
    await hands.create(VM, f"rude-{RUN}", preempting)

    def says(*words: str) -> Callable[[Object], bool]:
        return lambda vm: all(word in json.dumps(vm.get("status", {})) for word in words)

    await hands.until(
        VM,
        f"lost-{RUN}",
        says(
            'VirtualDisk \\"nowhere\\" does not exist',
            'VirtualMachineClass \\"unknown\\" does not exist',
        ),
    )
    found = await hands.until(
        VM, f"rude-{RUN}", says("Could not create the Pod", "preemptionPolicy")
    )
    assert found["status"]["phase"] == "Pending"
    for name in (f"lost-{RUN}", f"rude-{RUN}"):
        await hands.admin.delete(VM, name, NS)
        await hands.gone(VM, name)
