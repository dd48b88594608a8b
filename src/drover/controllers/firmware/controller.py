"""Wiring of the firmware controller. There is one rollout at a time, so there is one key.

A VM that no node takes is not thrown at the scheduler: the planner is asked for those that would move next, and the
decision is made again with what it says. At most ``MOST_ASKED`` are asked for at one look, the rest at the next.
"""

from __future__ import annotations

from dataclasses import replace

from drover.api import conditions as cond
from drover.api import names, scheme
from drover.api.firmware import ROLLED_OUT
from drover.api.kinds import vmop as vmops
from drover.api.meta import annotations_of, generation_of
from drover.api.status import AlreadyExists, Forbidden
from drover.api.wire import Object
from drover.base.ids import derived_suffix
from drover.controllers.firmware import decide as story
from drover.controllers.firmware.gather import (
    ROLLOUT_ANNOTATION,
    Caches,
    rollout_id,
    rollout_of,
)
from drover.controllers.firmware.view import Attempt, FirmwareView
from drover.controllers.pictures import ClusterPicture
from drover.controllers.settings import is_settings
from drover.controllers.writes import Writer
from drover.runtime.controller import After, Controller, Done, Outcome
from drover.runtime.manager import Manager

KEY = "rollout"
MOST_ASKED = 64
ASK_AGAIN_S = 1.0
NO_ROOM_AGAIN_S = 5.0
_MOST_WORDS = 4000
_NAMES_TRIED = 5


def wire(manager: Manager, picture: ClusterPicture) -> None:
    """Register the controller with ``manager``."""
    made = FirmwareController(manager, picture)
    caches = made.caches
    controller = Controller("firmware", made.reconcile)
    controller.watch(caches.settings.informer, lambda mc: [KEY] if is_settings(mc) else [])
    for informer in (caches.vms, caches.vmops):
        controller.watch(informer, lambda _: [KEY])
    controller.watch(caches.nodes, lambda _: [KEY], _of_node)
    manager.add(controller)


def _of_node(node: Object) -> object:
    """Of a node: not its heartbeats."""
    return node["metadata"].get("labels"), annotations_of(node), node.get("spec")


class FirmwareController:
    """One reconcile function over one key."""

    def __init__(self, manager: Manager, picture: ClusterPicture) -> None:
        self._manager = manager
        self.caches = Caches(manager, picture)
        self._writer = Writer(manager.client, manager.clock, self.caches.settings.informer)
        self._told: set[str] = set()  # uids of failed operations that an Event has told of

    async def reconcile(self, key: str) -> Outcome:
        config, view = self.caches.module_config(), self.caches.view()
        if config is None or view is None or (not view.begun and not _ever(view)):
            return Done()
        view, asked_all, homeless = self._with_room(view)
        outcome: Outcome = After(NO_ROOM_AGAIN_S) if homeless else Done()
        for intent in story.decide(view):
            match intent:
                case story.Begin(rollout):
                    noted = {
                        "version": rollout.version,
                        "token": rollout.token,
                        "rollout": rollout.number,
                    }
                    config = await self._writer.status(config, {"firmware": noted}, [])
                    self._manager.log.mark("firmware.rollout", version=rollout.version)
                case story.Create(vm, after):
                    await self._create(config, vm, after)
                case story.Report():
                    config = await self._report(config, view, intent)
                case story.LookAgain(after_s):
                    outcome = After(max(min(after_s, NO_ROOM_AGAIN_S), 0.01))
        self._tell(view)
        return outcome if asked_all else After(ASK_AGAIN_S)

    def _with_room(self, view: FirmwareView) -> tuple[FirmwareView, bool, bool]:
        """The view with what the planner says of the VMs that would move; whether all were asked for, and whether
        one found no room."""
        asked: dict[str, str] = {}
        while True:
            wanted = [i.vm for i in story.decide(view) if isinstance(i, story.Create)]
            ask = [vm for vm in wanted if vm not in asked]
            if not ask:
                return view, True, any(asked.values())
            if len(asked) + len(ask) > MOST_ASKED:
                left = tuple(vm for vm in view.outdated if vm.key not in ask)
                return replace(view, outdated=left), False, any(asked.values())
            asked |= {vm: self.caches.no_room(vm, view.wanted) for vm in ask}
            outdated = tuple(
                replace(vm, obstacle=asked[vm.key]) if asked.get(vm.key) else vm
                for vm in view.outdated
            )
            view = replace(view, outdated=outdated)

    async def _report(self, config: Object, view: FirmwareView, said: story.Report) -> Object:
        before = cond.get_condition(config, ROLLED_OUT) or {}
        words = said.message[:_MOST_WORDS]
        wanted = cond.condition(ROLLED_OUT, said.done, said.reason, words, generation_of(config))
        if said.reason == story.Reason.STOPPED and before.get("reason") != said.reason:
            self._manager.log.mark("firmware.stopped", version=view.wanted)
            self._manager.recorder.event(config, "Warning", "FirmwareRolloutStopped", words)
        if said.reason == story.Reason.UP_TO_DATE and before.get("reason") != said.reason:
            self._manager.recorder.event(config, "Normal", "FirmwareRolledOut", words)
        return await self._writer.status(config, {}, [wanted])

    def _tell(self, view: FirmwareView) -> None:
        failed = {a.uid: a for a in view.attempts if a.phase is vmops.VmopPhase.FAILED}
        for uid in failed.keys() - self._told:
            self._tell_one(view, failed[uid])
        self._told = set(failed)

    def _tell_one(self, view: FirmwareView, attempt: Attempt) -> None:
        vm = self.caches.vms.get(attempt.vm)
        if vm is not None:
            words = f"{attempt.name} to QEMU {view.wanted} failed: {attempt.message}"
            self._manager.recorder.event(vm, "Warning", "FirmwareUpdateFailed", words)

    async def _create(self, config: Object, key: str, after: str) -> None:
        """The name follows from rollout, VM and the failure before; another VM may have it by chance."""
        rollout = rollout_of(config)
        vm = self.caches.vms.get(key)
        if rollout is None or vm is None:
            return
        namespace, vm_name = scheme.split_key(key)
        belongs = rollout_id(config, rollout)
        for salt in range(_NAMES_TRIED):
            name = operation_name(belongs, vm["metadata"]["uid"], after, salt)
            try:
                made = await self._manager.client.create(
                    scheme.VMOP, _operation(name, namespace, vm_name, belongs)
                )
            except AlreadyExists:
                made = await self._manager.client.get(scheme.VMOP, name, namespace)
            except Forbidden as denied:  # another operation came first; its end wakes us
                self._manager.log.info("no firmware update now", vm=key, why=denied.message)
                return
            self.caches.vmops.observe(made)
            if vmops.vm_name(made) == vm_name:
                break
        self._manager.log.mark("firmware.update", vm=key, vmop=name)


def _ever(view: FirmwareView) -> bool:
    """A version is, or was, wanted: before the first one there is nothing to note."""
    return bool(view.wanted) or view.rollout is not None


def operation_name(rollout: str, vm_uid: str, after: str, salt: int) -> str:
    """The same for every attempt to create one attempt's operation."""
    return names.FIRMWARE_UPDATE_PREFIX + derived_suffix(f"{rollout} {vm_uid} {after} {salt}")


def _operation(name: str, namespace: str, vm: str, rollout: str) -> Object:
    return {
        "metadata": {
            "name": name,
            "namespace": namespace,
            "annotations": {names.WORKLOAD_UPDATE_ANNOTATION: "true", ROLLOUT_ANNOTATION: rollout},
        },
        "spec": {"type": "Evict", "virtualMachineName": vm},
    }
