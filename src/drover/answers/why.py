"""The question ``why``: of a VM, a node, or an operation. Pure."""

from __future__ import annotations

from drover.answers import lost, moving, node, operation, place, plans, start
from drover.answers.because import Because
from drover.answers.world import NoSuch, World
from drover.api import scheme
from drover.api.wire import Object


def why(world: World, name: str, namespace: str) -> tuple[str, list[Because]]:
    """What is meant by this name, in words, and the answers. A VM goes before an operation, an operation before a node,
    where several have the name. Raises NoSuch."""
    vm = world.get(scheme.VM, name, namespace)
    if vm is not None:
        return f"VirtualMachine {namespace}/{name}", why_vm(world, vm)
    vmop = world.get(scheme.VMOP, name, namespace)
    if vmop is not None:
        return f"VirtualMachineOperation {namespace}/{name}", operation.explain(world, vmop)
    if world.get(scheme.NODE, name) is not None or world.fences_of(name):
        return f"Node {name}", why_node(world, name)
    raise NoSuch(
        f'there is no VM and no operation "{namespace}/{name}", and no node "{name}"; '
        "`drover k get vm,vmop -A` and `drover k get nodes` list them"
    )


def why_vm(world: World, vm: Object) -> list[Because]:
    """Where it is, why it does not run, move or restart; what its silent node means for it."""
    found = [
        *place.where(world, vm),
        *start.why_not_running(world, vm),
        *start.why_restarted(world, vm),
    ]
    if node_name := world.node_of(vm):
        found += lost.fencing(world, node_name)
    found += moving.why_moves(world, vm)
    return found + plans.of_vm(world, vm)


def why_node(world: World, name: str) -> list[Because]:
    return [*node.explain(world, name), *plans.of_node(world, name)]
