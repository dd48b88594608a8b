"""The maintenance part of the demo: a node with three VMs is drained by kubectl's own command, and put back to use."""

from __future__ import annotations

from drover.api import names, scheme
from drover.api.kinds import node as nodes
from drover.api.kinds import vm as vms
from drover.api.meta import name_of
from drover.cli.connect import Api
from drover.cli.demo_stage import DemoFailed, Stage
from drover.cli.session import PROGRAM

FILE = "examples/three-vms.yaml"
VMS = ("small-1", "small-2", "small-3")
NAMESPACE = "default"
BOOT_LIMIT_S = 180


class Maintenance:
    """Plays it. ``avoid``: a VM whose memory changes too fast to be moved without force; its node is left alone."""

    def __init__(self, stage: Stage, api: Api, avoid: str) -> None:
        self._stage = stage
        self._api = api
        self._avoid = avoid

    async def play(self) -> float:
        """How long the drain took, in seconds."""
        stage = self._stage
        stage.title("Maintenance: a node with three VMs is drained, the VMs run on elsewhere")
        node, others = await self._choose()
        async with stage.step(f"three VMs run on {node}"):
            await self._start(node, others)
        began_s = stage.clock.monotonic()
        async with stage.step(f"{node} was drained"):
            await stage.run(
                f"{PROGRAM} k drain {node} --pod-selector {names.VM_NAME_LABEL} --delete-emptydir-data"
            )
            took_s = stage.clock.monotonic() - began_s
            await stage.run(f"{PROGRAM} k get vm")
            await self._check(node)
            stage.tell("Everything else too, if there were anything else on it:")
            await stage.run(f"{PROGRAM} k drain {node} --ignore-daemonsets --delete-emptydir-data")
            await stage.run(f"{PROGRAM} k get node {node}")
        async with stage.step(f"{node} is in use again, nothing moved back"):
            await stage.run(f"{PROGRAM} k uncordon {node}")
            await self._check(node)
            await stage.run(f"{PROGRAM} k delete -f {FILE} --wait=false")
        return took_s

    async def _choose(self) -> tuple[str, list[str]]:
        """The first node without the VM that is left alone, and all others."""
        found, _ = await self._api.client.list(scheme.NODE)
        there = sorted(name_of(node) for node in found if nodes.ready(node))
        taken = await self._api.client.get(scheme.VM, self._avoid, NAMESPACE)
        free = [name for name in there if name != vms.node_name(taken)]
        if len(free) < 2:
            raise DemoFailed("a drain needs a second node that is Ready")
        return free[0], [name for name in there if name != free[0]]

    async def _start(self, node: str, others: list[str]) -> None:
        stage, closed = self._stage, " ".join(others)
        left, _ = await self._api.client.list(scheme.VM, NAMESPACE, labels="app=small")
        if left:
            stage.tell("left by an earlier run:")
            await stage.run(f"{PROGRAM} k delete -f {FILE} --ignore-not-found")
        stage.tell(
            f"The other nodes are closed while they start, so that all three begin on {node}."
        )
        await stage.run(f"{PROGRAM} k cordon {closed}")
        try:
            await stage.run(f"{PROGRAM} k apply -f {FILE}")
            which = " ".join(f"vm/{name}" for name in VMS)
            running = "--for=jsonpath='{.status.phase}'=Running"
            await stage.run(f"{PROGRAM} k wait {which} {running} --timeout={BOOT_LIMIT_S}s")
        finally:
            await stage.run(f"{PROGRAM} k uncordon {closed}")

    async def _check(self, node: str) -> None:
        """Every VM runs, and none on the node."""
        for name in VMS:
            vm = await self._api.client.get(scheme.VM, name, NAMESPACE)
            if vms.phase(vm) is not vms.VmPhase.RUNNING or vms.node_name(vm) == node:
                raise DemoFailed(
                    f"{name} is {vms.phase(vm)} on {vms.node_name(vm)}; "
                    f"`{PROGRAM} k describe vm {name}` tells why"
                )
