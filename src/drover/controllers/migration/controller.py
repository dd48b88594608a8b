"""Wiring of the migration controller: gather a view, decide, carry out the intents by compare-and-swap.

Every status write carries the version that was decided on, so a vmm that was deleted or changed meanwhile refuses it
and is looked at again. The target Pod's name is derived from the vmm's uid: creating it twice is harmless.

Several are worked on at once. All that they share are the slots, and ``queue`` knows those that are being taken.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

from drover.api import names, scheme, status, vmpod
from drover.api.kinds import pod as pods
from drover.api.kinds import vm as vms
from drover.api.kinds import vml as vmls
from drover.api.kinds import vmm as vmms
from drover.api.meta import finalizers_of, is_deleting, with_finalizer, without_finalizer
from drover.api.names import VmmPhase
from drover.api.wire import Object
from drover.base.clock import rfc3339
from drover.base.ids import derived_suffix
from drover.controllers.current import CurrentSettings
from drover.controllers.holding import may_run
from drover.controllers.migration import decide as story
from drover.controllers.migration.queue import SlotQueue
from drover.controllers.migration.target import Targets
from drover.controllers.migration.view import CopyLimits, MigrationView, TargetPod
from drover.runtime.controller import After, Controller, Done, Outcome
from drover.runtime.manager import Manager

WORKERS = 12
REFUSED_AGAIN_S = 5.0  # how soon a refused target Pod is tried again
MOST_WORDS = 4096  # of status.message; words of others are in it


def target_name(vm: str, vmm_uid: str) -> str:
    """The same for every attempt to create the target Pod of one vmm."""
    return vmpod.pod_name(vm, derived_suffix(vmm_uid))


def wire(manager: Manager) -> None:
    """Register the controller with ``manager``."""
    made = MigrationController(manager)
    controller = Controller("migration", made.reconcile, workers=WORKERS)
    controller.watch(made.migrations, lambda vmm: [scheme.key_of(vmm)])
    controller.watch(made.leases, lambda vml: made.of_vm(scheme.key_of(vml)))
    controller.watch(made.vms, lambda vm: made.of_vm(scheme.key_of(vm)))
    controller.watch(made.pods, made.of_pod)
    manager.add(controller)
    made.queue.wake = controller.add


class MigrationController:
    """One reconcile function and its informers."""

    def __init__(self, manager: Manager) -> None:
        self._manager = manager
        self._settings = CurrentSettings(manager)
        self.migrations = manager.informer(scheme.VMM)
        self.leases = manager.informer(scheme.VML)
        self.vms = manager.informer(scheme.VM)
        self.pods = manager.informer(scheme.POD, labels=names.VM_NAME_LABEL)
        self._targets = Targets(manager, self._settings)
        self.queue = SlotQueue(manager, self._settings)
        self._since: dict[str, tuple[str, float]] = {}
        self.migrations.add_index("vm", lambda vmm: [vmms.vm_key(vmm)])
        self.pods.add_index("migration", self.of_pod)

    def of_vm(self, key: str) -> list[str]:
        return [scheme.key_of(vmm) for vmm in self.migrations.by_index("vm", key)]

    def of_pod(self, pod: Object) -> list[str]:
        name = pods.migration_name(pod)
        return [f"{pod['metadata']['namespace']}/{name}"] if name else []

    async def reconcile(self, key: str) -> Outcome:
        vmm = self.migrations.get(key)
        if vmm is None:
            self._since.pop(key, None)
            await self._sweep(key)
            return Done()
        intents = story.decide(self._view(key, vmm))
        with self.queue.taking(key, story.slot_of(intents)):
            return await self._carry_out(vmm, intents)

    async def _carry_out(self, vmm: Object, intents: list[story.Intent]) -> Outcome:
        outcome: Outcome = Done()
        for intent in intents:
            if isinstance(intent, story.LookAgain):
                outcome = After(max(intent.after_s, 0.01))
                continue
            try:
                vmm = await self._act(vmm, intent)
            except _Refused as refused:
                await self._refused(vmm, str(refused))
                return After(REFUSED_AGAIN_S)
        return outcome

    async def _sweep(self, key: str) -> None:
        """Take away a target Pod without a migration: a leader that had not heard of its end has made it. Our own
        caches may be behind as well, so all is read anew, and the Pod must be the one that was judged."""
        client = self._manager.client
        for pod in self.pods.by_index("migration", key):
            if pods.phase(pod) is not pods.PodPhase.PENDING or pods.deleting(pod):
                continue
            namespace, name = scheme.split_key(key)
            with contextlib.suppress(status.NotFound):
                self.migrations.observe(await client.get(scheme.VMM, name, namespace))
                return
            if await may_run(client, self.leases, pod):
                continue
            meta = pod["metadata"]
            self._manager.log.mark("migration.stray-target", pod=meta["name"])
            with contextlib.suppress(status.NotFound):
                await client.delete(
                    scheme.POD,
                    meta["name"],
                    namespace,
                    uid=meta["uid"],
                    resource_version=meta["resourceVersion"],
                )

    async def _refused(self, vmm: Object, why: str) -> None:
        """It stays Pending and says so once."""
        if vmms.status(vmm).get("message") != why:
            said = story.SetPhase(VmmPhase.PENDING, story.Reason.QUOTA_EXCEEDED, why)
            await self._set_phase(vmm, said)

    def _view(self, key: str, vmm: Object) -> MigrationView:
        vm_key = vmms.vm_key(vmm)
        vm, lease = self.vms.get(vm_key), self.leases.get(vm_key)
        source, target = vmms.source_report(vmm), vmms.target_report(vmm)
        reason = str(vmms.status(vmm).get("reason", ""))
        return MigrationView(
            phase=vmms.phase(vmm),
            deleting=is_deleting(vmm),
            source_uid=vmms.source_pod_uid(vmm),
            source_node=vmms.source_node(vmm),
            has_finalizer=names.VMM_FINALIZER in finalizers_of(vmm),
            vm_phase=str((vm or {}).get("status", {}).get("phase", "")),
            lease_holder=None if lease is None else vmls.holder(lease),
            target_uid=vmms.target_pod_uid(vmm),
            target_node=vmms.target_node(vmm),
            target=self._target(vmm),
            source_said=str(source.get("phase", "")),
            source_reason=str(source.get("reason", "")),
            source_message=str(source.get("message", "")),
            handed_over="handOverEpoch" in source,
            target_said=str(target.get("phase", "")),
            target_lacks_disk=target.get("reason") == names.DISK_ERROR,
            target_reason=str(target.get("message") or target.get("reason") or ""),
            wait=self.queue.wait(key),
            limits=_limits(vmm),
            memory_bytes=vms.memory_bytes(vm) if vm is not None else 0,
            reason=reason,
            message=str(vmms.status(vmm).get("message", "")),
            in_phase_s=self._in_phase_s(key, f"{vmms.phase(vmm)} {reason}"),
        )

    def _in_phase_s(self, key: str, state: str) -> float:
        """Counted on our own clock from when we first saw this state; a restart counts anew."""
        now = self._manager.clock.monotonic()
        seen, since = self._since.get(key, ("", now))
        if seen != state:
            since = now
        self._since[key] = (state, since)
        return now - since

    def _target(self, vmm: Object) -> TargetPod | None:
        pod = self._target_pod(vmm)
        if pod is None:
            return None
        return TargetPod(
            uid=pods.uid(pod),
            node=pods.node_name(pod),
            unschedulable=pods.unschedulable(pod) or "",
            ended=pods.ended(pod),
            deleting=pods.deleting(pod),
        )

    def _target_pod(self, vmm: Object) -> Object | None:
        """By its derived name: it may exist although the write that records it was refused."""
        name = target_name(vmms.vm_name(vmm), vmm["metadata"]["uid"])
        pod = self.pods.get(f"{vmm['metadata']['namespace']}/{name}")
        recorded = vmms.target_pod_uid(vmm)
        return pod if pod is not None and pods.uid(pod) == (recorded or pods.uid(pod)) else None

    async def _act(self, vmm: Object, intent: story.Intent) -> Object:
        match intent:
            case story.AddFinalizer():
                return await self._patch_meta(vmm, with_finalizer(vmm, names.VMM_FINALIZER))
            case story.DropFinalizer():
                return await self._patch_meta(vmm, without_finalizer(vmm, names.VMM_FINALIZER))
            case story.CreateTarget():
                return await self._create_target(vmm)
            case story.SetPhase():
                return await self._set_phase(vmm, intent)
            case story.DeleteTarget():
                return await self._delete_target(vmm)
        raise AssertionError(intent)

    async def _patch_meta(self, vmm: Object, finalizers: Sequence[str]) -> Object:
        patch = {"metadata": {"finalizers": list(finalizers)}}
        return await self._write(vmm, patch, "")

    async def _set_phase(self, vmm: Object, intent: story.SetPhase) -> Object:
        now = rfc3339(self._manager.clock.wall())
        words = intent.message[:MOST_WORDS]
        said: Object = {"phase": intent.phase, "reason": intent.reason, "message": words}
        if intent.target_node:
            said["targetNode"] = intent.target_node
        if intent.reason in story.WAITING and "waitingSince" not in vmms.status(vmm):
            said["waitingSince"] = now
        if intent.phase == VmmPhase.READY:
            said["startTimestamp"] = now
        if intent.phase == VmmPhase.COPYING:
            said["limits"] = self._limits_now()
        if intent.phase in VmmPhase.FINAL:
            said["endTimestamp"] = now
        log = self._manager.log
        log.mark(
            f"migration.{intent.phase.lower()}", vmm=vmm["metadata"]["name"], why=intent.message
        )
        return await self._write(vmm, {"status": said}, "status")

    def _limits_now(self) -> Object:
        """For the source's agent; a change of the settings holds for copies that begin after it."""
        now = self._settings.now()
        return {
            "bandwidthBytesPerSecond": now.bandwidth_bytes_per_s,
            "completionSecondsPerGiB": now.completion_timeout_s_per_gib,
            "progressSeconds": now.progress_timeout_s,
        }

    async def _create_target(self, vmm: Object) -> Object:
        namespace = vmm["metadata"]["namespace"]
        source = self.pods.get(f"{namespace}/{vmms.source_pod_name(vmm)}")
        if source is None or pods.uid(source) != vmms.source_pod_uid(vmm):
            gone = story.SetPhase(VmmPhase.FAILED, story.Reason.VM_STOPPED, story.STOPPED)
            return await self._set_phase(vmm, gone)
        name = target_name(vmms.vm_name(vmm), vmm["metadata"]["uid"])
        now = self._targets.now(vmm, source, self.vms.get(vmms.vm_key(vmm)))
        wanted = vmpod.target_pod(source, vmm, name, now)
        try:
            pod = await self._manager.client.create(scheme.POD, wanted)
        except status.AlreadyExists:
            pod = await self._manager.client.get(scheme.POD, name, namespace)
        except status.Forbidden as refusal:
            # The VM's first Pod was allowed, so what is new is a quota: both Pods count while the VM moves.
            raise _Refused(str(refusal)) from refusal
        except (status.Invalid, status.BadRequest) as wrong:
            # What it was made from will not change by waiting: too many annotations on the VM, for example.
            said = story.SetPhase(VmmPhase.FAILED, story.Reason.TARGET_FAILED, wrong.message)
            return await self._set_phase(vmm, said)
        self.pods.observe(pod)
        named = {"name": name, "uid": pods.uid(pod)}
        self._manager.log.mark("migration.scheduling", vmm=vmm["metadata"]["name"])
        begun = {"phase": VmmPhase.SCHEDULING, "targetPod": named, "reason": "", "message": ""}
        return await self._write(vmm, {"status": begun}, "status")

    async def _delete_target(self, vmm: Object) -> Object:
        pod = self._target_pod(vmm)
        if pod is not None:
            meta = pod["metadata"]
            with contextlib.suppress(status.NotFound, status.Conflict):
                await self._manager.client.delete(
                    scheme.POD, meta["name"], meta["namespace"], uid=meta["uid"]
                )
        return vmm

    async def _write(self, vmm: Object, patch: Object, subresource: str) -> Object:
        name, namespace = vmm["metadata"]["name"], vmm["metadata"]["namespace"]
        answer = await self._manager.client.patch(
            scheme.VMM, name, namespace, patch, subresource=subresource, version=vmm
        )
        self.migrations.observe(answer)
        return answer


class _Refused(Exception):
    """The target Pod must not be made now."""


def _limits(vmm: Object) -> CopyLimits:
    said = vmms.copy_limits(vmm)
    if not said:
        return CopyLimits()
    return CopyLimits(
        bandwidth_bytes_per_s=int(said["bandwidthBytesPerSecond"]),
        completion_s_per_gib=int(said["completionSecondsPerGiB"]),
        progress_s=int(said["progressSeconds"]),
    )
