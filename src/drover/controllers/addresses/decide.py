"""Which address a claim gets, and what it shows. Pure."""

from __future__ import annotations

import ipaddress
from collections.abc import Container, Iterator
from dataclasses import dataclass

from drover.api.kinds import ip as ips
from drover.api.kinds.ip import IpLeasePhase, IpReason, IpType
from drover.api.meta import is_deleting, name_of, namespace_of
from drover.api.wire import Object

RETENTION_S = 600.0


@dataclass(frozen=True)
class Range:
    """Addresses for guests, both ends included."""

    first: str
    last: str

    def __iter__(self) -> Iterator[str]:
        low, high = int(ipaddress.IPv4Address(self.first)), int(ipaddress.IPv4Address(self.last))
        return (str(ipaddress.IPv4Address(number)) for number in range(low, high + 1))

    def __contains__(self, address: object) -> bool:
        value = ipaddress.IPv4Address(str(address))
        return ipaddress.IPv4Address(self.first) <= value <= ipaddress.IPv4Address(self.last)

    def __str__(self) -> str:
        return f"{self.first} to {self.last}"


@dataclass(frozen=True)
class Keep:
    """The claim has this lease."""

    lease: Object


@dataclass(frozen=True)
class Take:
    """Create the lease of this address."""

    address: str


@dataclass(frozen=True)
class Revive:
    """The claim's own lease, released not long ago: bind it again."""

    lease: Object


@dataclass(frozen=True)
class Refuse:
    """There is no address for the claim."""

    reason: str
    message: str


Verdict = Keep | Take | Revive | Refuse


def choose(claim: Object, own: list[Object], taken: Container[str], addresses: Range) -> Verdict:
    """``own``: leases that name this claim; ``taken``: names of all leases that exist."""
    static = ips.static_ip(claim) if ips.claim_type(claim) is IpType.STATIC else ""
    mine = [lease for lease in own if not static or ips.lease_address(lease) == static]
    for lease in mine:
        if ips.lease_phase(lease) is not IpLeasePhase.RELEASED:
            return Keep(lease)
    if mine:
        return Revive(mine[0])
    if static:
        return _static(static, taken, addresses)
    for address in addresses:
        if ips.lease_name(address) not in taken:
            return Take(address)
    return Refuse(IpReason.NO_FREE_ADDRESS, f"All addresses from {addresses} are in use")


def _static(address: str, taken: Container[str], addresses: Range) -> Verdict:
    if address not in addresses:
        message = f"{address} is outside of the addresses for guests, {addresses}"
        return Refuse(IpReason.OUT_OF_RANGE, message)
    if ips.lease_name(address) in taken:
        message = f"{address} belongs to another claim: see VirtualMachineIPAddressLease {ips.lease_name(address)}"
        return Refuse(IpReason.LEASE_TAKEN, message)
    return Take(address)


def user_of(claim: Object, users: list[Object]) -> str:
    """The VM that may use the claim: who has it already, until that VM is gone or its guest has another address; else
    the oldest that comes. Empty: none."""
    present = ips.attached_vm(claim)
    if present in map(name_of, users):
        return present
    coming = sorted((vm for vm in users if not is_deleting(vm)), key=_age)
    return name_of(coming[0]) if coming else ""


def _age(vm: Object) -> tuple[str, str]:
    return str(vm["metadata"].get("creationTimestamp", "")), name_of(vm)


def belongs(lease: Object, claim: Object) -> bool:
    return ips.lease_claim(lease) == (namespace_of(claim), name_of(claim))
