"""What rebalancing wants with a VM or a node, in the words of its plans and of the Descheduler's conditions. Pure."""

from __future__ import annotations

from drover.answers.because import Because, Ref, Topic
from drover.answers.world import World
from drover.api import conditions, scheme
from drover.api.kinds import rebalance as plans
from drover.api.kinds.rebalance import DeschedulerCondition, StepState
from drover.api.meta import name_of
from drover.api.scheme import key_of
from drover.api.wire import Object

_RULE = "a plan mends thresholds and broken rules with the fewest moves, and judges each anew at its turn"
_WAITS = "a plan in mode Approve waits for a person"


def _open(world: World) -> Object | None:
    return next((plan for plan in world.all(scheme.REBALANCEPLAN) if plans.open_(plan)), None)


def of_vm(world: World, vm: Object) -> list[Because]:
    """Its move in the open plan, and what is in the way of a better place."""
    plan, key = _open(world), key_of(vm)
    if plan is None:
        return []
    refs = (Ref.of(scheme.VM, vm), Ref.of(scheme.REBALANCEPLAN, plan))
    begun = plans.steps(plan)  # in the order of the moves
    found = []
    for number, move in enumerate(plans.moves(plan)):
        done = number < len(begun) and begun[number].get("state") == StepState.DONE
        if move["virtualMachine"] != key or done:
            continue
        words = f"{name_of(plan)} moves it from {move['source']} to {move['target']}: {move['why']}"
        if plans.approved(plan):
            found.append(Because(Topic.PLAN, words, _RULE, refs))
        else:
            way = f"set spec.approved of RebalancePlan {name_of(plan)} to true"
            found.append(
                Because(Topic.PLAN, f"{words}; it waits for spec.approved", _WAITS, refs, way)
            )
    for one in plans.spec(plan).get("impossible") or ():
        if str(one["what"]).startswith(f"{key}: "):
            found.append(_impossible(one, refs))
    return found


def of_node(world: World, node: str) -> list[Because]:
    """Over a threshold, and what comes of that."""
    plan = _open(world)
    if plan is None:
        return []
    refs = (Ref(scheme.NODE.kind, node), Ref.of(scheme.REBALANCEPLAN, plan))
    found = []
    if node in (plans.spec(plan).get("overloaded") or ()):
        balanced = _balanced(world)
        words = (
            f"{node} is over a threshold; {balanced}" if balanced else f"{node} is over a threshold"
        )
        found.append(
            Because(Topic.PLAN, words, _RULE, refs, f"`drover k get rbp {name_of(plan)} -o yaml`")
        )
    for one in plans.spec(plan).get("impossible") or ():
        if str(one["what"]).startswith(f"{node}: "):
            found.append(_impossible(one, refs))
    return found


def _balanced(world: World) -> str:
    for settings in world.all(scheme.DESCHEDULER):
        said = conditions.get_condition(settings, DeschedulerCondition.BALANCED) or {}
        if said.get("status") == conditions.FALSE:
            return f"{said.get('reason')}: {said.get('message', '')}"
    return ""


def _impossible(one: Object, refs: tuple[Ref, ...]) -> Because:
    words = f"No plan helps: {one['what']}; in the way: {one.get('blockedBy', '')}"
    return Because(Topic.PLAN, words, _RULE, refs, str(one.get("change", "")))
