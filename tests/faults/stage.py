"""The lab that stories are played in, and a VM for them: booted, with a guest that answers.

A VM whose QEMU was killed is replaced by a new one, since its restarts are held back longer each time.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

from tests.faults.outcome import eventually
from tests.faults.story import NAMESPACE, Story

from drover.api import scheme, status
from drover.base.clock import RealClock
from drover.lab.home import Home
from drover.lab.lab import Lab, UpOptions
from drover.runtime.client import Client
from drover.runtime.kubeconfig import load
from drover.server.parts import find_engine

BOOT_LIMIT_S = 120.0


@contextmanager
def own_lab(home: str = "") -> Iterator[Lab]:
    """A lab that runs already (``home``), or one of our own that is gone afterwards."""
    if home:
        lab = Lab(Home.at(home))
        lab.require_running()
        yield lab
        return
    with tempfile.TemporaryDirectory(prefix="drover-faults-") as directory:
        lab = Lab(Home.at(f"{directory}/lab"))
        image = Path(os.environ["DROVER_IMAGE"]) / "drover-linux.qcow2"
        qemu = os.environ.get("DROVER_QEMU") or "qemu-system-x86_64"
        try:
            lab.up(UpOptions(find_engine(os.environ), 3, image, "tcg", qemu), lambda *_: None)
            yield lab
        finally:
            lab.reset(lambda *_: None)


@asynccontextmanager
async def connected(lab: Lab) -> AsyncIterator[Client]:
    transport = await load(lab.home.kubeconfig).transport(RealClock())
    try:
        yield Client(transport)
    finally:
        await transport.aclose()


async def new_vm(lab: Lab, client: Client, name: str) -> Story:
    """Make a VM and wait until its guest answers."""
    disk = {
        "apiVersion": scheme.VDISK.api_version,
        "kind": scheme.VDISK.kind,
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {
            "dataSource": {
                "type": "ObjectRef",
                "objectRef": {"kind": "ClusterVirtualImage", "name": "drover-linux"},
            }
        },
    }
    vm = {
        "apiVersion": scheme.VM.api_version,
        "kind": scheme.VM.kind,
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {
            "runPolicy": "AlwaysOn",
            "virtualMachineClassName": "generic",
            "cpu": {"cores": 1, "coreFraction": "50%"},
            "memory": {"size": "128Mi"},
            "blockDeviceRefs": [{"kind": "VirtualDisk", "name": name}],
        },
    }
    await client.create(scheme.VDISK, disk)
    await client.create(scheme.VM, vm)
    story = Story(lab, client, name)

    async def running() -> str:
        phase = ((await story.get_vm()).get("status") or {}).get("phase")
        return "" if phase == "Running" else f"{name} is {phase}"

    wrong = await eventually(running, BOOT_LIMIT_S)
    assert not wrong, wrong
    await story.guest.wait_booted(BOOT_LIMIT_S)
    return story


async def drop_vm(client: Client, name: str) -> None:
    """Delete the VM and its disk, without waiting for the end."""
    for kind in (scheme.VM, scheme.VDISK):
        try:
            await client.delete(kind, name, NAMESPACE, propagation="Background")
        except (status.ApiError, status.Unanswered):
            await asyncio.sleep(0)
