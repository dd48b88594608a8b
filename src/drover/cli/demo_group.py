"""The demo's VMs that begin together on one node: which node that is, and how all of them come to it."""

from __future__ import annotations

from dataclasses import dataclass

from drover.api import scheme
from drover.api.kinds import node as nodes
from drover.api.kinds import vm as vms
from drover.api.meta import name_of
from drover.cli.connect import Api
from drover.cli.demo_stage import DemoFailed, Stage
from drover.cli.session import PROGRAM

NAMESPACE = "default"
BOOT_LIMIT_S = 180


@dataclass(frozen=True)
class Group:
    """VMs of one manifest; ``label`` selects all of them."""

    file: str
    label: str
    names: tuple[str, ...]


async def node_of(api: Api, vm: str) -> str:
    return vms.node_name(await api.client.get(scheme.VM, vm, NAMESPACE))


async def choose(api: Api, avoid: str, what: str) -> tuple[str, list[str]]:
    """The first node without the VM ``avoid``, and all others. Raises DemoFailed when ``what`` lacks a node."""
    found, _ = await api.client.list(scheme.NODE)
    there = sorted(name_of(node) for node in found if nodes.ready(node))
    taken = await node_of(api, avoid)
    free = [name for name in there if name != taken]
    if len(free) < 2:
        raise DemoFailed(f"{what} needs a second node that is Ready")
    return free[0], [name for name in there if name != free[0]]


async def start(stage: Stage, api: Api, group: Group, node: str, others: list[str]) -> None:
    """All of the group run on the node. What an earlier run has left of it goes first."""
    closed = " ".join(others)
    left, _ = await api.client.list(scheme.VM, NAMESPACE, labels=group.label)
    if left:
        stage.tell("left by an earlier run:")
        await stage.run(f"{PROGRAM} k delete -f {group.file} --ignore-not-found")
    stage.tell(f"The other nodes are closed while they start, so that all three begin on {node}.")
    await stage.run(f"{PROGRAM} k cordon {closed}")
    try:
        await stage.run(f"{PROGRAM} k apply -f {group.file}")
        which = " ".join(f"vm/{name}" for name in group.names)
        running = "--for=jsonpath='{.status.phase}'=Running"
        await stage.run(f"{PROGRAM} k wait {which} {running} --timeout={BOOT_LIMIT_S}s")
    finally:
        await stage.run(f"{PROGRAM} k uncordon {closed}")
