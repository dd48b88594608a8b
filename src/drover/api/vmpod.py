"""The Pods that carry VMs, as pure functions: the one that starts a VM, and the target of a migration.

A Pod is one incarnation of its VM. Its requests reserve room with the scheduler (CPU by coreFraction, memory with
the overhead of QEMU), its machine annotation tells the node all it needs. Both kinds are owned by the VM alone: a
Pod owned by a migration would be collected with it while its guest runs (safety rule 13).

A target is the source's Pod again, word for word, except that it must not land on the source's node, and for what
applies without a restart: where it may run, and its firmware. Wishes that need a restart do not slip in.
"""

from __future__ import annotations

import copy
import hashlib
import json
from dataclasses import dataclass
from typing import Any

from drover.api import machine as machines
from drover.api import names, placement
from drover.api.kinds import vm as vms
from drover.api.kinds import vmclass as classes
from drover.api.kinds import vmm as vmms
from drover.api.scheme import VM
from drover.api.wire import Object
from drover.base import quantity

MI = 2**20
IMAGE = "drover.dev/machine"  # never pulled: the node's agent runs QEMU itself
# The VM's own placement rules on a target Pod, whose spec carries the rules of one migration besides.
AFFINITY_ANNOTATION = "drover.dev/affinity"
APPLIED_SPEC_ANNOTATION = "drover.dev/applied-spec"  # the VM's spec this Pod was built from
CREATED_BY_LABEL = "kubevirt.internal.virtualization.deckhouse.io/created-by"
LAUNCHER_LABEL = "kubevirt.internal.virtualization.deckhouse.io"
PROPAGATED_ANNOTATION = "drover.dev/propagated"  # which labels and annotations are the VM's
MIGRATION_LABEL = "kubevirt.internal.virtualization.deckhouse.io/migrationJobUID"
USER_DATA_VOLUME = "user-data"

# Changing one of these applies at once; every other field of spec waits for a restart.
LIVE_FIELDS = ("runPolicy", "disruptions", "liveMigrationPolicy")

_PRIVATE_PREFIXES = ("drover.dev/", "kubectl.kubernetes.io/", "virtualization.deckhouse.io/")


@dataclass(frozen=True)
class Resources:
    """What a VM takes of its node."""

    cores: int
    fraction_percent: int
    cpu_milli: int
    memory_bytes: int
    overhead_bytes: int


def resources_of(vm: Object, vmclass: Object) -> Resources:
    """CPU and memory of a VM under its class; fractions are rounded up to a whole milli."""
    cores, memory = vms.cores(vm), vms.memory_bytes(vm)
    fraction = vms.core_fraction_percent(vm)
    if fraction is None:
        fraction = classes.default_core_fraction_percent(
            classes.sizing_policy(vmclass, cores) or {}
        )
    return Resources(
        cores, fraction, -(-cores * 10 * fraction // 1), memory, overhead_bytes(cores, memory)
    )


def overhead_bytes(cores: int, memory_bytes: int) -> int:
    """QEMU's own memory: page tables, monitor and emulator, vCPUs, IO thread, display; rounded up to 1 Mi."""
    fixed = (25 + 100 + 25 + 40 + 30) * MI + 8 * MI + 32 * MI
    total = memory_bytes // 512 + fixed + cores * 8 * MI
    return -(-total // MI) * MI


def pod_name(vm_name: str, suffix: str) -> str:
    return f"{names.POD_PREFIX}{vm_name}-{suffix}"


def applied_spec(vm: Object) -> dict[str, Any]:
    """The part of the spec that a running guest keeps until its restart.

    Of user data written into the VM itself only a digest: nodes and viewers read Pods, and it may hold passwords. A
    short one, which tells a change and lets nobody try passwords against it.
    """
    spec = {name: value for name, value in vms.spec(vm).items() if name not in LIVE_FIELDS}
    provisioning = spec.get("provisioning") or {}
    text = provisioning.get("userData")
    if text is not None:
        digest = hashlib.sha256(text.encode()).hexdigest()[:8]
        spec["provisioning"] = {**provisioning, "userData": f"(sha256 {digest})"}
    return spec


def build_pod(
    name: str, vm: Object, vmclass: Object, machine: dict[str, Any], firmware: str = ""
) -> Object:
    """The Pod that starts ``vm``, on this firmware if its node has it."""
    meta = vm["metadata"]
    spec: dict[str, Any] = {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": vms.grace_s(vm),
        "priorityClassName": vms.priority_class(vm) or names.VM_PRIORITY_CLASS,
        "containers": [_container(resources_of(vm, vmclass))],
        **placement.of(vm, vmclass),
    }
    spread = vms.spec(vm).get("topologySpreadConstraints")
    if spread:
        spec["topologySpreadConstraints"] = copy.deepcopy(spread)
    if machine["seed_secret"]:
        spec["volumes"] = [
            {"name": USER_DATA_VOLUME, "secret": {"secretName": machine["seed_secret"]}}
        ]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name,
            "namespace": meta["namespace"],
            "labels": pod_labels(vm),
            "annotations": {
                **pod_annotations(vm),
                PROPAGATED_ANNOTATION: _propagated(vm),
                names.MACHINE_ANNOTATION: machines.encode(machine),
                APPLIED_SPEC_ANNOTATION: _json(applied_spec(vm)),
                placement.DIGEST_ANNOTATION: placement.digest(vm, vmclass),
                **({names.FIRMWARE_ANNOTATION: firmware} if firmware else {}),
            },
            "ownerReferences": [owner_reference(vm)],
        },
        "spec": spec,
    }


