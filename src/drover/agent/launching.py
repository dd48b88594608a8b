"""Starting the QEMU of a copy: fresh, or waiting for its guest.

The order: what it needs (tap, seed), then for a fresh start the last look at the lease, and at the Pod after that, then
the mark that a process may exist, then the process. An incoming copy listens first, and says so as soon as the
migration names it: the control plane goes its way, and the source connects, while QEMU starts.
"""

from __future__ import annotations

import base64
from dataclasses import replace
from typing import TYPE_CHECKING

import msgspec

from drover.agent import report
from drover.agent.ports import (
    DiskUnavailable,
    HostError,
    HypervisorError,
    ImageLocked,
    Listener,
    MachineSpec,
    MonitorSilent,
    Share,
)
from drover.agent.publisher import Subject
from drover.agent.view import LeaseState
from drover.api import firmware, names, scheme, status, vmpod
from drover.api.kinds import pod as pods
from drover.api.kinds import vmm as vmms
from drover.api.names import LastReason
from drover.api.wire import Object
from drover.base import quantity
from drover.base.tasks import TaskScope

if TYPE_CHECKING:
    from drover.agent.keeper import Keeper

LISTENING = "listening"  # journal mark: address and port of an incoming copy


class BadMachine(Exception):
    """The Pod's machine annotation is missing or no machine spec."""


class NoUserData(Exception):
    """The Secret with the user data is not there, or has none; ``str()`` says so. It may come."""


def spec_of(pod: Object) -> MachineSpec | None:
    """The machine spec of a VM Pod; None when the annotation is unusable."""
    try:
        spec = msgspec.json.decode(pods.machine_json(pod), type=MachineSpec)
    except msgspec.DecodeError:
        return None
    return replace(spec, firmware=firmware.wish_of(pod) or spec.firmware)


async def begin(keeper: Keeper) -> None:
    """Before the first look: note whose copy this is and which lease let it go on, and take back the mark of a start
    that never came to be, since the agent died between the mark and the process."""
    context = keeper.context
    context.journal.put(keeper.copy, "vm", keeper.vm)
    context.leases.epochs.note_mark(context.journal.get(keeper.copy, "resuming") or "")
    marked = context.journal.get(keeper.copy, "started") is not None
    ended = context.journal.get(keeper.copy, "ended") is not None
    unsure = marked and not ended and keeper.machine is None
    if unsure and not await context.hypervisor.was_made(keeper.copy):
        context.journal.drop(keeper.copy, "started")
        keeper.log.mark("start.never-was")


def share_of(pod: Object, spec: MachineSpec) -> Share:
    """What the Pod asks for; of one that does not say, what the machine has."""
    asked = (pod.get("spec") or {}).get("containers", [{}])[0].get("resources") or {}
    limits, requests = asked.get("limits") or {}, asked.get("requests") or {}
    cpu, memory = requests.get("cpu"), limits.get("memory") or requests.get("memory")
    return Share(
        cpu_milli=quantity.cpu_milli(cpu) if cpu else spec.cores * 1000,
        cores=spec.cores,
        memory_bytes=quantity.size_bytes(memory)
        if memory
        else spec.memory_bytes + vmpod.overhead_bytes(spec.cores, spec.memory_bytes),
    )


async def _prepare(keeper: Keeper) -> MachineSpec:
    """Tap, DHCP entry and seed of the copy; the spec with its seed."""
    context, pod = keeper.context, keeper.pod
    spec = spec_of(pod) if pod is not None else None
    if pod is None or spec is None:
        raise BadMachine("the Pod carries no usable machine spec")
    await context.network.attach(keeper.copy, spec)
    if not spec.seed_secret:
        return spec
    try:
        secret = await context.client.get(
            scheme.SECRET, spec.seed_secret, pod["metadata"]["namespace"]
        )
    except status.NotFound as error:
        raise NoUserData(
            f'Secret "{spec.seed_secret}" with the user data does not exist'
        ) from error
    seed = await context.seeds.write(keeper.copy, spec, _user_data(secret))
    return replace(spec, disks=(*spec.disks, seed))


def _share(keeper: Keeper, spec: MachineSpec) -> Share | None:
    pod = keeper.pod
    return None if pod is None else share_of(pod, spec)


def _user_data(secret: Object) -> bytes:
    data = secret.get("data") or {}
    for key in ("userData", "userdata"):
        if key in data:
            return base64.b64decode(data[key])
    raise NoUserData(f'Secret "{secret["metadata"]["name"]}" has no key userData')


async def launch(keeper: Keeper) -> bool:
    context = keeper.context
    try:
        spec = await _prepare(keeper)
    except BadMachine as bad:
        return _start_failed(keeper, str(bad))
    except NoUserData as missing:
        return _waits(keeper, names.PROVISIONING_NOT_READY, str(missing))
    except HostError as error:
        return _waits(keeper, names.HOST_TROUBLE, str(error))
    lease = context.leases.view(await context.leases.fresh(keeper.vm), keeper.copy)
    if lease.state is not LeaseState.MINE:
        return True  # look again
    if not await _is_wanted(keeper):
        return False
    try:
        context.journal.put(keeper.copy, "started")
        keeper.log.mark("start.launch")
        machine = await context.hypervisor.launch(keeper.copy, spec, None, _share(keeper, spec))
        keeper.took(machine)
        _tell_firmware(keeper, spec.firmware, machine.spec.firmware)
    except HostError as error:
        context.journal.drop(keeper.copy, "started")
        return _waits(keeper, names.HOST_TROUBLE, str(error))
    except MonitorSilent:
        keeper.lost_sight()
        raise
    except HypervisorError as error:
        return _start_failed(keeper, told(keeper, error))
    return True


