"""The running VMs, and of each why it is not moved now: what its owner, the policy or others have to say. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from drover.api import conditions, names, placement, vmpod
from drover.api.kinds import node as nodes
from drover.api.kinds import pod as pods
from drover.api.kinds import vm as vms
from drover.api.kinds import vmclass as classes
from drover.api.kinds import vmop as vmops
from drover.api.kinds.vm import VmCondition, VmPhase
from drover.api.meta import annotations_of, is_deleting, labels_of, name_of, namespace_of
from drover.api.scheme import key_of
from drover.api.wire import Object
from drover.controllers.planning import target_of
from drover.controllers.rebalance.past import Past, Rest
from drover.controllers.rebalance.policy import Policy
from drover.planner import Pod


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
    rests: bool = False  # it stays for its last move's sake alone

    @property
    def node(self) -> str:
        return pods.node_name(self.pod)

    @property
    def target(self) -> Pod:
        """The Pod that a move would make."""
        known = self.vm is not None and self.vmclass is not None
        now = vmpod.Now(self.vm, self.vmclass) if known else None  # type: ignore[arg-type]
        return target_of(self.pod, now=now)


def guests(
    objects: Objects, policy: Policy, known: Past, closed: frozenset[str]
) -> Iterable[Guest]:
    """The VMs with exactly one Pod that takes room, in the order of names."""
    of_vm: dict[str, list[Object]] = {}
    for pod in objects.pods:
        if pods.is_vm(pod) and not pods.ended(pod):
            of_vm.setdefault(pods.vm_key(pod), []).append(pod)
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
            vmops.vm_key(vmop): name_of(vmop) for vmop in objects.vmops if not vmops.finished(vmop)
        }

    def guest(self, guest: Guest) -> Guest:
        left_out = self._left_out(guest)
        if left_out:
            return replace(guest, stays=left_out, ours=False)
        rest: Rest | None = self._past.rests.get(guest.key)
        hindered = self._hindered(guest)
        if hindered or rest is None:
            return replace(guest, stays=hindered)
        return replace(guest, stays=rest.why, rests=True)

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
