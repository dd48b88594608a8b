"""bench/evict: our live migration against a bare QMP script, interleaved, between the same two nodes.

Ours: from the creation of the VirtualMachineOperation until it is Completed, as a client sees both. Downtime is QEMU's
own word in both cases; the longest ping gap is what a peer of the guest notices, with the hand-over of the lease in it.
What a move costs beside the copy does not grow with the guest: ``--written`` shows from which size on it hardly counts.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import shutil
import statistics
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

from bench import common
from bench.bare import SMALL, BareGuest, BareNode, Size
from drover.api import scheme
from drover.api.kinds import vm as vms
from drover.api.kinds import vmm as vmms
from drover.api.kinds import vmop as vmops
from drover.api.wire import Object
from drover.base.clock import RealClock
from drover.cli import demo_ping
from drover.cli.operations import migration_name
from drover.lab import processes
from drover.lab.home import Home
from drover.runtime.client import Client
from drover.runtime.kubeconfig import load

NAMESPACE = "default"
VM = "bench-vm"
NODES = ("virtlab-pt-1", "virtlab-pt-2")
STEADY_S = 0.7
BOOT_LIMIT_S = 180.0
MOVE_LIMIT_S = 120


@dataclass
class Samples:
    """One side."""

    total_ms: list[float] = field(default_factory=list)
    downtime_ms: list[float] = field(default_factory=list)
    gap_ms: list[float] = field(default_factory=list)

    def add(self, total_s: float, downtime_ms: float, ping: common.Ping) -> None:
        self.total_ms.append(1000 * total_s)
        self.downtime_ms.append(downtime_ms)
        self.gap_ms.append(demo_ping.report(ping.lines).longest_gap_ms)

    def last(self) -> str:
        return f"{self.total_ms[-1]:7.0f} / {self.downtime_ms[-1]:4.0f} / {self.gap_ms[-1]:5.0f}"


class Ours:
    """The VM that drover moves."""

    def __init__(self, client: Client, size: Size = SMALL) -> None:
        self._client = client
        self._size = size
        self.node = ""
        self.address = ""

    async def boot(self) -> None:
        for kind, obj in ((scheme.VDISK, _disk()), (scheme.VM, _vm(self._size))):
            await self._client.create(kind, obj)
        end = time.monotonic() + BOOT_LIMIT_S
        while time.monotonic() < end:
            vm = await self._client.get(scheme.VM, VM, NAMESPACE)
            if vms.phase(vm) == vms.VmPhase.RUNNING and vms.ip_address(vm):
                self.node, self.address = vms.node_name(vm), vms.ip_address(vm)
                return
            await asyncio.sleep(0.2)
        raise SystemExit(f"{VM} does not run")

    async def move(self, target: str) -> tuple[float, float]:
        """(seconds in all, QEMU's downtime in ms)."""
        _, version = await self._client.list(scheme.VMOP, NAMESPACE)
        watch = self._client.watch(scheme.VMOP, version, MOVE_LIMIT_S, namespace=NAMESPACE)
        async with watch as events:
            began = time.monotonic()
            made = await self._client.create(scheme.VMOP, _operation(target))
            name = made["metadata"]["name"]
            async for event in events:
                vmop = event["object"]
                if vmop["metadata"].get("name") == name and vmops.finished(vmop):
                    break
            took = time.monotonic() - began
        vmm = await self._client.get(scheme.VMM, migration_name(name), NAMESPACE)
        if vmms.phase(vmm) != "Succeeded":
            raise SystemExit(f"the move failed: {vmms.status(vmm)}")
        self.node = target
        return took, float(vmms.source_report(vmm)["downtimeMs"])

    async def remove(self) -> None:
        for kind in (scheme.VM, scheme.VDISK):
            await self._client.delete(kind, VM, NAMESPACE)


def _meta() -> Object:
    return {"name": VM, "namespace": NAMESPACE}


def _disk() -> Object:
    image = {"kind": "ClusterVirtualImage", "name": "drover-linux"}
    return {"metadata": _meta(), "spec": {"dataSource": {"type": "ObjectRef", "objectRef": image}}}


def _vm(size: Size) -> Object:
    return {
        "metadata": _meta(),
        "spec": {
            "runPolicy": "AlwaysOn",
            "virtualMachineClassName": "generic",
            "cpu": {"cores": 1, "coreFraction": "50%"},
            "memory": {"size": f"{size.memory_mib}Mi"},
            "provisioning": {"type": "UserData", "userData": f"#!/bin/sh\n{size.script}"},
            "blockDeviceRefs": [{"kind": "VirtualDisk", "name": VM}],
        },
    }


def _operation(target: str) -> Object:
    selector = {"kubernetes.io/hostname": target}
    return {
        "metadata": {"generateName": f"{VM}-", "namespace": NAMESPACE},
        "spec": {
            "type": "Migrate", "virtualMachineName": VM, "migrate": {"nodeSelector": selector},
        },
    }  # fmt: skip


def bare_nodes(home: Home) -> dict[str, BareNode]:
    settings = home.settings()
    assert settings is not None
    inits = processes.inits(home.lab_id)
    return {
        name: BareNode(
            name,
            settings.topology.node_address(number),
            inits[name],
            home.node(name) / "pki" / "migration",
        )
        for number, name in enumerate(settings.node_names, start=1)
        if name in NODES
    }


async def measure(home: Home, moves: int, size: Size, directory: Path) -> tuple[Samples, Samples]:
    """Interleaved: one of ours, one bare, and again."""
    transport = await load(home.kubeconfig).transport(RealClock())
    ours, nodes = Ours(Client(transport), size), bare_nodes(home)
    disk = directory / "disk.qcow2"
    shutil.copy(Path(os.environ["DROVER_IMAGE"]) / "drover-linux.qcow2", disk)
    settings = home.settings()
    assert settings is not None
    network = settings.topology.vm_gateway.rsplit(".", 1)[0]
    qemu = os.environ.get("DROVER_QEMU") or "qemu-system-x86_64"
    bare = BareGuest(directory, qemu, disk, f"{network}.252", settings.topology.vm_gateway, size)
    for node in nodes.values():
        node.add_tap()
    try:
        await ours.boot()
        await bare.boot(nodes[NODES[0]])
        # Twice: a guest may answer just before it begins to write.
        for address in (ours.address, bare.address) * 2:
            if not common.answers(address, BOOT_LIMIT_S):
                raise SystemExit(f"the guest at {address} does not answer")
        if ours.node != NODES[0]:
            await ours.move(NODES[0])
        return await _rounds(ours, bare, nodes, moves)
    finally:
        await bare.end()
        for node in nodes.values():
            node.remove_tap()
        await ours.remove()
        await transport.aclose()


async def _rounds(
    ours: Ours, bare: BareGuest, nodes: dict[str, BareNode], moves: int
) -> tuple[Samples, Samples]:
    mine, other = Samples(), Samples()
    print("move    ours: total / downtime / ping gap (ms)    bare", flush=True)
    for number in range(moves):
        source, target = NODES[number % 2], NODES[1 - number % 2]
        with common.Ping(ours.address) as ping:
            await asyncio.sleep(STEADY_S)
            figures = await ours.move(target)
            await asyncio.sleep(STEADY_S)
        mine.add(*figures, ping)
        with common.Ping(bare.address) as ping:
            await asyncio.sleep(STEADY_S)
            figures = await bare.move(nodes[source], nodes[target])
            await asyncio.sleep(STEADY_S)
        other.add(*figures, ping)
        print(f"{number + 1:4}    {mine.last()}                {other.last()}", flush=True)
    return mine, other


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-n", "--moves", type=int, default=20, help="of each; default 20")
    parser.add_argument("--home", default="", help="a lab that runs; else one of its own")
    parser.add_argument("--memory", type=int, default=192, help="of a guest, MiB; default 192")
    parser.add_argument("--written", type=int, default=0, help="MiB of noise in it; default 0")
    given = parser.parse_args()
    size = Size(given.memory, given.written)
    before = common.load()
    with common.lab_at(given.home) as home:
        directory = Path(tempfile.mkdtemp(prefix="drover-bare-"))
        try:
            mine, other = asyncio.run(measure(home, given.moves, size, directory))
        finally:
            shutil.rmtree(directory, ignore_errors=True)
    figures = [
        common.Figure("operation to Completed", "ms", mine.total_ms, other.total_ms, "<= 1.15x"),
        common.Figure("downtime (QEMU)", "ms", mine.downtime_ms, other.downtime_ms, "<= +8 ms"),
        common.Figure("longest ping gap", "ms", mine.gap_ms, other.gap_ms, "<= +8 ms"),
    ]
    common.show(f"bench/evict: {given.moves} moves each of {size}, medians", figures, before)
    slowest = statistics.quantiles(mine.total_ms, n=10)[-1] if given.moves > 1 else 0.0
    print(f"ours, 9 of 10 moves ended within {slowest:.0f} ms")


if __name__ == "__main__":
    main()
