"""The maintenance part of the demo: a node with three VMs is drained by kubectl's own command, and put back to use."""

from __future__ import annotations

from drover.api import names, scheme
from drover.api.kinds import vm as vms
from drover.cli import demo_group
from drover.cli.connect import Api
from drover.cli.demo_group import NAMESPACE, Group
from drover.cli.demo_stage import DemoFailed, Stage
from drover.cli.session import PROGRAM

SMALL = Group("examples/three-vms.yaml", "app=small", ("small-1", "small-2", "small-3"))


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
        node, others = await demo_group.choose(self._api, self._avoid, "a drain")
        async with stage.step(f"three VMs run on {node}"):
            await demo_group.start(stage, self._api, SMALL, node, others)
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
            await stage.run(f"{PROGRAM} k delete -f {SMALL.file} --wait=false")
        return took_s

    async def _check(self, node: str) -> None:
        """Every VM runs, and none on the node."""
        for name in SMALL.names:
            vm = await self._api.client.get(scheme.VM, name, NAMESPACE)
            if vms.phase(vm) is not vms.VmPhase.RUNNING or vms.node_name(vm) == node:
                raise DemoFailed(
                    f"{name} is {vms.phase(vm)} on {vms.node_name(vm)}; "
                    f"`{PROGRAM} k describe vm {name}` tells why"
                )
