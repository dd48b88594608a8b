"""VirtualMachineIPAddress (a claim) and its Lease (the address itself): words and views."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Any

Obj = Mapping[str, Any]


class IpType(enum.StrEnum):
    AUTO = "Auto"
    STATIC = "Static"


class IpPhase(enum.StrEnum):
    """Of the claim."""

    PENDING = "Pending"
    BOUND = "Bound"
    ATTACHED = "Attached"


class IpLeasePhase(enum.StrEnum):
    """Of the lease; a released one is kept for a while for its last owner."""

    BOUND = "Bound"
    RELEASED = "Released"


class IpCondition:
    BOUND = "Bound"
    ATTACHED = "Attached"


class IpReason:
    BOUND = "VirtualMachineIPAddressLeaseBound"
    NO_FREE_ADDRESS = "NoFreeAddress"
    OUT_OF_RANGE = "VirtualMachineIPAddressIsOutOfTheValidRange"
    LEASE_TAKEN = "VirtualMachineIPAddressLeaseAlreadyExists"
    ATTACHED = "Attached"
    NOT_ATTACHED = "VirtualMachineNotFound"
    RELEASED = "Released"


def claim_type(claim: Obj) -> IpType:
    return IpType((claim.get("spec") or {}).get("type", IpType.AUTO))


def static_ip(claim: Obj) -> str:
    return str((claim.get("spec") or {}).get("staticIP", ""))


def address(claim: Obj) -> str:
    """The address bound; empty: none yet."""
    return str((claim.get("status") or {}).get("address", ""))


def phase(claim: Obj) -> IpPhase | None:
    text = (claim.get("status") or {}).get("phase")
    return IpPhase(text) if text else None


def attached_vm(claim: Obj) -> str:
    return str((claim.get("status") or {}).get("virtualMachineName", ""))


def lease_name(ip: str) -> str:
    """``10.66.10.10`` is leased by the object ``ip-10-66-10-10``."""
    return "ip-" + ip.replace(".", "-")


def lease_address(lease: Obj) -> str:
    return str(lease["metadata"]["name"]).removeprefix("ip-").replace("-", ".")


def lease_phase(lease: Obj) -> IpLeasePhase | None:
    text = (lease.get("status") or {}).get("phase")
    return IpLeasePhase(text) if text else None


def lease_claim(lease: Obj) -> tuple[str, str]:
    """Namespace and name of the claim it belongs to, or belonged to last."""
    ref = (lease.get("spec") or {}).get("virtualMachineIPAddressRef") or {}
    return str(ref.get("namespace", "")), str(ref.get("name", ""))
