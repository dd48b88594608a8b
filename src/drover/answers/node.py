"""How a node stands: what it carries, whether it takes VMs, what a drain of it would meet, whether it is lost. Pure."""

from __future__ import annotations

from dataclasses import replace

from drover.answers import lost, place
from drover.answers.because import Because, Ref, Topic
from drover.answers.moving import asked
from drover.answers.world import World
from drover.api import conditions, firmware, names, scheme
from drover.api.kinds import node as nodes
from drover.api.kinds import pod as pods
from drover.api.meta import name_of
from drover.api.scheme import key_of
from drover.api.wire import Object
from drover.base.words import some_of
from drover.controllers.forecast import VmForecast, forecast_drain

_STATES = "node.kubernetes.io/"


def explain(world: World, name: str) -> list[Because]:
    """Of a node that is there, or was."""
    obj = world.get(scheme.NODE, name)
    silent = lost.fencing(world, name)
    if obj is None:
        return silent
    found = [*_carries(world, obj), *silent, *lost.coming_back(obj)]
    if not silent:  # else its cordon is the fencing controller's, and nothing moves away from it
        found += _closed(obj)
        found += _drain(world, obj) if nodes.ready(obj) else []
    return [*found, *_firmware(world, obj), *unconfined(obj)]


def unconfined(node: Object) -> list[Because]:
    """Its VMs run with more rights than they need, as its agent says."""
    said = _said(node, names.SANDBOXED_CONDITION)
    if said.get("status") != conditions.FALSE:
        return []
    words = f"VMs on {name_of(node)} are not confined as they should be: {said.get('message', '')}"
    rule = "each QEMU runs as a user of its own, in control groups of its own"
    way = f"when that is mended, `systemctl reload drover-agent` on {name_of(node)} looks again"
    return [Because(Topic.PLACE, words, rule, (Ref.of(scheme.NODE, node),), way)]


def _carries(world: World, node: Object) -> list[Because]:
    name, ref = name_of(node), Ref.of(scheme.NODE, node)
    if not nodes.is_vm_node(node) and not world.vms_on(name):
        rule = "VMs run on nodes that an agent of drover keeps"
        return [Because(Topic.PLACE, f"{name} is no node for VMs", rule, (ref,))]
    machines = [key_of(vm) for vm in world.vms_on(name)]
    count = "1 VM" if len(machines) == 1 else f"{len(machines)} VMs"
    words = f"{name} carries {count}" + (f" ({some_of(machines)})" if machines else "")
    words += f"; reserved: {', '.join(_reserved(world, name))}"
    rule = "a VM reserves its CPU by coreFraction, and its memory with QEMU's own"
    return [Because(Topic.PLACE, words, rule, (ref,))]


def _reserved(world: World, name: str) -> list[str]:
    cluster = world.picture
    row, told = cluster.nodes.row_of[name], []
    for resource in ("cpu", "memory"):
        whole = int(cluster.nodes.allocatable(resource)[row])
        used = whole - int(cluster.left(resource)[row])
        told.append(f"{resource} {used * 100 // whole if whole else 0} %")
    return told


def _closed(node: Object) -> list[Because]:
    """Why nothing new comes."""
    name, ref, found = name_of(node), Ref.of(scheme.NODE, node), []
    if not nodes.ready(node) and not nodes.away(node):
        said = _ready_message(node)
        rule = "a node takes VMs only while it is Ready"
        words = f"{name} is not Ready" + (f": {said}" if said else "")
        found.append(
            Because(Topic.START, words, rule, (ref,), "`drover k describe node` tells more")
        )
    if nodes.cordoned(node):
        rule = "a cordoned node keeps its VMs and takes no new ones"
        words = f"{name} is in maintenance"
        found.append(Because(Topic.DRAIN, words, rule, (ref,), f"`drover uncordon {name}` ends it"))
    for taint in (node.get("spec") or {}).get("taints") or ():
        key = str(taint["key"])
        if key in (names.VM_NODE_TAINT, names.REJOINING_TAINT) or key.startswith(_STATES):
            continue
        words = f"{name} carries the taint {key}:{taint['effect']}"
        way = "tolerate it in the VM or its class, or take it away"
        found.append(
            Because(
                Topic.START, words, "a VM comes only where it tolerates the taints", (ref,), way
            )
        )
    return found


def _ready_message(node: Object) -> str:
    said = _said(node, "Ready")
    return str(said.get("message") or said.get("reason") or "")


def _said(node: Object, condition: str) -> Object:
    return conditions.get_condition(node, condition) or {}


def _drain(world: World, node: Object) -> list[Because]:
    """Each VM that is on its way, or could not leave now."""
    name, ref = name_of(node), Ref.of(scheme.NODE, node)
    here = [pod for pod in world.all(scheme.POD) if pods.node_name(pod) == name]
    forecast = forecast_drain(world.picture, name, here)
    found: list[Because] = []
    told: set[str] = set()
    if nodes.cordoned(node):
        for vm in world.vms_on(name):
            said = [replace(one, says=f"{key_of(vm)}: {one.says}") for one in asked(world, vm)]
            found += said
            told |= {key_of(vm)} if said else set()
    found += [_stuck(world, one, ref) for one in forecast.stuck if one.vm not in told]
    if found:
        return found
    if forecast.vms:
        words = f"A drain would find a place for each of its VMs ({len(forecast.vms)})"
        way = f"`drover drain {name} --dry-run` tells where"
        return [
            Because(
                Topic.DRAIN,
                words,
                "a drain moves every VM to a node that takes it now",
                (ref,),
                way,
            )
        ]
    if nodes.cordoned(node) and not world.vms_on(name):
        return [
            Because(
                Topic.DRAIN,
                f"No VM is left on {name}",
                "a drain is over when no VM is left",
                (ref,),
            )
        ]
    return []


def _stuck(world: World, one: VmForecast, node: Ref) -> Because:
    space, _, name = one.vm.partition("/")
    vm = world.vm(one.vm)
    rule = "a drain waits for every VM; a VM leaves only for a node that takes it now"
    way = f"`drover stop {name} -n {space}`"
    pod = world.holder_pod(vm) if vm is not None else None
    if vm is not None and pod is not None:
        better = place.way_out(place.fit_of_move(world, vm, pod), node.name)
        way = f"{better}, or {way}"
    words = f"{one.vm} could not leave {node.name} now: {one.message.rstrip('.')}"
    return Because(Topic.DRAIN, words, rule, (Ref(scheme.VM.kind, name, space), node), way)


def _firmware(world: World, node: Object) -> list[Because]:
    wanted = world.settings.firmware_version
    offers = [offer.version for offer in firmware.offers_of(node)]
    if not wanted or wanted in offers or not nodes.is_vm_node(node):
        return []
    rule = "a VM is moved to the wanted QEMU only on a node that offers it"
    words = f"{name_of(node)} does not offer QEMU {wanted}, which is wanted; it offers {', '.join(offers) or 'nothing'}"
    way = f"install that QEMU on {name_of(node)}"
    return [Because(Topic.MOVE, words, rule, (Ref.of(scheme.NODE, node),), way)]
