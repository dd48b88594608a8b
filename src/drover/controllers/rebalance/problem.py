"""From API objects to the planner's question: which cluster, which VMs may move, what is wished. Pure.

The controller and ``drover rebalance plan`` ask by this one function, so they get one answer; so does ``drover plan``
about a snapshot. VMs are judged by their own rules: what a target Pod carries of the migration that made it is left
out. A VM that is being moved by anybody is none of the planner's VMs: both its Pods just take room.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

from drover.api import conditions, names, placement, vmpod
from drover.api.kinds import node as nodes
from drover.api.kinds import pod as pods
from drover.api.kinds import vm as vms
from drover.api.kinds import vmclass as classes
from drover.api.kinds import vmm as vmms
from drover.api.kinds import vmop as vmops
from drover.api.kinds.vm import VmCondition, VmPhase
from drover.api.meta import annotations_of, is_deleting, labels_of, name_of, namespace_of
from drover.api.scheme import key_of
from drover.api.wire import Object
from drover.controllers.costs import link_bytes_per_s, load_of
from drover.controllers.planning import Snapshots, node_of, pod_of, target_of
from drover.controllers.rebalance import past
from drover.controllers.rebalance.past import Past, Rest
from drover.controllers.rebalance.policy import Policy
from drover.planner import Budget, Cluster, Goal, Node, Plan, Pod, State, Vm, rebalance, state

# Taints by which Kubernetes and we tell of a node's state: nothing comes, and nobody is asked to leave.
_STATES = ("node.kubernetes.io/", names.REJOINING_TAINT)
_BOTTOMLESS = 2**48  # of every resource of a node that is not balanced: no threshold concerns it
BUDGET = Budget(moves=2000)
WITHOUT_PROOF = Budget(moves=2000, rounds=0)


@dataclass(frozen=True)
class Objects:
    """What the question is made of, as the API has it."""

    nodes: Sequence[Object] = ()
    pods: Sequence[Object] = ()
    namespaces: Sequence[Object] = ()
    vms: Sequence[Object] = ()
    classes: Sequence[Object] = ()
    vmops: Sequence[Object] = ()
    vmms: Sequence[Object] = ()
    plans: Sequence[Object] = ()  # RebalancePlans


@dataclass(frozen=True)
class Guest:
    """A running VM with the one Pod that carries it. ``stays``: why it is not moved now; empty: it may be. ``ours``:
    False for one that the policy leaves out altogether."""

    key: str
    pod: Object
    vm: Object | None
    vmclass: Object | None
    stays: str = ""
    ours: bool = True

    @property
    def node(self) -> str:
        return pods.node_name(self.pod)

    @property
    def target(self) -> Pod:
        """The Pod that a move would make."""
        known = self.vm is not None and self.vmclass is not None
        now = vmpod.Now(self.vm, self.vmclass) if known else None  # type: ignore[arg-type]
        return target_of(self.pod, now=now)


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
    guests = {one.key: one for one in _guests(objects, policy, known, closed)}
    of_vm: dict[str, list[Object]] = {}
    for vmm in sorted(objects.vmms, key=lambda m: str(m["metadata"]["creationTimestamp"])):
        of_vm.setdefault(f"{namespace_of(vmm)}/{vmms.vm_name(vmm)}", []).append(vmm)
    return Problem(
        cluster=cluster,
        guests=guests,
        vms=tuple(_vm(guest, of_vm.get(guest.key, [])) for guest in guests.values()),
        goal=Goal(
            ceilings=dict(policy.ceilings),
            repairs=policy.repairs,
            link_bytes_s=link_bytes_per_s(objects.vmms),
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


def _guests(
    objects: Objects, policy: Policy, known: Past, closed: frozenset[str]
) -> Iterable[Guest]:
    """The VMs with exactly one Pod that takes room, in the order of names."""
    of_vm: dict[str, list[Object]] = {}
    for pod in objects.pods:
        if pods.is_vm(pod) and not pods.ended(pod):
            of_vm.setdefault(f"{namespace_of(pod)}/{pods.vm_name(pod)}", []).append(pod)
    by_key = {key_of(vm): vm for vm in objects.vms}
    judge = _Judge(objects, policy, known, closed)
    for key, found in sorted(of_vm.items()):
        if len(found) == 1 and pods.node_name(found[0]) and not pods.deleting(found[0]):
            vm = by_key.get(key)
            vmclass = classes.chosen(vms.class_name(vm), objects.classes) if vm else None
            yield judge.guest(Guest(key, found[0], vm, vmclass))


class _Judge:
    """Says of each VM why it is not to be moved."""

    def __init__(
        self, objects: Objects, policy: Policy, known: Past, closed: frozenset[str]
    ) -> None:
        self._policy = policy
        self._past = known
        self._closed = closed
        self._nodes = {name_of(node): node for node in objects.nodes}
        self._spaces = {name_of(space): labels_of(space) for space in objects.namespaces}
        self._busy = {
            past.vm_key(vmop): name_of(vmop) for vmop in objects.vmops if not vmops.finished(vmop)
        }

    def guest(self, guest: Guest) -> Guest:
        left_out = self._left_out(guest)
        if left_out:
            return replace(guest, stays=left_out, ours=False)
        rest: Rest | None = self._past.rests.get(guest.key)
        return replace(guest, stays=self._hindered(guest) or (rest.why if rest else ""))

    def _left_out(self, guest: Guest) -> str:
        """By the policy or by its owner."""
        pod, policy = guest.pod, self._policy
        if guest.node in self._closed:
            return "its node is not balanced"
        if names.PREFER_NO_EVICTION_ANNOTATION in annotations_of(pod):
            return f"annotation {names.PREFER_NO_EVICTION_ANNOTATION}"
        if not policy.pods.matches(labels_of(pod)):
            return "podLabelSelector does not select it"
        if not policy.namespaces.matches(self._spaces.get(namespace_of(pod), {})):
            return "namespaceLabelSelector does not select its namespace"
        if int(pod["spec"].get("priority") or 0) >= policy.priority_below:
            return f"its priority is not below {policy.priority_below}"
        volumes = pod["spec"].get("volumes") or []
        local = any("emptyDir" in one or "hostPath" in one for one in volumes)
        if local and not policy.local_storage:
            return "its Pod has local storage, and evictLocalStoragePods is not set"
        return ""

    def _hindered(self, guest: Guest) -> str:
        """By what goes on."""
        vm, node = guest.vm, self._nodes.get(guest.node)
        if node is None or not nodes.ready(node):
            return f"its node {guest.node} is not Ready"
        if guest.key in self._busy:
            return f"operation {self._busy[guest.key]} is not finished"
        if vm is None:  # a snapshot of a foreign cluster
            return ""
        migratable = conditions.get_condition(vm, VmCondition.MIGRATABLE) or {}
        if migratable.get("status") == conditions.FALSE:
            return str(migratable.get("message") or "it cannot be migrated")
        if is_deleting(vm) or vms.phase(vm) is not VmPhase.RUNNING:
            return f"it is {vms.phase(vm)}"
        if conditions.is_true(vm, VmCondition.EVICTION_REQUIRED):
            return "it is asked to leave its node"
        made_from = annotations_of(guest.pod).get(placement.DIGEST_ANNOTATION, "")
        if guest.vmclass is None:
            return "its class cannot be found"
        if made_from and made_from != placement.digest(vm, guest.vmclass):
            return "its placement was changed: the placement controller moves it"
        return ""


def _stopped(objects: Objects, policy: Policy, now_s: float) -> dict[str, Rest]:
    """VMs whose move a person took back: there is no operation that tells of it, but the plan does."""
    return {
        vm: Rest(until_s, "a person has stopped its move")
        for plan in objects.plans
        for vm, until_s in past.stopped(plan, policy.cooldown_s)
        if until_s > now_s
    }


def _vm(guest: Guest, moves: Sequence[Object]) -> Vm:
    key, pod = key_of(guest.pod), pod_of(guest.pod)
    if guest.vm is None:
        return Vm(key, pod.requests.get("memory", 0), movable=not guest.stays)
    load = load_of(guest.vm, moves)
    return Vm(key, int(load.bytes), load.dirty_bytes_per_s, movable=not guest.stays)
