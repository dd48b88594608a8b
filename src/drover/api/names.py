"""Every label, annotation, finalizer, taint and reason string, once."""

from __future__ import annotations

# Labels and annotations that users of the reference platform know.
VM_NAME_LABEL = "vm.kubevirt.internal.virtualization.deckhouse.io/name"
VM_UID_LABEL = "virtualization.deckhouse.io/virtual-machine-uid"
SCHEDULABLE_LABEL = "kubevirt.internal.virtualization.deckhouse.io/schedulable"
HOSTNAME_LABEL = "kubernetes.io/hostname"
NODE_GROUP_LABEL = "node.deckhouse.io/group"
FENCING_ENABLED_LABEL = "node-manager.deckhouse.io/fencing-enabled"
FENCING_DISABLE_ANNOTATION = "node-manager.deckhouse.io/fencing-disable"
DEFAULT_CLASS_ANNOTATION = "virtualmachineclass.virtualization.deckhouse.io/is-default-class"

VM_FINALIZER = "virtualization.deckhouse.io/vm-cleanup"
VMOP_FINALIZER = "virtualization.deckhouse.io/vmop-cleanup"
VMIP_FINALIZER = "virtualization.deckhouse.io/vmip-cleanup"
VMIPLEASE_FINALIZER = "virtualization.deckhouse.io/vmipl-cleanup"
VMCLASS_FINALIZER = "virtualization.deckhouse.io/vmclass-cleanup"
VDISK_FINALIZER = "virtualization.deckhouse.io/vd-cleanup"
VIMAGE_FINALIZER = "virtualization.deckhouse.io/vi-cleanup"

# On operations of the evacuation controller, until they are finished.
EVACUATION_FINALIZER = "virtualization.deckhouse.io/vmop-protection-by-evacuation-controller"
EVACUATION_PREFIX = "evacuation-"
FIRMWARE_UPDATE_PREFIX = "firmware-update-"
PLACEMENT_UPDATE_PREFIX = "nodeplacement-update-"
REBALANCE_PREFIX = "rebalance-"

# On operations that controllers make.
EVACUATION_ANNOTATION = "virtualization.deckhouse.io/evacuation"
WORKLOAD_UPDATE_ANNOTATION = "virtualization.deckhouse.io/workload-update"
MODULE_CONFIG = "virtualization"  # the ModuleConfig that holds the settings
REBALANCE_MODULE = "descheduler"  # the ModuleConfig that switches the rebalancer on
DESCHEDULER = "virtualization"  # the Descheduler that it goes by
# On VMs and their Pods, by users: the rebalancer leaves it alone.
PREFER_NO_EVICTION_ANNOTATION = "descheduler.alpha.kubernetes.io/prefer-no-eviction"

