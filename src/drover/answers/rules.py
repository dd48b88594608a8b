"""Per reason: the rule behind it, and the way out. What happened is said by the condition itself.

The tables are complete: a test holds that every reason of a VM and of an operation stands in a table or in its list of
those that need no explanation. Way outs are filled with ``{vm}``, ``{namespace}``, ``{node}`` and ``{operation}``; a
command is written as users call it, ``drover ...``.
"""

from __future__ import annotations

from dataclasses import dataclass

from drover.answers.because import Topic
from drover.api.evacuation import BlockedReason
from drover.api.kinds.vm import VmReason
from drover.api.kinds.vmop import VmopReason
from drover.api.names import DISK_ERROR, HOST_TROUBLE, PROVISIONING_NOT_READY


@dataclass(frozen=True, slots=True)
class Rule:
    """``says`` stands in where the condition has no message."""

    about: Topic
    rule: str
    way_out: str = ""
    says: str = ""


_DESCRIBE = "`drover k describe vm {vm} -n {namespace}` tells more"
_OPERATIONS = "`drover k get vmop -n {namespace}` lists the operations of this namespace"
_AGAIN = "`drover evict {vm} -n {namespace}` tries again"
_ROOM = "make room, add a node, or loosen the VM's placement rules; it is tried again by itself when something changes"

# Conditions of a VM.
VM_RULES: dict[str, Rule] = {
    VmReason.CLASS_NOT_EXISTS: Rule(
        Topic.START,
        "a VM starts only under a VirtualMachineClass that exists",
        "`drover k get vmclass` lists them; name one in spec.virtualMachineClassName, or make one the default",
    ),
    VmReason.CLASS_NOT_READY: Rule(
        Topic.START,
        "a VM starts only under a VirtualMachineClass that is Ready: one that some node suits",
        "`drover k describe vmclass` tells what no node has",
    ),
    VmReason.SIZING_POLICY_NOT_MATCHED: Rule(
        Topic.START,
        "a VM starts only in a size that its class allows",
        "change spec.cpu or spec.memory, or take another class",
    ),
    VmReason.BLOCK_DEVICES_NOT_READY: Rule(
        Topic.START,
        "a VM starts only when each of its block devices is Ready and no other VM holds its disks",
        "make what is missing, or take it out of spec.blockDeviceRefs; it starts by itself then",
    ),
    VmReason.IP_ADDRESS_NOT_READY: Rule(
        Topic.START,
        "a VM starts only with an address of its own",
        "`drover k describe vmip -n {namespace}` tells more; free an address, or name another one in "
        "spec.virtualMachineIPAddressName",
    ),
    VmReason.PROVISIONING_NOT_READY: Rule(
        Topic.START,
        "a VM starts only with its user data at hand",
        "make the Secret that spec.provisioning names, with the key userData",
    ),
    VmReason.POD_NOT_STARTED: Rule(
        Topic.START,
        "a VM's Pod reserves its CPU and memory on one node before its guest starts",
        _ROOM,
        "Its Pod is not started",
    ),
    VmReason.NO_CAPACITY: Rule(
        Topic.START,
        "VMs of a lost node start elsewhere by priority, then age, as far as there is room",
        "make room or add a node; it starts by itself then",
    ),
    VmReason.GUEST_NOT_RUNNING: Rule(
        Topic.START,
        "a guest runs only while the VM's lease names its Pod",
        _DESCRIBE,
        "The guest does not run yet",
    ),
    VmReason.INTERNAL_ERROR: Rule(
        Topic.START,
        "a lost lease is no released one: it is rebuilt only when every node has told what it runs",
        "bring back the nodes that are silent, or `drover fence confirm` those that are off",
    ),
    VmReason.POD_NOT_FOUND: Rule(
        Topic.START,
        "nothing starts elsewhere before the node has released the lease",
        "wait for the node; when it is off, `drover fence confirm {node}`",
    ),
    VmReason.NODE_UNKNOWN: Rule(
        Topic.START,
        "nothing starts elsewhere before the node has released the lease, or is known to be off",
        "start the node again; where there is none of that name, or it is off: `drover fence confirm {node}`",
    ),
    VmReason.POD_TERMINATING: Rule(
        Topic.START,
        "a VM that stops gets terminationGracePeriodSeconds to shut down",
        "`drover stop {vm} -n {namespace} --force` ends it at once",
        "Its guest is being stopped",
    ),
    VmReason.CHANGES_PENDING_RESTART: Rule(
        Topic.RESTART,
        "some fields apply only to a guest that starts anew; restartApprovalMode Manual leaves the moment to you",
        "`drover restart {vm} -n {namespace}`",
    ),
    VmReason.FIRMWARE_OUT_OF_DATE: Rule(
        Topic.MOVE,
        "a VM gets another QEMU by moving to a node that offers it",
        "`drover firmware list` tells who offers it",
    ),
    VmReason.EVICTION_REQUIRED: Rule(
        Topic.MOVE,
        "an evicted VM leaves its node by a live migration; its Pod goes when it has arrived elsewhere",
        "`drover uncordon {node}` calls the maintenance off",
        "It was asked to leave its node",
    ),
    VmReason.NON_MIGRATABLE: Rule(
        Topic.MOVE,
        "only a VM that is migratable can move while it runs",
        "`drover stop {vm} -n {namespace}`",
    ),
    VmReason.DISKS_NOT_MIGRATABLE: Rule(
        Topic.MOVE,
        "a VM moves only with disks that both nodes reach",
        "`drover stop {vm} -n {namespace}`",
    ),
    VmReason.NO_BOOTABLE_DEVICE: Rule(
        Topic.START,
        "a guest boots from one of its block devices",
        "name a bootable disk in spec.blockDeviceRefs",
    ),
}
# NotRunning is explained from the VM's power memory (``start``), Migrating from its operation (``operation``).
VM_ELSEWHERE = frozenset({VmReason.NOT_RUNNING, VmReason.PENDING, VmReason.IN_PROGRESS})
# What needs no explanation: all is well, or another condition says the same.
VM_QUIET = frozenset(
    {
        VmReason.RUNNING, VmReason.READY_TO_MIGRATE, VmReason.MIGRATABLE, VmReason.BLOCK_DEVICES_READY,
        VmReason.IP_ADDRESS_READY, VmReason.IP_ADDRESS_NOT_ASSIGNED, VmReason.CLASS_READY, VmReason.PROVISIONING_READY,
        VmReason.AGENT_READY, VmReason.AGENT_NOT_READY, VmReason.SIZING_POLICY_MATCHED, VmReason.CONFIGURATION_APPLIED,
        VmReason.CONFIGURATION_NOT_APPLIED, VmReason.NO_RESTART_REQUIRED,
    }
)  # fmt: skip

