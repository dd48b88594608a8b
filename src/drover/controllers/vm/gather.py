"""Reads the caches into a ``VmView``. The Secret with user data is read live and only before a start: controllers
keep no copy of the users' secrets."""

from __future__ import annotations

from dataclasses import dataclass

from drover.api import firmware, names
from drover.api.kinds import nodefence
from drover.api.kinds import pod as pods
from drover.api.kinds import vm as vms
from drover.api.kinds import vmclass as classes
from drover.api.kinds import vml as vmls
from drover.api.kinds import vmm as vmms
from drover.api.kinds.vm import DeviceKind, DeviceRef
from drover.api.meta import name_of, namespace_of, uid_of
from drover.api.names import VM_NAME_LABEL, LastReason
from drover.api.scheme import (
    CVIMAGE,
    LEASE,
    NODEFENCE,
    POD,
    SECRET,
    VDISK,
    VIMAGE,
    VM,
    VMCLASS,
    VMIP,
    VML,
    VMM,
    key_of,
)
from drover.api.status import NotFound
from drover.api.wire import Object
from drover.base.clock import Clock, parse_rfc3339
from drover.controllers.vm.view import Device, Refusal, VmView
from drover.runtime.client import Client
from drover.runtime.informer import Informer
from drover.runtime.manager import Manager

USER_DATA_KEYS = ("userData", "userdata")


def claim_key_of(vm: Object) -> str:
    return f"{namespace_of(vm)}/{vms.ip_claim_name(vm) or name_of(vm)}"


def device_keys_of(vm: Object) -> list[str]:
    """``kind/namespace/name`` or ``kind/name`` of each block device."""
    return [_device_key(namespace_of(vm), ref) for ref in vms.devices(vm)]


def life_of(lease: Object) -> str:
    """The life of a node that holds it; ``/`` when nobody does."""
    held = not vmls.released(lease)
    return f"{vmls.node(lease)}/{vmls.incarnation(lease)}" if held else "/"


def lost_index(lease: Object) -> list[str]:
    """Broken, and not acquired since: ``yes``."""
    broken = vmls.released(lease) and vmls.last_reason(lease) == LastReason.NODE_LOST
    return ["yes"] if broken else []


def dead_life(fence: Object) -> list[str]:
    """The life that a NodeFence proves dead."""
    proved = nodefence.proves_dead(fence)
    return [f"{nodefence.node(fence)}/{nodefence.incarnation(fence)}"] if proved else []


def _device_key(namespace: str, ref: DeviceRef) -> str:
    cluster_wide = ref.kind is DeviceKind.CLUSTER_IMAGE
    return f"{ref.kind}/{ref.name}" if cluster_wide else f"{ref.kind}/{namespace}/{ref.name}"


@dataclass(frozen=True)
class Caches:
    """The informers of the vm controller, with their indices."""

    vms: Informer
    leases: Informer
    pods: Informer
    moves: Informer
    classes: Informer
    claims: Informer
    disks: Informer
    images: Informer
    cluster_images: Informer
    fences: Informer

    @staticmethod
    def of(manager: Manager) -> Caches:
        caches = Caches(
            vms=manager.informer(VM),
            leases=manager.informer(VML),
            pods=manager.informer(POD, labels=VM_NAME_LABEL),
            moves=manager.informer(VMM),
            classes=manager.informer(VMCLASS),
            claims=manager.informer(VMIP),
            disks=manager.informer(VDISK),
            images=manager.informer(VIMAGE),
            cluster_images=manager.informer(CVIMAGE),
            fences=manager.informer(NODEFENCE),
        )
        caches.pods.add_index("vm", lambda pod: [pods.vm_key(pod)])
        caches.moves.add_index("vm", lambda move: [vmms.vm_key(move)])
        caches.vms.add_index("claim", lambda vm: [claim_key_of(vm)])
        caches.vms.add_index("device", device_keys_of)
        caches.vms.add_index("class", lambda vm: [vms.class_name(vm)])
        caches.disks.add_index("holder", _holder_uid)
        caches.leases.add_index("lost", lost_index)
        caches.leases.add_index("life", lambda lease: [life_of(lease)])
        caches.fences.add_index("dead", dead_life)
        return caches

    def device(self, namespace: str, ref: DeviceRef) -> Object | None:
        if ref.kind is DeviceKind.CLUSTER_IMAGE:
            return self.cluster_images.get(ref.name)
        cache = self.disks if ref.kind is DeviceKind.DISK else self.images
        return cache.get(f"{namespace}/{ref.name}")

    def class_name(self, vm: Object) -> str:
        """The one the VM names, else the default one."""
        named = vms.class_name(vm)
        found = None if named else classes.chosen("", self.classes.all())
        return named or (name_of(found) if found is not None else "")


