"""Where a VM is, why it is there, and where it could go. Pure.

Why there: the Pod that holds the lease tells whether it started its guest or received it in a migration; the migration
tells who asked. Where it could go is the planner's word now; kube-scheduler has the last one.
"""

from __future__ import annotations

from drover.answers.because import Because, Ref, Topic
from drover.answers.world import World
from drover.api import scheme, vmpod
from drover.api.kinds import nodefence
from drover.api.kinds import pod as pods
from drover.api.kinds import vmm as vmms
from drover.api.kinds.vmop import Origin
from drover.api.meta import name_of, namespace_of
from drover.api.wire import Object
from drover.base.words import MOST_NAMED, some_of
from drover.controllers.planning import target_of
from drover.planner import Cluster, Fit, Pod, fit
from drover.planner.fit import (
    EXISTING_ANTI_AFFINITY,
    NODE_AFFINITY,
    NOT_NAMED,
    POD_AFFINITY,
    POD_ANTI_AFFINITY,
    TAINTED,
    TOO_MANY_PODS,
    UNSCHEDULABLE,
)
from drover.planner.spreading import SPREAD

_ASKED = {
    Origin.PERSON: "a person asked for the move",
    Origin.PLACEMENT: "its former node did not satisfy its placement rules any more",
    Origin.EVACUATION: "its former node was being drained",
    Origin.REBALANCE: "a rebalance plan moved it",
    Origin.FIRMWARE: "it was moved to another QEMU",
}
_WAYS: tuple[tuple[frozenset[str], str], ...] = (
    (frozenset({UNSCHEDULABLE}), "`drover uncordon` a node that is in maintenance"),
    (frozenset({TAINTED}), "let the VM tolerate the taints, or take them away"),
    (
        frozenset(
            {
                NODE_AFFINITY,
                NOT_NAMED,
                POD_AFFINITY,
                POD_ANTI_AFFINITY,
                EXISTING_ANTI_AFFINITY,
                SPREAD,
            }
        ),
        "loosen the placement rules",
    ),
)
_KNOWN = frozenset({TOO_MANY_PODS}.union(*(known for known, _ in _WAYS)))
_HELD = "a VM runs where its lease says, and nowhere else"


def where(world: World, vm: Object) -> list[Because]:
    """Empty: nothing holds it."""
    node, pod, me = world.node_of(vm), world.holder_pod(vm), Ref.of(scheme.VM, vm)
    if not node:
        return []
    refs = (me, Ref(scheme.NODE.kind, node))
    if pod is None:
        return [Because(Topic.PLACE, f"It is held by node {node}; its Pod is gone", _HELD, refs)]
    move = (
        world.get(scheme.VMM, pods.migration_name(pod), namespace_of(vm))
        if pods.migration_name(pod)
        else None
    )
    if move is not None:
        asked = _ASKED[vmms.origin(move)]
        words = f"It is on {node} since it came from {vmms.source_node(move)}: {asked}"
        op = Ref(scheme.VMOP.kind, vmms.operation_name(move), namespace_of(vm))
        return [Because(Topic.PLACE, words, _HELD, (*refs, op))]
    if pods.migration_name(pod):
        return [
            Because(Topic.PLACE, f"It is on {node} since a migration brought it there", _HELD, refs)
        ]
    fence = _restarted_from(world, vm, node)
    if fence is not None:
        words = (
            f"It is on {node} since it was started again there: {nodefence.node(fence)} was lost"
        )
        return [Because(Topic.PLACE, words, _HELD, (*refs, Ref.of(scheme.NODEFENCE, fence)))]
    words = f"It is on {node}, which kube-scheduler chose among the nodes that fitted at its start"
    return [Because(Topic.PLACE, words, _HELD, refs)]


def _restarted_from(world: World, vm: Object, node: str) -> Object | None:
    for fence in reversed(world.all(scheme.NODEFENCE)):
        for lost in nodefence.lost_vms(fence):
            mine = (lost["namespace"], lost["name"]) == (namespace_of(vm), name_of(vm))
            if mine and lost.get("node") == node:
                return fence
    return None


def elsewhere(world: World, vm: Object) -> list[Because]:
    """Whether a running VM could move now. Empty: it does not run, or the nodes are not known."""
    pod = world.holder_pod(vm)
    if pod is None or not pods.node_name(pod) or not world.all(scheme.NODE):
        return []
    found = fit_of_move(world, vm, pod)
    me = Ref.of(scheme.VM, vm)
    if found.nodes:
        words = f"It could move to {some_of(found.nodes)}"
        return [Because(Topic.MOVE, words, "a VM moves to a node that takes it now", (me,))]
    rule = "a VM moves only to a node that takes it now; its own node does not count"
    words = f"It could move nowhere now: {found.message.rstrip('.')}"
    return [Because(Topic.MOVE, words, rule, (me,), way_out(found, pods.node_name(pod)))]


def fit_of_move(world: World, vm: Object, pod: Object) -> Fit:
    """Of the Pod that a move would make now."""
    vmclass = world.class_of(vm)
    now = vmpod.Now(vm, vmclass) if vmclass is not None else None
    return fit(world.picture, target_of(pod, now=now))


def refusals(found: Fit, but: str = "") -> str:
    """Node by node, for a few nodes; kube-scheduler's sum of them for many. ``but``: as in ``way_out``."""
    told = [
        f"{node}: {', '.join(reasons)}" for node, reasons in found.refusals.items() if node != but
    ]
    return "; ".join(told) if 0 < len(told) <= MOST_NAMED else found.message


def way_out(found: Fit, but: str = "") -> str:
    """What would help, by the reasons that refuse. ``but``: a node that does not count, as the VM's own."""
    refused = {
        reason for node, reasons in found.refusals.items() if node != but for reason in reasons
    }
    ways = [way for known, way in _WAYS if refused & known]
    if TOO_MANY_PODS in refused or refused - _KNOWN:  # what is left are resources
        ways.insert(0, "make room or add a node")
    return ", or ".join(ways) or "add a node"


def verdict(cluster: Cluster, pod: Pod) -> Fit:
    """On a Pod that comes."""
    return fit(cluster, pod)
