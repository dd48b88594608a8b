"""VirtualDisk: the words of its API and read-only views of one."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Any

from drover.base import quantity

Obj = Mapping[str, Any]


class DiskPhase(enum.StrEnum):
    PENDING = "Pending"
    PROVISIONING = "Provisioning"
    READY = "Ready"
    RESIZING = "Resizing"
    FAILED = "Failed"
    TERMINATING = "Terminating"


class DataSourceType(enum.StrEnum):
    """``spec.dataSource.type``; without a data source the disk is blank."""

    OBJECT_REF = "ObjectRef"
    HTTP = "HTTP"


class DiskCondition:
    DATASOURCE_READY = "DatasourceReady"
    READY = "Ready"
    RESIZED = "Resized"
    IN_USE = "InUse"


class DiskReason:
    DATASOURCE_READY = "DatasourceReady"
    IMAGE_NOT_FOUND = "ImageNotFound"
    IMAGE_NOT_READY = "ImageNotReady"
    CLUSTER_IMAGE_NOT_FOUND = "ClusterImageNotFound"
    CLUSTER_IMAGE_NOT_READY = "ClusterImageNotReady"
    READY = "Ready"
    PROVISIONING = "Provisioning"
    PROVISIONING_FAILED = "ProvisioningFailed"
    ATTACHED = "AttachedToVirtualMachine"
    NOT_IN_USE = "NotInUse"


def status(disk: Obj) -> Obj:
    return disk.get("status") or {}


def phase(disk: Obj) -> DiskPhase | None:
    text = status(disk).get("phase")
    return DiskPhase(text) if text else None


def ready(disk: Obj) -> bool:
    return phase(disk) is DiskPhase.READY


def wanted_bytes(disk: Obj) -> int | None:
    """None: as large as its source."""
    claim = (disk.get("spec") or {}).get("persistentVolumeClaim") or {}
    return quantity.size_bytes(claim["size"]) if claim.get("size") else None


def data_source(disk: Obj) -> Obj | None:
    """None: blank."""
    return (disk.get("spec") or {}).get("dataSource")


def path(disk: Obj) -> str:
    """Where the file is, relative to the shared directory; empty until made."""
    return str((status(disk).get("target") or {}).get("path", ""))


def capacity_bytes(disk: Obj) -> int:
    return quantity.size_bytes(status(disk).get("capacity", "0"))


def held_by(disk: Obj) -> tuple[str, str] | None:
    """Name and uid of the VM that holds it; None: free."""
    held = status(disk).get("heldBy")
    return (str(held["name"]), str(held["uid"])) if held else None
