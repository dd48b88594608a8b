"""``whatif drain NODE...``: where every VM would go, together with whom, and how long it may take. Pure.

The nodes are cordoned together and freed one after another, so no VM lands on one of the others. Placement is the
forecast of ``drover drain --dry-run`` (controllers/forecast), time its estimate (controllers/costs).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from drover.answers import place
from drover.answers.outcome import How, Outcome, Step, Stuck
from drover.answers.world import NoSuch, World
from drover.api import scheme
from drover.api.kinds import pod as pods
from drover.api.meta import name_of
from drover.api.wire import Object
from drover.controllers.costs import estimate_s, learned, load_of
from drover.controllers.forecast import VmForecast, forecast_drain
from drover.controllers.planning import snapshot
from drover.planner import Cluster


def drain(world: World, names: Sequence[str]) -> Outcome:
    """One after another. Raises NoSuch."""
    names = list(dict.fromkeys(names))
    for name in names:
        if world.get(scheme.NODE, name) is None:
            raise NoSuch(f'there is no node "{name}"; `drover k get nodes` lists them')
    everything = world.all(scheme.NODE)
    closed = [_cordoned(node) if name_of(node) in names else node for node in everything]
    cluster = snapshot(closed, world.all(scheme.POD), world.all(scheme.NAMESPACE))
    steps: list[Step] = []
    stuck: list[Stuck] = []
    seconds = 0.0
    for name in names:
        found = _leave(world, cluster, name)
        placed = [one for one in found if one.node]
        cluster = cluster.moved({one.pod: one.node for one in placed})
        steps += [_step(one, name) for one in placed]
        stuck += [_stuck(world, one, name) for one in found if not one.node]
        seconds += move_seconds(world, [one.vm for one in placed])
    question = f"drain {' '.join(names)}"
    return Outcome(question, tuple(steps), tuple(stuck), seconds, _notes(world, steps, stuck))


def _leave(world: World, cluster: Cluster, node: str) -> tuple[VmForecast, ...]:
    here = [pod for pod in world.all(scheme.POD) if pods.node_name(pod) == node]
    return forecast_drain(cluster, node, here).vms


def _notes(world: World, steps: Sequence[Step], stuck: Sequence[Stuck]) -> tuple[str, ...]:
    notes = []
    if steps:
        at_once = world.settings.outbound_per_node
        few = "one VM leaves" if at_once == 1 else f"{at_once} VMs leave"
        notes.append(f"{few} a node at a time, as the settings allow")
    if stuck:
        notes.append("a drain waits until the last VM has found a place, or is stopped")
    return tuple(notes)


def _cordoned(node: Object) -> dict[str, Any]:
    return {**node, "spec": {**(node.get("spec") or {}), "unschedulable": True}}


def _step(one: VmForecast, source: str) -> Step:
    others = tuple(vm for vm in one.group if vm != one.vm)
    return Step(one.vm, How.MOVE, source, one.node, together=others)


def _stuck(world: World, one: VmForecast, node: str) -> Stuck:
    space, _, name = one.vm.partition("/")
    way = f"`drover stop {name} -n {space}`"
    vm = world.vm(one.vm)
    pod = world.holder_pod(vm) if vm is not None else None
    if vm is not None and pod is not None:
        way = f"{place.way_out(place.fit_of_move(world, vm, pod), node)}, or {way}"
    return Stuck(one.vm, one.message.rstrip("."), way)


def move_seconds(world: World, keys: Sequence[str]) -> float:
    """How long the moves of these VMs from one node may take."""
    known = [vm for vm in map(world.vm, keys) if vm is not None]
    costs = learned(world.all(scheme.VMM))
    loads = [load_of(vm, world.moves_of(vm), costs) for vm in known]
    return estimate_s(loads, costs, world.settings.outbound_per_node)