async def _is_wanted(keeper: Keeper) -> bool:
    """By its Pod, read after the lease. The Acquire may have been on its way for long: whoever gave up this start since
    has deleted the Pod, and may have given its disks to another VM; and our watch may be late."""
    context, pod = keeper.context, keeper.pod
    if pod is None:
        return False
    try:
        now = await context.client.get(
            scheme.POD, pod["metadata"]["name"], pod["metadata"]["namespace"]
        )
    except status.NotFound:
        return False
    if pods.uid(now) != keeper.copy:
        return False
    context.pods.observe(now)
    return not pods.deleting(now)


def _tell_firmware(keeper: Keeper, wished: str, got: str) -> None:
    """A guest runs on its node's own version rather than not at all."""
    if wished and got and wished != got:
        words = f"QEMU {wished} is not offered here for this machine; it runs on QEMU {got}"
        keeper.warn(names.FIRMWARE_NOT_OFFERED, words)


async def launch_incoming(keeper: Keeper) -> bool:
    context, vmm = keeper.context, keeper.vmm()
    if vmm is None:
        return True
    listener = None
    try:
        listener = await context.hypervisor.listen(vmms.source_node(vmm))
        keeper.memory.listener = listener
        keeper.log.mark("evict.listening", port=listener.port)
        async with TaskScope("early") as scope:
            scope.spawn(_publish_early(keeper, listener), "tell")
            spec = await _prepare(keeper)
            context.journal.put(keeper.copy, "started")
            machine = await context.hypervisor.launch(
                keeper.copy, spec, listener, _share(keeper, spec)
            )
        keeper.took(machine)
        _tell_firmware(keeper, spec.firmware, machine.spec.firmware)
        # Only now: an agent that finds its QEMU without this mark knows that it waits for nobody.
        context.journal.put(keeper.copy, LISTENING, f"{listener.address} {listener.port}")
    except (BadMachine, NoUserData, HostError) as bad:
        if listener is not None:
            await context.hypervisor.unlisten(listener)
        return _start_failed(keeper, str(bad))  # the VM runs on where it is
    except MonitorSilent:
        keeper.lost_sight()
        raise
    except HypervisorError as error:
        keeper.memory.cause = names.DISK_ERROR if isinstance(error, DiskUnavailable) else ""
        return _start_failed(keeper, told(keeper, error))
    return True


async def _publish_early(keeper: Keeper, listener: Listener) -> None:
    """Say that we listen as soon as we may: the source connects while QEMU starts."""
    while (vmm := keeper.vmm()) is None or not is_named_target(keeper, vmm):
        await keeper.woken()
    meta = vmm["metadata"]
    said = report.listening(listener, keeper.context.node_lease.incarnation)
    subject = Subject(scheme.VMM, meta["namespace"], meta["name"], "target")
    keeper.context.publisher.wish(subject, {"status": {"target": said}})


def remembered_listener(keeper: Keeper) -> Listener | None:
    """Where an adopted incoming copy listens, if its agent died before the world was told."""
    address, _, port = (keeper.context.journal.get(keeper.copy, LISTENING) or "").partition(" ")
    return Listener(address, int(port), "") if port else None


def is_named_target(keeper: Keeper, vmm: Object) -> bool:
    """Whether the migration controller has named us; before that the API refuses our word."""
    named = vmms.target_pod_uid(vmm) == keeper.copy
    return named and vmms.target_node(vmm) == keeper.context.node


def told(keeper: Keeper, error: HypervisorError | HostError) -> str:
    """QEMU's own words, or the host's."""
    if isinstance(error, ImageLocked):
        # The second guard held where the first should have: never routine.
        keeper.log.mark("safety.image-locked", why=str(error))
    return str(error)


def _waits(keeper: Keeper, reason: str, why: str) -> bool:
    """The start waits for somebody to mend this; users see it in the Pod and the VM."""
    keeper.troubled(reason, why)
    pod = keeper.pod
    if pod is not None:
        meta = pod["metadata"]
        said = report.pod_waiting(pod, reason, why, keeper.context.clock.wall())
        subject = Subject(scheme.POD, meta["namespace"], meta["name"], "pod")
        keeper.context.publisher.wish(subject, said)
    return False


def _start_failed(keeper: Keeper, why: str) -> bool:
    keeper.memory.message = why
    keeper.log.error("QEMU did not start", why=why)
    keeper.context.journal.put(keeper.copy, "ended", LastReason.START_FAILED)
    pod = keeper.pod
    if pod is not None:
        keeper.context.recorder.event(pod, "Warning", LastReason.START_FAILED, why)
    return True
