"""``whatif lose NODE...``: which VMs would start where, in which order, and when. Pure.

As ColdStandby does it: a VM starts again where its runPolicy says so, by priority, then age, one after another into the
room that is left (controllers/vm/recovery). When they may start is fencing's time; what would keep the nodes from being
fenced at all is told as a note.
"""

from __future__ import annotations

from collections.abc import Sequence

from drover.answers import lost, place
from drover.answers.outcome import How, Outcome, Step, Stuck
from drover.answers.starter import starter
from drover.answers.world import NoSuch, World
from drover.api import fencing, scheme
from drover.api.kinds import node as nodes
from drover.api.kinds import nodefence, nodegroup
from drover.api.kinds import pod as pods
from drover.api.kinds import vm as vms
from drover.api.kinds.nodegroup import FencingMode
from drover.api.meta import name_of
from drover.api.names import LastReason
from drover.api.scheme import key_of
from drover.api.wire import Object
from drover.controllers.forecast import missing_room, restart_rank
from drover.controllers.planning import snapshot
from drover.controllers.vm.power import starts_again
from drover.planner import place as put


def lose(world: World, names: Sequence[str]) -> Outcome:
    """All of these nodes at once. Raises NoSuch."""
    for name in names:
        if world.get(scheme.NODE, name) is None:
            raise NoSuch(f'there is no node "{name}"; `drover k get nodes` lists them')
    gone = frozenset(names)
    lost_vms = [vm for name in sorted(gone) for vm in world.vms_on(name)]
    lost_vms.sort(key=lambda vm: restart_rank(vm, world.priority_of(vm)))
    again = [vm for vm in lost_vms if starts_again(vms.run_policy(vm), LastReason.NODE_LOST)]
    stuck = [_unwanted(vm) for vm in lost_vms if vm not in again]
    seconds, notes = _fencing(world, gone)
    steps, homeless = _placed(world, again, gone)
    question = f"lose {' '.join(sorted(gone))}"
    return Outcome(
        question, tuple(steps), (*homeless, *stuck), seconds if steps else 0.0, tuple(notes)
    )


def _unwanted(vm: Object) -> Stuck:
    policy = vms.run_policy(vm)
    way = f"`drover start {name_of(vm)} -n {vm['metadata']['namespace']}` once its node is fenced"
    return Stuck(
        key_of(vm),
        f"runPolicy {policy} leaves it stopped after the loss of its node",
        way,
        unwanted=True,
    )


def _placed(
    world: World, again: Sequence[Object], gone: frozenset[str]
) -> tuple[list[Step], list[Stuck]]:
    living = [node for node in world.all(scheme.NODE) if name_of(node) not in gone]
    others = [pod for pod in world.all(scheme.POD) if pods.node_name(pod) not in gone]
    cluster = snapshot(living, others, world.all(scheme.NAMESPACE))
    starters = {key_of(vm): starter(world, vm) for vm in again}
    cluster = cluster.with_pods(pod for pod in starters.values() if pod is not None)
    steps, stuck = [], []
    for vm in again:
        pod = starters[key_of(vm)]
        if pod is None:
            why = "its VirtualMachineClass cannot be found"
            stuck.append(Stuck(key_of(vm), why, "make the class, or name another"))
            continue
        placed = put(cluster, [pod])
        if placed.nodes:
            target, why = placed.nodes[pod.key], _order(world, vm)
            steps.append(Step(key_of(vm), How.RESTART, world.node_of(vm), target, why))
            cluster = placed.after
            continue
        refused, short = placed.refused[pod.key], missing_room(cluster, pod)
        why = refused.message.rstrip(".") + (f"; {short}" if short else "")
        stuck.append(Stuck(key_of(vm), why, place.way_out(refused)))
    return steps, stuck


def _order(world: World, vm: Object) -> str:
    return f"priority {world.priority_of(vm)}, since {vm['metadata'].get('creationTimestamp', 'unknown')}"


def _fencing(world: World, gone: frozenset[str]) -> tuple[float | None, list[str]]:
    """The longest time until it is proved that they are dead, and what is in the way of that. None: never by itself."""
    longest: float | None = 0.0
    notes: list[str] = []
    for name, members in _by_group(world, gone).items():
        group = world.get(scheme.NODEGROUP, name) if name else None
        obstacle = _obstacle(world, group, members)
        if obstacle:
            longest = None
            notes.append(f"{', '.join(members)} would not be fenced by itself: {obstacle}")
            if group is not None and nodegroup.mode(group) is None:
                notes.append(
                    f"`drover fence on --group {name}` lets its nodes be fenced by themselves"
                )
            notes.append("`drover fence confirm` of each node that is off starts its VMs")
        elif longest is not None and group is not None:
            longest = max(longest, nodegroup.timing(group).fence_s)
    return longest, list(dict.fromkeys(notes))


def _by_group(world: World, gone: frozenset[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name in sorted(gone):
        group = lost.group_of(world, name)
        found.setdefault(name_of(group) if group is not None else "", []).append(name)
    return found


def _obstacle(world: World, group: Object | None, gone: Sequence[str]) -> str:
    """The first brake that fencing would meet; empty: none that can be seen now."""
    if group is None:
        unread = scheme.NODEGROUP.kind in world.missing
        return "NodeGroups were not looked at" if unread else "it is in no NodeGroup"
    mode = nodegroup.mode(group)
    if mode is None:
        return f"spec.fencing of NodeGroup {name_of(group)} is not set"
    if mode is FencingMode.NOTIFY:
        return "lost nodes are only told: nothing proves that they die"
    try:
        problems = nodegroup.timing(group).problems()
    except ValueError as bad:
        problems = [str(bad)]
    if problems:
        return problems[0]
    marks = [
        obj
        for obj in (group, world.config, *(world.get(scheme.NODE, n) for n in gone))
        if obj is not None
    ]
    paused = next((obj for obj in marks if nodegroup.paused_by(obj)), None)
    if paused is not None:
        return f"{name_of(paused)} carries the annotation {nodegroup.paused_by(paused)}"
    return _too_many(world, group, gone)


def _too_many(world: World, group: Object, gone: Sequence[str]) -> str:
    mates = [node for node in world.all(scheme.NODE) if nodegroup.group_of(node) == name_of(group)]
    silent = {name_of(node) for node in mates if nodes.away(node)} | set(gone)
    most = fencing.most_unhealthy(nodegroup.max_unhealthy(group), len(mates))
    if len(silent) > most:
        return f"{len(silent)} nodes would be silent at once, at most {most} may be lost"
    obj = world.get(scheme.NODEROSTER, name_of(group))
    if obj is None:
        return (
            "it is not settled yet whose word counts"
            if scheme.NODEROSTER.kind not in world.missing
            else ""
        )
    roster = nodefence.roster(obj).names
    left, needed = [n for n in roster if n not in silent], fencing.clean_needed(len(roster))
    if len(left) < needed:
        return f"{len(left)} peers of its roster would be left, and {needed} must promise not to vouch for it"
    return ""
