"""``whatif vm FILE``: would this VM fit, where, and why not elsewhere. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from drover.answers import place
from drover.answers.outcome import How, Outcome, Step, Stuck
from drover.answers.starter import starter
from drover.answers.world import DEVICES, World
from drover.api import scheme
from drover.api.kinds import pod as pods
from drover.api.kinds import vm as vms
from drover.api.meta import name_of, namespace_of
from drover.api.scheme import key_of
from drover.api.wire import Object
from drover.base.words import some_of
from drover.controllers.forecast import missing_room
from drover.controllers.planning import snapshot
from drover.controllers.vm.needs import sizing_problem
from drover.planner import place as put


class BadManifest(ValueError):
    """The file holds no VM that the API would take. ``str()`` says what is wrong."""


def fitting(world: World, manifest: Sequence[Object], namespace: str) -> Outcome:
    """All VMs of a manifest, one after another. Raises BadManifest."""
    found = [_completed(obj, namespace) for obj in manifest if obj.get("kind") == scheme.VM.kind]
    if not found:
        raise BadManifest(f"it holds no {scheme.VM.kind}")
    comes = {key_of(vm) for vm in found}
    others = [p for p in world.all(scheme.POD) if pods.vm_key(p) not in comes]
    cluster = snapshot(world.all(scheme.NODE), others, world.all(scheme.NAMESPACE))
    steps: list[Step] = []
    stuck: list[Stuck] = []
    notes: list[str] = []
    for vm in found:
        notes += _notes(world, vm, manifest)
        refused = _refused(world, vm)
        pod = None if refused else starter(world, vm)
        if pod is None:
            stuck.append(Stuck(key_of(vm), refused, "change the manifest"))
            continue
        placed = put(cluster, [pod])
        verdict = place.verdict(cluster, pod)
        if placed.nodes:
            why = f"also fits: {some_of([n for n in verdict.nodes if n != placed.nodes[pod.key]]) or 'nowhere else'}"
            steps.append(Step(key_of(vm), How.START, "", placed.nodes[pod.key], why))
            if verdict.refusals:
                notes.append(f"{key_of(vm)} does not fit elsewhere: {place.refusals(verdict)}")
            cluster = placed.after
            continue
        short = missing_room(cluster, pod)
        words = place.refusals(verdict) + (f"; {short}" if short else "")
        stuck.append(Stuck(key_of(vm), words, place.way_out(verdict)))
    return Outcome(f"vm {', '.join(sorted(comes))}", tuple(steps), tuple(stuck), None, tuple(notes))


def _completed(obj: Object, namespace: str) -> Object:
    """With what the API server would add. Raises BadManifest."""
    meta = {"namespace": namespace, "uid": "whatif", **obj["metadata"]}
    vm = {**obj, "metadata": meta, "spec": obj.get("spec") or {}}
    try:
        (
            vms.cores(vm),
            vms.memory_bytes(vm),
            vms.core_fraction_percent(vm),
            vms.devices(vm),
            vms.run_policy(vm),
        )
    except KeyError as missing:
        raise BadManifest(f"{key_of(vm)} lacks spec field {missing}") from missing
    except (ValueError, TypeError, AttributeError) as wrong:
        raise BadManifest(f"{key_of(vm)}: {wrong}") from wrong
    return vm


def _refused(world: World, vm: Object) -> str:
    """Why it would not come so far as to look for a node."""
    vmclass = world.class_of(vm)
    if vmclass is None:
        name = vms.class_name(vm)
        return (
            f'VirtualMachineClass "{name}" does not exist'
            if name
            else "no VirtualMachineClass is the default one"
        )
    return sizing_problem(vm, vmclass)


def _notes(world: World, vm: Object, manifest: Sequence[Object]) -> list[str]:
    notes = []
    if world.vm(key_of(vm)) is not None:
        notes.append(f"{key_of(vm)} is there already; it is looked at as if it were not")
    brought = {(str(obj.get("kind")), name_of(obj)) for obj in manifest}
    for ref in vms.devices(vm):
        there = world.get(DEVICES[ref.kind], ref.name, namespace_of(vm)) is not None
        if not there and (str(ref.kind), ref.name) not in brought:
            notes.append(
                f'{key_of(vm)} would wait for {ref.kind} "{ref.name}", which does not exist'
            )
    return notes