# What keeps a guest from running, as its Pod says (``pods.trouble``).
TROUBLES: dict[str, Rule] = {
    PROVISIONING_NOT_READY: VM_RULES[VmReason.PROVISIONING_NOT_READY],
    HOST_TROUBLE: Rule(
        Topic.START,
        "the node's agent tries again until its host lets QEMU start",
        "mend the host {node}, or `drover stop {vm} -n {namespace}` and start it where it fits",
    ),
    DISK_ERROR: Rule(
        Topic.START,
        "a guest whose disk fails is paused rather than told of the failure",
        "make the disk's storage reachable and give it room",
    ),
}

# Why a marked VM does not leave its node (condition EvacuationBlocked).
BLOCKED_RULES: dict[str, Rule] = {
    BlockedReason.NO_ROOM: Rule(
        Topic.DRAIN,
        "a VM leaves only for a node that takes it now",
        "make room on another node, loosen the VM's placement rules, or `drover stop {vm} -n {namespace}`",
    ),
    BlockedReason.NOT_MIGRATABLE: Rule(
        Topic.DRAIN,
        "only a VM that is migratable can move while it runs",
        "`drover stop {vm} -n {namespace}` ends it here; it starts elsewhere when you start it",
    ),
    BlockedReason.NOT_RUNNING: Rule(
        Topic.DRAIN,
        "a VM that is about to start or to stop does that before it moves",
        "mend what keeps it from running, or `drover stop {vm} -n {namespace}`",
    ),
    BlockedReason.FAILED: Rule(
        Topic.DRAIN,
        "a failed move is tried again after a wait that grows to 5 minutes",
        "`drover k describe vmop -n {namespace}` tells more",
    ),
}

_ONE_AT_A_TIME = "one operation at a time is done to a VM"
_SLOTS = "migrations wait for slots: of the cluster, and of source and target node (docs/limits.md)"
_COPYING = "a migration copies memory while the guest runs, and pauses it only for the rest"