def _json(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def owner_reference(vm: Object) -> Object:
    """kubectl drain demands a controller; the VM is it."""
    return {
        "apiVersion": VM.api_version, "kind": VM.kind, "name": vm["metadata"]["name"],
        "uid": vm["metadata"]["uid"], "controller": True, "blockOwnerDeletion": True,
    }  # fmt: skip


def pod_labels(vm: Object) -> dict[str, str]:
    """The VM's own labels first: ours win."""
    return {
        **(vm["metadata"].get("labels") or {}),
        names.VM_NAME_LABEL: vm["metadata"]["name"],
        LAUNCHER_LABEL: "virt-launcher",
        CREATED_BY_LABEL: vm["metadata"]["uid"],
    }


def metadata_patch(vm: Object, pod: Object) -> Object:
    """Brings labels and annotations of a living Pod up to those of its VM; empty when they are. What others put on
    the Pod stays: only keys that came from the VM are taken away again."""
    meta = pod["metadata"]
    before = json.loads((meta.get("annotations") or {}).get(PROPAGATED_ANNOTATION, "{}"))
    patch: dict[str, Any] = {}
    for field, wanted in (
        ("labels", pod_labels(vm)),
        ("annotations", {**pod_annotations(vm), PROPAGATED_ANNOTATION: _propagated(vm)}),
    ):
        present = meta.get(field) or {}
        changed: dict[str, Any] = {k: v for k, v in wanted.items() if present.get(k) != v}
        gone = [k for k in before.get(field) or [] if k not in wanted and k in present]
        changed |= dict.fromkeys(gone)
        if changed:
            patch[field] = changed
    return {"metadata": patch} if patch else {}


def _propagated(vm: Object) -> str:
    keys = {
        "labels": sorted(vm["metadata"].get("labels") or {}),
        "annotations": sorted(_public_annotations(vm)),
    }
    return json.dumps(keys, sort_keys=True, separators=(",", ":"))


def _public_annotations(vm: Object) -> dict[str, str]:
    own = vm["metadata"].get("annotations") or {}
    return {key: value for key, value in own.items() if not key.startswith(_PRIVATE_PREFIXES)}


def pod_annotations(vm: Object) -> dict[str, str]:
    """The VM's annotations but for those that mean the VM object itself, and what tools look for on Pods."""
    return {
        **_public_annotations(vm),
        "kubectl.kubernetes.io/default-container": names.COMPUTE_CONTAINER,
        "descheduler.alpha.kubernetes.io/request-evict-only": "",
    }


def _container(need: Resources) -> dict[str, Any]:
    memory = quantity.bytes_text(need.memory_bytes + need.overhead_bytes)
    return {
        "name": names.COMPUTE_CONTAINER,
        "image": IMAGE,
        "stdin": True,
        "tty": True,
        "resources": {
            "requests": {"cpu": quantity.cpu_text(need.cpu_milli), "memory": memory},
            "limits": {"cpu": quantity.cpu_text(need.cores * 1000), "memory": memory},
        },
    }


@dataclass(frozen=True)
class Now:
    """What a target takes from the present and not from its source."""

    vm: Object
    vmclass: Object
    firmware: str = ""  # empty: that of the source
    not_on: tuple[str, ...] = ()  # nodes besides the source's


def target_pod(source: Object, vmm: Object, name: str, now: Now | None = None) -> Object:
    """The Pod that receives the guest of ``source`` in the migration ``vmm``: never on the same node, nor on one where
    any other Pod of the VM has not ended.

    A node selector of the operation is added as a requirement and not merged into the VM's own: where both
    contradict, no node fits and the scheduler says so, instead of one of them winning silently. Without ``now`` the
    target may run where its source might.
    """
    meta = source["metadata"]
    spec = copy.deepcopy(source["spec"])
    for assigned in ("nodeName", "priority", "preemptionPolicy", "hostname"):
        spec.pop(assigned, None)
    annotations = dict(meta.get("annotations") or {})
    annotations.setdefault(AFFINITY_ANNOTATION, _json(spec.get("affinity") or {}))
    if now is not None:
        _bring_up_to_date(spec, annotations, now)
    # The rules of an earlier migration end with it.
    spec["affinity"] = json.loads(annotations[AFFINITY_ANNOTATION])
    node_affinity = spec["affinity"].setdefault("nodeAffinity", {})
    nodes = (vmms.source_node(vmm), *(now.not_on if now is not None else ()))
    elsewhere = [{"key": "metadata.name", "operator": "NotIn", "values": [node]} for node in nodes]
    placement.require(node_affinity, "matchFields", elsewhere)
    placement.keep_apart(spec["affinity"], {CREATED_BY_LABEL: meta["labels"][CREATED_BY_LABEL]})
    placement.apply_plan(spec["affinity"], vmms.spec(vmm).get("plan") or {})
    selector = vmms.spec(vmm).get("nodeSelector") or {}
    wanted = [
        {"key": key, "operator": "In", "values": [value]} for key, value in sorted(selector.items())
    ]
    if wanted:
        placement.require(node_affinity, "matchExpressions", wanted)
    for ends_with_the_source in (
        names.STOP_ANNOTATION,
        names.EVICTION_ANNOTATION,
        names.BLOCKED_ANNOTATION,
    ):
        annotations.pop(ends_with_the_source, None)
    annotations[names.MIGRATION_ANNOTATION] = vmm["metadata"]["name"]
    labels = {**(meta.get("labels") or {}), MIGRATION_LABEL: vmm["metadata"]["uid"]}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name,
            "namespace": meta["namespace"],
            "labels": labels,
            "annotations": annotations,
            "ownerReferences": copy.deepcopy(meta["ownerReferences"]),
        },
        "spec": spec,
    }


def _bring_up_to_date(spec: dict[str, Any], annotations: dict[str, str], now: Now) -> None:
    wished = placement.of(now.vm, now.vmclass)
    for field in placement.FIELDS:
        spec.pop(field, None)
    spec |= wished
    annotations[AFFINITY_ANNOTATION] = _json(wished.get("affinity") or {})
    annotations[placement.DIGEST_ANNOTATION] = placement.digest(now.vm, now.vmclass)
    if APPLIED_SPEC_ANNOTATION in annotations:
        applied = json.loads(annotations[APPLIED_SPEC_ANNOTATION])
        for field in placement.FIELDS:
            applied.pop(field, None)
        present = vms.spec(now.vm)
        applied |= {field: present[field] for field in placement.FIELDS if field in present}
        annotations[APPLIED_SPEC_ANNOTATION] = _json(applied)
    if now.firmware:
        annotations[names.FIRMWARE_ANNOTATION] = now.firmware