def _holder_uid(disk: Object) -> list[str]:
    held = (disk.get("status") or {}).get("heldBy")
    return [str(held["uid"])] if held else []


def _age(obj: Object) -> tuple[str, str]:
    return str(obj["metadata"].get("creationTimestamp", "")), name_of(obj)


async def gather(
    caches: Caches,
    client: Client,
    clock: Clock,
    vm: Object,
    refusal: Refusal | None,
    wanted_firmware: str,
) -> VmView:
    """One look at one VM."""
    key, namespace = key_of(vm), namespace_of(vm)
    class_name = caches.class_name(vm)
    claim_key = claim_key_of(vm)
    lease = caches.leases.get(key)
    own_pods = [pod for pod in caches.pods.by_index("vm", key) if _owned(pod, vm)]
    holder = vmls.holder(lease) if lease is not None else ""
    told = [firmware.running_on(pod) for pod in own_pods if uid_of(pod) == holder]
    before = str((vms.status(vm).get("versions") or {}).get("qemu", "")) if holder else ""
    under_way = any(not pods.ended(pod) for pod in own_pods)
    started = (vms.status(vm).get("stats") or {}).get("lastStartTime")
    return VmView(
        vm=vm,
        now_s=clock.wall(),
        vmclass=caches.classes.get(class_name) if class_name else None,
        class_name=class_name,
        claim=caches.claims.get(claim_key),
        claim_name=claim_key.partition("/")[2],
        devices=tuple(Device(ref, caches.device(namespace, ref)) for ref in vms.devices(vm)),
        held_disks=tuple(caches.disks.by_index("holder", uid_of(vm))),
        secret_problem="" if under_way else await secret_problem(client, vm),
        refusal=refusal.message if refusal is not None else "",
        refusal_wait_s=refusal.until_s - clock.monotonic() if refusal is not None else 0.0,
        qemu_version="".join(told) or before,  # a guest that has just arrived is not told of yet
        wanted_firmware=wanted_firmware,
        lease=lease,
        holder_dead=lease is not None and bool(caches.fences.by_index("dead", life_of(lease))),
        holder_unknown=await _holder_unknown(client, lease, own_pods),
        pods=tuple(sorted(own_pods, key=_age)),
        moves=tuple(sorted(caches.moves.by_index("vm", key), key=_age)),
        started_s=parse_rfc3339(started) if started else None,
    )


def _owned(pod: Object, vm: Object) -> bool:
    return any(ref["uid"] == uid_of(vm) for ref in pod["metadata"].get("ownerReferences") or [])


async def _holder_unknown(client: Client, lease: Object | None, own_pods: list[Object]) -> bool:
    """Its Pod is gone, and its node has never joined, or what it joined with was removed. A living agent makes its
    Lease anew within seconds."""
    if lease is None or vmls.released(lease):
        return False
    if any(uid_of(pod) == vmls.holder(lease) for pod in own_pods):
        return False
    try:
        await client.get(LEASE, vmls.node(lease), names.NODE_LEASE_NAMESPACE)
    except NotFound:
        return True
    return False


async def secret_problem(client: Client, vm: Object) -> str:
    """Why the Secret that the VM names cannot serve; empty when it can, or none is named."""
    name = vms.user_data_secret(vm)
    if not name:
        return ""
    try:
        secret = await client.get(SECRET, name, namespace_of(vm))
    except NotFound:
        return f'Secret "{name}" does not exist'
    if not any(key in (secret.get("data") or {}) for key in USER_DATA_KEYS):
        return f'Secret "{name}" has no key {USER_DATA_KEYS[0]}'
    return ""
