"""VirtualImage and ClusterVirtualImage: the words of their API and read-only views of either."""

from __future__ import annotations

import enum
import re
from collections.abc import Mapping
from typing import Any

from drover.base import quantity

Obj = Mapping[str, Any]


class ImagePhase(enum.StrEnum):
    PENDING = "Pending"
    PROVISIONING = "Provisioning"
    READY = "Ready"
    FAILED = "Failed"
    TERMINATING = "Terminating"


class ImageSourceType(enum.StrEnum):
    """``spec.dataSource.type``. HTTP takes ``http://``, ``https://`` and ``file://`` URLs."""

    HTTP = "HTTP"
    OBJECT_REF = "ObjectRef"


class ImageCondition:
    DATASOURCE_READY = "DatasourceReady"
    READY = "Ready"
    IN_USE = "InUse"


class ImageReason:
    DATASOURCE_READY = "DatasourceReady"
    READY = "Ready"
    PROVISIONING = "Provisioning"
    PROVISIONING_FAILED = "ProvisioningFailed"
    IN_USE = "InUse"
    NOT_IN_USE = "NotInUse"


def status(image: Obj) -> Obj:
    return image.get("status") or {}


def phase(image: Obj) -> ImagePhase | None:
    text = status(image).get("phase")
    return ImagePhase(text) if text else None


def ready(image: Obj) -> bool:
    return phase(image) is ImagePhase.READY


def why_not_ready(image: Obj) -> str:
    """What its condition Ready tells; without a message, where to look."""
    for said in status(image).get("conditions") or ():
        if said["type"] == ImageCondition.READY and said.get("message"):
            return str(said["message"])
    return "see its conditions"


def url(image: Obj) -> str:
    """Where it is fetched from; empty when the source is another object."""
    source = (image.get("spec") or {}).get("dataSource") or {}
    return str((source.get("http") or {}).get("url", ""))


def shown_url(text: str) -> str:
    """A URL for messages and logs: without user, password, query and fragment, which may be secrets."""
    scheme, sign, rest = text.partition("://")
    place = re.split(r"[?#]", rest)[0]
    host, slash, path = place.partition("/")
    return f"{scheme}{sign}{host.rpartition('@')[2]}{slash}{path}"


def checksum(image: Obj) -> dict[str, str]:
    """Expected digests by algorithm (sha256, md5); empty: none given."""
    source = (image.get("spec") or {}).get("dataSource") or {}
    return dict((source.get("http") or {}).get("checksum") or {})


def is_cdrom(image: Obj) -> bool:
    return bool(status(image).get("cdrom", False))


def path(image: Obj) -> str:
    """Where the file is, relative to the shared directory; empty until fetched."""
    return str((status(image).get("target") or {}).get("path", ""))


def unpacked_bytes(image: Obj) -> int:
    """The virtual size, the least a disk made of it needs."""
    return quantity.size_bytes((status(image).get("size") or {}).get("unpackedBytes", "0"))
