"""Wiring of the classes controller."""

from __future__ import annotations

from drover.api import conditions as cond
from drover.api import names
from drover.api.kinds import node as nodes
from drover.api.kinds import vm as vms
from drover.api.kinds import vmclass as classes
from drover.api.kinds.vmclass import ClassCondition, ClassReason
from drover.api.meta import generation_of, is_deleting, name_of
from drover.api.scheme import NODE, VM, VMCLASS, key_of
from drover.api.wire import Object
from drover.base import quantity
from drover.controllers.classes.decide import ClassView, Verdict, decide, has_our_mark
from drover.controllers.writes import Writer
from drover.runtime.controller import Controller, Done, Outcome
from drover.runtime.manager import Manager


class Classes:
    """One pass over one class."""

    def __init__(self, manager: Manager) -> None:
        self.classes = manager.informer(VMCLASS)
        self.vms = manager.informer(VM)
        self.nodes = manager.informer(NODE)
        self.vms.add_index("class-name", lambda vm: [vms.class_name(vm)])
        self._writer = Writer(manager.client, manager.clock, self.classes)

    async def reconcile(self, key: str) -> Outcome:
        vmclass = self.classes.get(key)
        if vmclass is None:
            return Done()
        users = list(self.vms.by_index("class-name", key))
        if classes.is_default(vmclass):
            users += self.vms.by_index("class-name", "")
        named = tuple(key_of(vm) for vm in users)
        verdict = decide(ClassView(vmclass, tuple(self.nodes.all()), named))
        if verdict.finalizer and not has_our_mark(vmclass) and not is_deleting(vmclass):
            await self._writer.add_finalizer(vmclass, names.VMCLASS_FINALIZER)
            return Done()
        vmclass = await self._show(vmclass, verdict)
        if not verdict.finalizer and has_our_mark(vmclass):
            await self._writer.drop_finalizer(vmclass, names.VMCLASS_FINALIZER)
        return Done()

    async def _show(self, vmclass: Object, verdict: Verdict) -> Object:
        generation = generation_of(vmclass)
        in_use = bool(verdict.in_use_message)
        conditions = [
            cond.condition(
                ClassCondition.READY, bool(verdict.nodes), verdict.ready_reason, "", generation
            ),
            cond.condition(
                ClassCondition.IN_USE,
                in_use,
                ClassReason.IN_USE if in_use else ClassReason.NOT_IN_USE,
                verdict.in_use_message,
                generation,
            ),
        ]
        fields = {
            "phase": str(verdict.phase),
            "availableNodes": list(verdict.nodes),
            "maxAllocatableResources": {
                "cpu": quantity.cpu_text(verdict.cpu_milli),
                "memory": quantity.bytes_text(verdict.memory_bytes),
            },
            "observedGeneration": generation,
        }
        return await self._writer.status(vmclass, fields, conditions)

    def all_keys(self) -> list[str]:
        return [name_of(vmclass) for vmclass in self.classes.all()]

    def of_vm(self, vm: Object) -> list[str]:
        named = vms.class_name(vm)
        return [named] if named else self.all_keys()


def _of_node(node: Object) -> object:
    """What classes depend on of a node."""
    return nodes.is_vm_node(node), nodes.labels(node), nodes.allocatable(node)


def wire(manager: Manager) -> None:
    """Register the classes controller."""
    made = Classes(manager)
    controller = Controller("classes", made.reconcile)
    controller.watch(made.classes, lambda vmclass: [name_of(vmclass)])
    controller.watch(made.vms, made.of_vm, vms.class_name)
    controller.watch(made.nodes, lambda node: made.all_keys(), _of_node)
    manager.add(controller)
