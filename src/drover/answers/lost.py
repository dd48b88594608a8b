"""What is known of a node that is silent or was lost, and why its VMs do not start elsewhere yet. Pure.

The fencing controller's own words: ``status.reason`` of the NodeFence, else the condition FencingActive of the group.
"""

from __future__ import annotations

from drover.answers.asking import Names, answer
from drover.answers.because import Because, Ref, Topic
from drover.answers.rules import Rule
from drover.answers.world import World
from drover.api import conditions, scheme
from drover.api.kinds import node as nodes
from drover.api.kinds import nodefence, nodegroup
from drover.api.kinds.nodefence import FencePhase, FenceReason
from drover.api.kinds.nodegroup import NodeGroupCondition
from drover.api.meta import name_of
from drover.api.wire import Object

# Why a lost node is not fenced (status.reason of a NodeFence, or of the group's condition FencingActive).
_PROVED = "VMs start elsewhere only when it is proved that their node's copies are dead"
_CONFIRM = "when {node} is switched off, say so: `drover fence confirm {node}`"
FENCE_RULES: dict[str, Rule] = {
    FenceReason.OFF: Rule(
        Topic.FENCING, _PROVED, f"set spec.fencing of the NodeGroup, or: {_CONFIRM}"
    ),
    FenceReason.UNSAFE_TIMES: Rule(
        Topic.FENCING,
        _PROVED,
        "`drover timing` shows the sums; set spec.fencing.profile, or mend spec.fencing.watchdog.timeout, or: "
        + _CONFIRM,
    ),
    FenceReason.NOTIFY: Rule(Topic.FENCING, _PROVED, _CONFIRM),
    FenceReason.PAUSED: Rule(
        Topic.FENCING, _PROVED, f"`drover fence resume` ends the pause, or: {_CONFIRM}"
    ),
    FenceReason.TOO_MANY_UNHEALTHY: Rule(
        Topic.FENCING,
        "when many nodes fall silent at once the network is suspected, and none is fenced",
        f"mend the network, raise spec.fencing.maxUnhealthy, or: {_CONFIRM}",
    ),
    FenceReason.STORM_COOL_DOWN: Rule(
        Topic.FENCING, "after such a storm fencing waits", f"wait, or: {_CONFIRM}"
    ),
    FenceReason.NOT_ARMED: Rule(Topic.FENCING, _PROVED, _CONFIRM),
    FenceReason.WAITING: Rule(Topic.FENCING, _PROVED, "wait; it goes on by itself"),
    FenceReason.NO_ROSTER: Rule(Topic.FENCING, _PROVED, f"wait, or: {_CONFIRM}"),
    FenceReason.ROSTER_UNKNOWN: Rule(Topic.FENCING, _PROVED, _CONFIRM),
    FenceReason.PEERS_NEEDED: Rule(
        Topic.FENCING,
        "peers that may vouch for a node must promise not to",
        f"bring them back, or: {_CONFIRM}",
    ),
    FenceReason.UNCONFIRMED: Rule(Topic.FENCING, _PROVED, _CONFIRM),
}
NOTHING_PROVED = FENCE_RULES[FenceReason.OFF]

_CLOSED = {
    FencePhase.FENCED: "Nothing of {node} runs any more; its VMs start elsewhere now",
    FencePhase.RELEASED: "{node} was lost and is gone; its VMs start elsewhere",
}


def group_of(world: World, node: str) -> Object | None:
    """The NodeGroup of a node, whether or not the Node object is there."""
    obj = world.get(scheme.NODE, node)
    fences = world.fences_of(node)
    name = nodegroup.group_of(obj) if obj is not None else ""
    name = name or (str(fences[-1]["spec"].get("group", "")) if fences else "")
    return world.get(scheme.NODEGROUP, name) if name else None


def fencing(world: World, node: str) -> list[Because]:
    """Empty: it is alive as far as is known."""
    obj, ref = world.get(scheme.NODE, node), Ref(scheme.NODE.kind, node)
    fences = world.fences_of(node)
    open_ = (
        fences[-1] if fences and nodefence.phase(fences[-1]) is not FencePhase.REJOINED else None
    )
    if open_ is not None:
        return [_open(world, node, open_)]
    if obj is not None and not nodes.away(obj):
        return []
    words = f"{node} is silent" if obj is not None else f"There is no Node {node} any more"
    return [_unfenced(world, node, words, ref)]


def _open(world: World, node: str, fence: Object) -> Because:
    phase, refs = (
        nodefence.phase(fence),
        (Ref(scheme.NODE.kind, node), Ref.of(scheme.NODEFENCE, fence)),
    )
    if phase in _CLOSED:
        back = "it comes back as new by itself, and takes VMs when it has been healthy for a while"
        return Because(Topic.FENCING, _CLOSED[phase].format(node=node), _PROVED, refs, back)
    said = fence.get("status") or {}
    reason, message = str(said.get("reason") or ""), str(said.get("message") or "")
    words = f"{node} is {phase}" + (f": {reason}: {message}" if reason else "")
    rule = FENCE_RULES.get(reason, FENCE_RULES[FenceReason.WAITING])
    return answer(rule, words, Names(node=node), *refs)


def _unfenced(world: World, node: str, words: str, ref: Ref) -> Because:
    group = group_of(world, node)
    if group is None and scheme.NODEGROUP.kind in world.missing:
        return answer(FENCE_RULES[FenceReason.UNCONFIRMED], words, Names(node=node), ref)
    if group is None:
        told = f"{words}; it is in no NodeGroup, so nothing is fenced"
        return answer(NOTHING_PROVED, told, Names(node=node), ref)
    said = conditions.get_condition(group, NodeGroupCondition.FENCING_ACTIVE) or {}
    reason, message = str(said.get("reason", "")), str(said.get("message", ""))
    rule = FENCE_RULES.get(reason)
    if nodegroup.mode(group) is None:
        rule, message = NOTHING_PROVED, "spec.fencing of its group is not set"
    told = f"{words}: {message}" if message and rule is not None else words
    return answer(
        rule or FENCE_RULES[FenceReason.WAITING],
        told,
        Names(node=node),
        ref,
        Ref.of(scheme.NODEGROUP, group),
    )


def coming_back(node: Object) -> list[Because]:
    """A node that was fenced and is on its way back."""
    if not nodes.rejoining(node):
        return []
    rule = "a node whose former life was fenced takes VMs only after it has been Ready for a while"
    return [
        Because(
            Topic.FENCING,
            f"{name_of(node)} is coming back",
            rule,
            (Ref.of(scheme.NODE, node),),
            "wait",
        )
    ]
