"""``whatif add NODE --like X``: what would start there, which drains would go on, what a plan would move. Pure."""

from __future__ import annotations

from typing import Any

from drover.answers.draining import move_seconds
from drover.answers.outcome import How, Outcome, Step, Stuck
from drover.answers.world import NoSuch, World
from drover.api import names, scheme
from drover.api.kinds import node as nodes
from drover.api.kinds import pod as pods
from drover.api.meta import name_of
from drover.api.wire import Object
from drover.controllers.forecast import forecast_drain, restart_rank
from drover.controllers.planning import pod_of, snapshot
from drover.controllers.rebalance import policy
from drover.controllers.rebalance.guests import Objects
from drover.controllers.rebalance.problem import WITHOUT_PROOF, pose
from drover.planner import place

_STATES = ("node.kubernetes.io/", names.REJOINING_TAINT)


def add(world: World, name: str, like: str) -> Outcome:
    """A node ``name`` with all that ``like`` has, empty and Ready. Raises NoSuch."""
    model = world.get(scheme.NODE, like)
    if model is None:
        raise NoSuch(f'there is no node "{like}"; `drover k get nodes` lists them')
    if world.get(scheme.NODE, name) is not None:
        raise NoSuch(f'there is a node "{name}" already; choose another name')
    everything = [*world.all(scheme.NODE), _fresh(model, name)]
    steps, stuck, bound = _waiting(world, everything)
    leaving = _leaving(world, everything, bound)
    steps += leaving
    moves, note = _balanced(world, everything, bound, {step.vm for step in steps})
    steps += moves
    seconds = move_seconds(world, [step.vm for step in steps if step.how is How.MOVE])
    notes = [note] if note else []
    return Outcome(f"add {name} --like {like}", tuple(steps), tuple(stuck), seconds, tuple(notes))


def _fresh(model: Object, name: str) -> dict[str, Any]:
    spec = model.get("spec") or {}
    taints = [t for t in spec.get("taints") or () if not str(t["key"]).startswith(_STATES)]
    status = model.get("status") or {}
    ready = {"type": "Ready", "status": "True"}
    return {
        "metadata": {
            "name": name,
            "uid": name,
            "labels": {**nodes.labels(model), names.HOSTNAME_LABEL: name},
        },
        "spec": {"taints": taints},
        "status": {"allocatable": status.get("allocatable") or {}, "conditions": [ready]},
    }


def _waiting(
    world: World, everything: list[Object]
) -> tuple[list[Step], list[Stuck], list[Object]]:
    """VM Pods that no node takes now; and all Pods, those that would find a place bound to it."""
    all_pods = world.all(scheme.POD)
    homeless = [
        p for p in all_pods if pods.is_vm(p) and not pods.node_name(p) and not pods.ended(p)
    ]
    homeless.sort(key=lambda pod: _rank(world, pod))
    cluster = snapshot(everything, all_pods, world.all(scheme.NAMESPACE))
    placed = place(cluster, [pod_of(pod, comes=True) for pod in homeless])
    steps, stuck, bound = [], [], {}
    for pod in homeless:
        key, vm = scheme.key_of(pod), pods.vm_key(pod)
        node = placed.nodes.get(key)
        if node is None:
            stuck.append(Stuck(vm, placed.refused[key].message.rstrip(".")))
            continue
        how = How.MOVE if pods.migration_name(pod) else How.START
        steps.append(Step(vm, how, "", node, "it waits for room now"))
        bound[key] = {**pod, "spec": {**pod["spec"], "nodeName": node}}
    return steps, stuck, [bound.get(scheme.key_of(p), p) for p in all_pods]


def _rank(world: World, pod: Object) -> tuple[int, str, str]:
    vm = world.vm(pods.vm_key(pod))
    return restart_rank(pod if vm is None else vm, 0 if vm is None else world.priority_of(vm))


def _leaving(world: World, everything: list[Object], bound: list[Object]) -> list[Step]:
    """VMs that cannot leave a node in maintenance now, and could then."""
    steps: list[Step] = []
    spaces = world.all(scheme.NAMESPACE)
    before, after = world.picture, snapshot(everything, bound, spaces)
    for node in world.all(scheme.NODE):
        if not nodes.cordoned(node):
            continue
        name = name_of(node)
        here = [pod for pod in bound if pods.node_name(pod) == name]
        kept = {one.vm for one in forecast_drain(before, name, here).stuck}
        found = [
            one for one in forecast_drain(after, name, here).vms if one.node and one.vm in kept
        ]
        after = after.moved({one.pod: one.node for one in found})
        steps += [
            Step(one.vm, How.MOVE, name, one.node, f"{name} is in maintenance") for one in found
        ]
    return steps


def _balanced(
    world: World, everything: list[Object], bound: list[Object], known: set[str]
) -> tuple[list[Step], str]:
    """The rebalancer's plan with the new node; VMs that move anyway are left out."""
    settings = world.all(scheme.DESCHEDULER)
    module = world.get(scheme.MODULECONFIG, names.REBALANCE_MODULE)
    rules = policy.read(module, settings[0] if settings else None, world.all(scheme.PRIORITYCLASS))
    problem = pose(
        Objects(
            nodes=everything,
            pods=bound,
            namespaces=world.all(scheme.NAMESPACE),
            vms=world.all(scheme.VM),
            classes=world.all(scheme.VMCLASS),
            vmops=world.all(scheme.VMOP),
            vmms=world.all(scheme.VMM),
            plans=world.all(scheme.REBALANCEPLAN),
        ),
        rules,
        world.now_s,
    )
    plan = problem.plan(WITHOUT_PROOF)
    steps = [
        Step(problem.vm_of[move.vm], How.MOVE, move.source, move.target, move.why)
        for move in plan.moves
        if problem.vm_of[move.vm] not in known
    ]
    if not steps:
        return [], "no node is over a threshold and no rule is broken that a move would mend"
    if rules.enabled:
        return steps, ""
    moves = "one move" if len(steps) == 1 else f"{len(steps)} moves"
    return [], f"rebalancing is off; a plan would make {moves}"