# Conditions of an operation.
VMOP_RULES: dict[str, Rule] = {
    VmopReason.VM_NOT_FOUND: Rule(
        Topic.OPERATION, "an operation needs its VM", "`drover k get vm -n {namespace}` lists them"
    ),
    VmopReason.NOT_APPLICABLE_FOR_RUN_POLICY: Rule(
        Topic.OPERATION,
        "runPolicy decides what may be asked: AlwaysOn allows no Start and no Stop, AlwaysOff nothing",
        "change spec.runPolicy of the VM",
    ),
    VmopReason.NOT_APPLICABLE_FOR_PHASE: Rule(
        Topic.OPERATION,
        "Start is for a stopped VM, Stop and Restart for one that is on, Evict and Migrate for a Running one",
        "`drover why {vm} -n {namespace}` tells how the VM stands",
    ),
    VmopReason.NOT_APPLICABLE_FOR_LIVE_MIGRATION_POLICY: Rule(
        Topic.OPERATION,
        "liveMigrationPolicy says whether a guest may be slowed down for a move; force must not contradict it",
        "leave force out, or change spec.liveMigrationPolicy",
    ),
    VmopReason.NOT_READY_TO_BE_EXECUTED: Rule(
        Topic.OPERATION, _ONE_AT_A_TIME, f"ask again when the earlier one is over; {_OPERATIONS}"
    ),
    VmopReason.OTHER_MIGRATION_IN_PROGRESS: Rule(
        Topic.OPERATION, _ONE_AT_A_TIME, "ask again when the VM has arrived"
    ),
    VmopReason.SUPERSEDED: Rule(
        Topic.OPERATION, "a later Stop or Restart takes the place of what goes on"
    ),
    VmopReason.RESTART_IN_PROGRESS: Rule(
        Topic.OPERATION, "a restart is over when the guest runs in a new Pod"
    ),
    VmopReason.START_IN_PROGRESS: Rule(
        Topic.OPERATION,
        "a start is over when the guest runs",
        "`drover why {vm} -n {namespace}` tells what it waits for",
    ),
    VmopReason.STOP_IN_PROGRESS: Rule(
        Topic.OPERATION,
        "a guest gets terminationGracePeriodSeconds to shut down",
        "`drover stop {vm} -n {namespace} --force` ends it at once",
    ),
    VmopReason.MIGRATION_PENDING: Rule(
        Topic.MOVE, _SLOTS, "wait, or raise the limits in ModuleConfig virtualization"
    ),
    VmopReason.WAITING_FOR_SYNC_SLOT: Rule(
        Topic.MOVE, _SLOTS, "wait, or raise the limits in ModuleConfig virtualization"
    ),
    VmopReason.QUOTA_EXCEEDED: Rule(
        Topic.MOVE,
        "the target of a migration is a second Pod, and quotas count it",
        "raise the ResourceQuota of namespace {namespace}; it goes on by itself then",
    ),
    VmopReason.TARGET_SCHEDULING: Rule(
        Topic.MOVE, "kube-scheduler chooses the node of the target Pod"
    ),
    VmopReason.TARGET_UNSCHEDULABLE: Rule(
        Topic.MOVE, "the target Pod reserves all that the VM needs on another node", _ROOM
    ),
    VmopReason.TARGET_DISK_ERROR: Rule(
        Topic.MOVE,
        "the target's node opens every disk of the VM before memory is copied",
        f"make the disk reachable from every node; {_AGAIN}",
    ),
    VmopReason.TARGET_PREPARING: Rule(
        Topic.MOVE, "the target's QEMU waits for the guest before its memory is copied"
    ),
    VmopReason.SYNCING: Rule(
        Topic.MOVE, _COPYING, "deleting the operation aborts it; the guest stays where it is"
    ),
    VmopReason.NOT_CONVERGING: Rule(
        Topic.MOVE,
        "a copy ends only when the guest writes slower than the link carries",
        "`drover evict {vm} -n {namespace} --force` lets the guest be slowed down",
    ),
    VmopReason.SOURCE_SUSPENDED: Rule(
        Topic.MOVE, "past the hand-over of the lease the target owns the guest"
    ),
    VmopReason.TARGET_RESUMED: Rule(
        Topic.MOVE, "past the hand-over of the lease the target owns the guest"
    ),
    VmopReason.ABORTED: Rule(
        Topic.MOVE,
        "an aborted move leaves the guest running where it was",
        _AGAIN,
        "The migration was aborted",
    ),
    VmopReason.FAILED: Rule(
        Topic.MOVE, "a failed move leaves the guest running where it was", _AGAIN
    ),
    VmopReason.OPERATION_FAILED: Rule(
        Topic.OPERATION,
        "a failed operation leaves the guest as it was",
        "look at the message, and ask again",
    ),
    VmopReason.SIGNAL_SENT_ERROR: Rule(
        Topic.OPERATION,
        "an operation is asked of the VM by an annotation",
        "it is tried again by itself",
    ),
    VmopReason.WAITING_FOR_VM_READY_TO_MIGRATE: Rule(
        Topic.MOVE, "a VM moves when it shows Migrating"
    ),
}
VMOP_QUIET = frozenset(
    {VmopReason.COMPLETED, VmopReason.OPERATION_COMPLETED, VmopReason.SIGNAL_SENT_SUCCESS}
)
