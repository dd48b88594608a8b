"""From API objects to the planner's question: which cluster, which VMs may move, what is wished. Pure.

The controller and ``drover rebalance plan`` ask by this one function, so they get one answer; so does ``drover plan``
about a snapshot. VMs are judged by their own rules: what a target Pod carries of the migration that made it is left
out. A VM that is being moved by anybody is none of the planner's VMs: both its Pods just take room.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

from drover.api import names, vmpod
from drover.api.kinds import node as nodes
from drover.api.kinds import pod as pods
from drover.api.kinds import vmm as vmms
from drover.api.meta import annotations_of, labels_of, name_of
from drover.api.scheme import key_of
from drover.api.wire import Object
from drover.controllers.costs import Costs, learned, load_of
from drover.controllers.planning import Snapshots, node_of, pod_of
from drover.controllers.rebalance import past
from drover.controllers.rebalance.guests import Guest, Objects
from drover.controllers.rebalance.guests import guests as guests_of
from drover.controllers.rebalance.past import Past, Rest
from drover.controllers.rebalance.policy import Policy
from drover.planner import Budget, Cluster, Goal, Node, Plan, Pod, State, Vm, rebalance, state

# Taints by which Kubernetes and we tell of a node's state: nothing comes, and nobody is asked to leave.
_STATES = ("node.kubernetes.io/", names.REJOINING_TAINT)
_BOTTOMLESS = 2**48  # of every resource of a node that is not balanced: no threshold concerns it
BUDGET = Budget(moves=2000)
WITHOUT_PROOF = Budget(moves=2000, rounds=0)


@dataclass(frozen=True)
class Problem:
    cluster: Cluster
    guests: Mapping[str, Guest]  # by VM
    vms: tuple[Vm, ...]
    goal: Goal
    past: Past
    closed: frozenset[str] = frozenset()  # nodes that are not balanced
    gone_s: float = field(default=0.0)  # when the first rest is over; 0: nobody rests

    @cached_property
    def vm_of(self) -> dict[str, str]:
        """VM by its Pod's key."""
        return {key_of(guest.pod): key for key, guest in self.guests.items()}

    @cached_property
    def state(self) -> State:
        """What is overloaded or broken; only where the policy looks."""
        found = state(self.cluster, self.vms, self.goal)
        mine = {
            pod: tuple(rule for rule in rules if rule in self.goal.repairs)
            for pod, rules in found.broken.items()
            if self.guests[self.vm_of[pod]].ours
        }
        return replace(
            found,
            overloaded=tuple(node for node in found.overloaded if node not in self.closed),
            broken={pod: rules for pod, rules in mine.items() if rules},
        )

    def overload(self, loads: Mapping[str, Mapping[str, float]]) -> float:
        """Percentage points above the ceilings, of all balanced nodes together."""
        return sum(
            max(0.0, share - self.goal.ceilings[resource])
            for node, shares in loads.items()
            for resource, share in shares.items()
            if resource in self.goal.ceilings and node not in self.closed
        )

    def holding(self, unripe: frozenset[str]) -> Problem:
        """The same, but VMs on these nodes stay: it may pass by itself."""
        kept = tuple(
            replace(vm, movable=False)
            if self.guests[self.vm_of[vm.pod]].node in unripe and vm.pod not in self.state.broken
            else vm
            for vm in self.vms
        )
        return replace(self, vms=kept)

    def plan(self, budget: Budget = BUDGET) -> Plan:
        """The planner's answer; it may take seconds for a large cluster."""
        return rebalance(self.cluster, self.vms, self.goal, budget)


def pose(
    objects: Objects, policy: Policy, now_s: float, snapshots: Snapshots | None = None
) -> Problem:
    """``snapshots``: of ``reader()``; reads only the Pods that have changed."""
    closed = _not_balanced(objects, policy)
    cluster = (snapshots or reader()).take(
        [_closed(n) if name_of(n) in closed else n for n in objects.nodes],
        objects.pods,
        objects.namespaces,
    )
    known = past.read(objects.vmops, now_s, policy.cooldown_s)
    known = replace(known, rests={**known.rests, **_stopped(objects, policy, now_s)})
    guests = {one.key: one for one in guests_of(objects, policy, known, closed)}
    of_vm: dict[str, list[Object]] = {}
    for vmm in sorted(objects.vmms, key=lambda m: str(m["metadata"]["creationTimestamp"])):
        of_vm.setdefault(vmms.vm_key(vmm), []).append(vmm)
    costs = learned(objects.vmms)
    return Problem(
        cluster=cluster,
        guests=guests,
        vms=tuple(_vm(guest, of_vm.get(guest.key, []), costs) for guest in guests.values()),
        goal=Goal(
            ceilings=dict(policy.ceilings),
            repairs=policy.repairs,
            link_bytes_s=costs.link_bytes_per_s,
            around_s=costs.around_s,
        ),
        past=known,
        closed=closed,
        gone_s=min((rest.until_s for rest in known.rests.values()), default=0.0),
    )


def reader() -> Snapshots:
    """Reads Pods with the rules of their VMs alone, and nodes with what they are to a plan."""
    return Snapshots(_resident, _host)


def _resident(pod: Object) -> Pod:
    own = annotations_of(pod).get(vmpod.AFFINITY_ANNOTATION)
    if own is not None:
        pod = {**pod, "spec": {**pod["spec"], "affinity": json.loads(own)}}
    return pod_of(pod)


def _host(node: Object) -> Node:
    found = node_of(node)
    kept = tuple(taint for taint in found.taints if not taint.key.startswith(_STATES))
    told = len(kept) < len(found.taints) or not nodes.ready(node)
    found = replace(found, taints=kept, unschedulable=found.unschedulable or told)
    if annotations_of(node).get(_CLOSED):
        bottomless = dict.fromkeys(found.allocatable, _BOTTOMLESS)
        found = replace(found, unschedulable=True, allocatable=bottomless)
    return found


_CLOSED = "drover.dev/not-balanced"  # never on an object of the API


def _closed(node: Object) -> Object:
    meta = node["metadata"]
    return {**node, "metadata": {**meta, "annotations": {**annotations_of(node), _CLOSED: "yes"}}}


def _not_balanced(objects: Objects, policy: Policy) -> frozenset[str]:
    """Nodes that run no VMs, and those that are not selected. Another platform's nodes have no mark of ours: there
    all nodes run VMs, where one does."""
    marked = any(nodes.is_vm_node(node) for node in objects.nodes)
    foreign = not marked and any(pods.is_vm(pod) for pod in objects.pods)
    return frozenset(
        name_of(node)
        for node in objects.nodes
        if not (foreign or nodes.is_vm_node(node)) or not policy.nodes.matches(labels_of(node))
    )


def _stopped(objects: Objects, policy: Policy, now_s: float) -> dict[str, Rest]:
    """VMs whose move a person took back: there is no operation that tells of it, but the plan does."""
    return {
        vm: Rest(until_s, "a person has stopped its move")
        for plan in objects.plans
        for vm, until_s in past.stopped(plan, policy.cooldown_s)
        if until_s > now_s
    }


def _vm(guest: Guest, moves: Sequence[Object], costs: Costs) -> Vm:
    key, pod = key_of(guest.pod), pod_of(guest.pod)
    if guest.vm is None:
        return Vm(key, pod.requests.get("memory", 0), movable=not guest.stays)
    load = load_of(guest.vm, moves, costs)
    return Vm(key, int(load.bytes), load.dirty_bytes_per_s, movable=not guest.stays)
