"""The machine spec on a VM Pod: all that a node needs to run the guest, as JSON in one annotation.

Its fields are those of ``agent.ports.MachineSpec``; a test holds both equal. Writers are the vm controller (at a
start) and nobody else: the target Pod of a migration carries the *same text* as its source, since the guest's
hardware must not change under it. ``encode`` refuses unknown and missing fields, so that a typing error is found
where it is made and not on the node.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from drover.api.kinds import vm as vms
from drover.api.kinds import vmclass as classes
from drover.api.scheme import key_of
from drover.api.wire import Object
from drover.base.checks import require

FIELDS = (
    "vm", "vm_uid", "cores", "memory_bytes", "mac", "ip", "gateway", "prefix", "disks",
    "cpu_model", "machine_type", "firmware", "seed_secret", "grace_s", "display", "uefi_vars",
)  # fmt: skip
DISK_FIELDS = ("name", "path", "format", "read_only", "boot_order")
# Fields that Pods of earlier versions lack, and what that means for their guests.
LATER: dict[str, Any] = {"display": False, "uefi_vars": ""}

UEFI_VARS_SUFFIX = ".efivars"  # beside a disk's own file
MACHINE_TYPE = "pc-q35-7.2"  # versioned: a move between QEMUs needs one and the same


class BadMachine(ValueError):
    """The text is no machine spec."""


@dataclass(frozen=True)
class GuestNetwork:
    """What every guest of an installation shares."""

    gateway: str
    prefix: int


def encode(machine: Mapping[str, Any]) -> str:
    """Canonical JSON of a machine spec. Raises BadMachine."""
    _check(machine, FIELDS, "machine")
    for disk in machine["disks"]:
        _check(disk, DISK_FIELDS, "disk")
    return json.dumps(machine, sort_keys=True, separators=(",", ":"))


def decode(text: str) -> dict[str, Any]:
    """The fields again, without those that only a later release knows. Raises BadMachine."""
    try:
        machine = json.loads(text)
    except ValueError as error:
        raise BadMachine(f"no JSON: {error}") from error
    if not isinstance(machine, dict):
        raise BadMachine("no JSON object")
    machine = _known({**LATER, **machine}, FIELDS)
    _check(machine, FIELDS, "machine")
    machine["disks"] = [_known(disk, DISK_FIELDS) for disk in machine["disks"]]
    for disk in machine["disks"]:
        _check(disk, DISK_FIELDS, "disk")
    return machine


def _known(said: Mapping[str, Any], fields: tuple[str, ...]) -> dict[str, Any]:
    return {name: value for name, value in said.items() if name in fields}


def _check(value: Mapping[str, Any], fields: tuple[str, ...], what: str) -> None:
    missing = [field for field in fields if field not in value]
    unknown = sorted(set(value) - set(fields))
    if missing or unknown:
        raise BadMachine(f"{what}: missing {missing}, unknown {unknown}")


def disk(name: str, path: str, *, read_only: bool = False, boot_order: int = 0) -> dict[str, Any]:
    """One block device; everything in the shared directories is qcow2."""
    return {
        "name": name, "path": path, "format": "qcow2", "read_only": read_only, "boot_order": boot_order,
    }  # fmt: skip


def mac_of(vm_uid: str) -> str:
    """A locally administered address that stays with the VM; the chance of two equal ones is 2^-40 a pair."""
    tail = hashlib.sha256(vm_uid.encode()).digest()[:5]
    return ":".join(f"{byte:02x}" for byte in (0x02, *tail))


def machine_of(
    vm: Object,
    vmclass: Object,
    ip: str,
    disks: list[dict[str, Any]],
    network: GuestNetwork,
    seed_secret: str,
) -> dict[str, Any]:
    """The machine spec of a VM for its next start. One that boots by EFI has a disk that can be written (the CRD
    demands it)."""
    return {
        "vm": key_of(vm),
        "vm_uid": vm["metadata"]["uid"],
        "cores": vms.cores(vm),
        "memory_bytes": vms.memory_bytes(vm),
        "mac": mac_of(vm["metadata"]["uid"]),
        "ip": ip,
        "gateway": network.gateway,
        "prefix": network.prefix,
        "disks": disks,
        "cpu_model": classes.cpu_model(vmclass),
        "machine_type": MACHINE_TYPE,
        "firmware": "",
        "seed_secret": seed_secret,
        "grace_s": vms.grace_s(vm),
        "display": True,
        "uefi_vars": uefi_vars_path(disks) if vms.boots_by_efi(vm) else "",
    }


def uefi_vars_path(disks: list[dict[str, Any]]) -> str:
    """Where a guest's EFI variables are kept: beside the first disk in boot order that it may write to. So they are on
    storage that every node has, are held with the disk by one VM, and go when the disk goes."""
    own = [disk for disk in disks if not disk["read_only"]]
    require(bool(own), "EFI without a disk for its variables")
    first = min(own, key=lambda disk: disk["boot_order"] or len(disks) + 1)
    return str(first["path"]).removesuffix(".qcow2") + UEFI_VARS_SUFFIX