# Ours.
MACHINE_ANNOTATION = "drover.dev/machine"  # on VM Pods: the machine spec, JSON
CLIENT_SIGNER = "kubernetes.io/kube-apiserver-client-kubelet"  # who a node is
SERVING_SIGNER = "kubernetes.io/kubelet-serving"  # its endpoints
MIGRATION_SIGNER = "drover.dev/migration"  # both ends of a migration stream
BOOTSTRAP_GROUP = "system:bootstrappers:drover"  # of hosts with a token of ours
REQUEST_PREFIX = "drover-"  # of the names of our agents' requests for certificates
TOKEN_USED_ANNOTATION = "drover.dev/used-by"  # on a bootstrap token: host and key that it served
MIGRATION_ANNOTATION = "drover.dev/migration"  # on target Pods: name of the vmm
INCARNATION_ANNOTATION = "drover.dev/incarnation"  # on the node's Lease
MACHINES_ANNOTATION = "drover.dev/machines"  # on the node's Lease: what it runs, JSON
EVIDENCE_ANNOTATION = "drover.dev/evidence"  # on the node's Lease: what a renewal says, JSON
EPOCH_ANNOTATION = "drover.dev/epoch"  # on the node's Lease, by the fencing controller
CONDEMNED_ANNOTATION = (
    "drover.dev/condemned"  # on the node's Lease, by the same: the life that must end
)
# On the node's Lease, by a person: the renewal after which the node was off.
CONFIRMED_ANNOTATION = "drover.dev/confirmed-off"
# On Nodes, by their agent: the firmware bundles on offer, JSON. On VM Pods: the version that is wished for.
FIRMWARE_ANNOTATION = "drover.dev/firmware"
# On Nodes, by their agent: which watchdog guards its VMs (deadline, device, none), and why it cannot.
WATCHDOG_ANNOTATION = "drover.dev/watchdog"
SANDBOXED_CONDITION = "Sandboxed"  # of a Node: whether its QEMUs are confined as they should be
WATCHDOG_TROUBLE_ANNOTATION = "drover.dev/watchdog-trouble"
FIRMWARE_NOT_OFFERED = "FirmwareNotOffered"  # reason of an Event of a VM Pod
STOP_ANNOTATION = "drover.dev/stop"  # on VM Pods, by the vm controller: "graceful" or "force"
EVICTION_ANNOTATION = "drover.dev/eviction-requested"  # on VM Pods: api.evacuation.Mark, JSON
BLOCKED_ANNOTATION = "drover.dev/evacuation-blocked"  # on VM Pods: api.evacuation.Blocked, JSON
PLAN_ANNOTATION = "drover.dev/plan"  # on operations of controllers: vmm.spec.plan, JSON
REBALANCE_ANNOTATION = "drover.dev/rebalance-plan"  # on its operations: name of the RebalancePlan
HELD_FINALIZER = "drover.dev/held"  # on a vml that has a holder
VMM_FINALIZER = "drover.dev/migration"  # on a vmm until its outcome stands
FENCE_FINALIZER = "drover.dev/fence"  # on a NodeFence while a vml names the life it is about
REJOINING_TAINT = (
    "drover.dev/rejoining"  # on a Node whose former life was fenced, until it has been healthy
)
VM_NODE_TAINT = "drover.dev/vm-node"
VM_PRIORITY_CLASS = "drover-vm"
COMPUTE_CONTAINER = "d8v-compute"
POD_PREFIX = "d8v-vm-"
NODE_LEASE_NAMESPACE = "kube-node-lease"
SYSTEM_NAMESPACE = "drover-system"
SERVERS = "drover-servers"  # ConfigMap there: URL of each server of the control plane, by name

# Identities.
CONTROLLERS_USER = "drover:controllers"
NODE_USER_PREFIX = "system:node:"
NODES_GROUP = "system:nodes"

# What keeps a guest from running, as its Pod says: reasons of a waiting container, of the condition Ready, of Events.
PROVISIONING_NOT_READY = "ProvisioningNotReady"
HOST_TROUBLE = "HostTrouble"
DISK_ERROR = "DiskError"


class LastReason:
    """Why a VM lease was last released or broken (``vml.spec.lastReason``). Restart decisions read only this."""

    GUEST_SHUTDOWN = "GuestShutdown"
    GUEST_RESET = "GuestReset"
    GUEST_PANICKED = "GuestPanicked"
    CRASHED = "Crashed"  # QEMU died by itself or was killed by a stranger
    STOPPED = "Stopped"  # our own request, guest shut down in time
    STOPPED_FORCED = "StoppedForced"  # our own request, killed after the grace period
    POD_DELETED = "PodDeleted"  # somebody deleted the Pod; QEMU was stopped for it
    START_FAILED = "StartFailed"  # QEMU never ran
    RESET_DURING_MIGRATION = "ResetDuringMigration"  # neither copy may go on
    NODE_RESTARTED = "NodeRestarted"  # the node booted anew; its former copies are dead
    NODE_LOST = "NodeLost"  # broken after fencing
    RESTORED = "Restored"  # settled anew after a backup was restored


class VmmPhase:
    """Phases of a VirtualMachineMigration, in order."""

    PENDING = "Pending"
    SCHEDULING = "Scheduling"
    PREPARING = "Preparing"
    READY = "Ready"
    COPYING = "Copying"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"
    ABORTED = "Aborted"
    FINAL = (SUCCEEDED, FAILED, ABORTED)
