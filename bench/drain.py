"""bench/drain: kubectl drain of a node with many small VMs, against the sum of their moves made bare.

Ours: from the command to its return, which is when the last Pod is gone. One slot for moves away from a node is the
default, so the moves come one after another: the yardstick is their number times the median of a bare QMP script that
moves the same guest between the same nodes, while the same other guests run. The second one, the same number of our own
single moves, tells what the drain itself adds to them.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import statistics
import tempfile
import time
from pathlib import Path

from bench import common
from bench.bare import BareGuest
from bench.evict import bare_nodes
from drover.api.names import VM_NAME_LABEL
from drover.lab.home import Home

NODE, OTHERS = "virtlab-pt-2", ("virtlab-pt-1", "virtlab-pt-3")
BOOT_LIMIT_S = 400
QUIET_S = 20.0  # guests that have just booted are busy


def manifest(names: list[str]) -> str:
    """Guests as bench/evict moves them."""
    image = {"kind": "ClusterVirtualImage", "name": "drover-linux"}
    items = []
    for name in names:
        meta = {"name": name, "labels": {"bench": "drain"}}
        disk = {"dataSource": {"type": "ObjectRef", "objectRef": image}}
        vm = {
            "runPolicy": "AlwaysOn",
            "virtualMachineClassName": "generic",
            "cpu": {"cores": 1, "coreFraction": "10%"},
            "memory": {"size": "192Mi"},
            "blockDeviceRefs": [{"kind": "VirtualDisk", "name": name}],
        }
        group = "virtualization.deckhouse.io/v1alpha2"
        items.append({"apiVersion": group, "kind": "VirtualDisk", "metadata": meta, "spec": disk})
        items.append({"apiVersion": group, "kind": "VirtualMachine", "metadata": meta, "spec": vm})
    return json.dumps({"apiVersion": "v1", "kind": "List", "items": items})


class Fleet:
    """The VMs under test."""

    def __init__(self, home: Home, count: int) -> None:
        self._home = home
        self.names = [f"small-{number:02}" for number in range(count)]

    def k(self, *arguments: str) -> str:
        return common.drover(self._home, "k", *arguments)

    def start(self, directory: Path) -> None:
        """All on one node; until each guest answers."""
        file = directory / "vms.json"
        file.write_text(manifest(self.names))
        self.k("cordon", *OTHERS)
        self.k("apply", "-f", str(file))
        running = "--for=jsonpath={.status.phase}=Running"
        self.k("wait", "vm", "-l", "bench=drain", running, f"--timeout={BOOT_LIMIT_S}s")
        self.k("uncordon", *OTHERS)
        for vm in json.loads(self.k("get", "vm", "-o", "json"))["items"]:
            if not common.answers(vm["status"]["ipAddress"], BOOT_LIMIT_S):
                raise SystemExit(f"{vm['metadata']['name']} does not answer")

    def drain_s(self) -> float:
        began = time.monotonic()
        only = ("--pod-selector", VM_NAME_LABEL, "--delete-emptydir-data")
        self.k("drain", NODE, *only, "--timeout=400s")
        took = time.monotonic() - began
        found = json.loads(self.k("get", "vm", "-o", "json"))["items"]
        left = [vm["metadata"]["name"] for vm in found if vm["status"]["nodeName"] == NODE]
        if left:
            raise SystemExit(f"{left} are still on {NODE}")
        self.k("uncordon", NODE)
        return took

    def move_s(self, name: str) -> float:
        """One move of ours, by an Evict that is waited for."""
        began = time.monotonic()
        common.drover(self._home, "evict", name, "--yes", "--wait")
        return time.monotonic() - began

    def remove(self) -> None:
        self.k("delete", "vm,vd", "-l", "bench=drain", "--wait=false")


def overhead_s(home: Home) -> float:
    """Of starting our command line alone, which the single moves have in them."""
    began = time.monotonic()
    common.drover(home, "k", "get", "node", NODE)
    return time.monotonic() - began


async def bare_s(home: Home, directory: Path, moves: int) -> list[float]:
    """Single moves of the yardstick, in seconds."""
    nodes = bare_nodes(home)
    disk = directory / "disk.qcow2"
    shutil.copy(Path(os.environ["DROVER_IMAGE"]) / "drover-linux.qcow2", disk)
    settings = home.settings()
    assert settings is not None
    network = settings.topology.vm_gateway.rsplit(".", 1)[0]
    qemu = os.environ.get("DROVER_QEMU") or "qemu-system-x86_64"
    guest = BareGuest(directory, qemu, disk, f"{network}.252", settings.topology.vm_gateway)
    two = list(nodes.values())[:2]
    for node in two:
        node.add_tap()
    try:
        await guest.boot(two[0])
        if not common.answers(guest.address, BOOT_LIMIT_S):
            raise SystemExit("the bare guest does not answer")
        found = []
        for number in range(moves):
            total_s, _ = await guest.move(two[number % 2], two[1 - number % 2])
            found.append(total_s)
        return found
    finally:
        await guest.end()
        for node in two:
            node.remove_tap()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-n", "--vms", type=int, default=20, help="on the node; default 20")
    parser.add_argument("-m", "--moves", type=int, default=6, help="single ones, of each kind")
    parser.add_argument("--home", default="", help="a lab that runs; else one of its own")
    given = parser.parse_args()
    before = common.load()
    directory = Path(tempfile.mkdtemp(prefix="drover-bare-"))
    try:
        with common.lab_at(given.home) as home:
            fleet = Fleet(home, given.vms)
            print(f"starting {given.vms} VMs on {NODE} ...", flush=True)
            fleet.start(directory)
            time.sleep(QUIET_S)
            print("draining ...", flush=True)
            drain_s = fleet.drain_s()
            print(f"{given.vms} VMs left in {drain_s:.1f} s", flush=True)
            extra_s = statistics.median(overhead_s(home) for _ in range(3))
            single = [fleet.move_s(name) - extra_s for name in fleet.names[: given.moves]]
            bare = asyncio.run(bare_s(home, directory, given.moves))
            fleet.remove()
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    figures = [
        common.Figure("drain, bare moves in a row", "s", [drain_s],
                      [given.vms * statistics.median(bare)], "<= 1.2x"),
        common.Figure("drain, our moves in a row", "s", [drain_s],
                      [given.vms * statistics.median(single)]),
        common.Figure("one move", "s", single, bare),
    ]  # fmt: skip
    common.show(f"bench/drain: {given.vms} VMs of 192 MiB", figures, before)


if __name__ == "__main__":
    main()
