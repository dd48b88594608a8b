"""Wiring of the addresses controllers: one over VMs (makes claims), one over claims, one over leases."""

from __future__ import annotations

from dataclasses import dataclass

from drover.api import conditions as cond
from drover.api import names
from drover.api.kinds import ip as ips
from drover.api.kinds import vm as vms
from drover.api.kinds.ip import IpCondition, IpLeasePhase, IpPhase, IpReason, IpType
from drover.api.meta import (
    generation_of,
    has_finalizer,
    is_deleting,
    name_of,
    namespace_of,
    owner_reference,
    uid_of,
)
from drover.api.scheme import VM, VMIP, VMIPLEASE, key_of, split_key
from drover.api.status import AlreadyExists, NotFound
from drover.api.wire import Object
from drover.base.clock import parse_rfc3339
from drover.controllers.addresses.decide import (
    RETENTION_S,
    Keep,
    Range,
    Refuse,
    Revive,
    Take,
    choose,
    user_of,
)
from drover.controllers.writes import Writer
from drover.runtime.controller import After, Controller, Done, Outcome
from drover.runtime.informer import Informer
from drover.runtime.manager import Manager

FULL_RETRY_S = 30.0  # a lease may end its retention meanwhile
MOST_TRIES = 256  # addresses found taken in one pass, while the cache is behind


class Addresses:
    """The three passes over shared caches."""

    def __init__(self, manager: Manager, addresses: Range) -> None:
        self._client = manager.client
        self._clock = manager.clock
        self._range = addresses
        self.vms = manager.informer(VM)
        self.claims = manager.informer(VMIP)
        self.leases = manager.informer(VMIPLEASE)
        self._claim_writer = Writer(manager.client, manager.clock, self.claims)
        self._lease_writer = Writer(manager.client, manager.clock, self.leases)
        self.vms.add_index("address-claim", claim_keys_of)
        self.leases.add_index("address-claim", lambda lease: ["/".join(ips.lease_claim(lease))])

    async def reconcile_vm(self, key: str) -> Outcome:
        """Who names no claim gets one, owned by the VM."""
        vm = self.vms.get(key)
        if (
            vm is None
            or is_deleting(vm)
            or vms.ip_claim_name(vm)
            or self.claims.get(key) is not None
        ):
            return Done()
        meta = {
            "name": name_of(vm),
            "namespace": namespace_of(vm),
            "finalizers": [names.VMIP_FINALIZER],
            "ownerReferences": [owner_reference(VM, vm)],
        }
        try:
            made = await self._client.create(
                VMIP, {"metadata": meta, "spec": {"type": IpType.AUTO}}
            )
        except AlreadyExists:
            return Done()  # the cache will tell
        self.claims.observe(made)
        return Done()

    async def reconcile_claim(self, key: str) -> Outcome:
        claim = self.claims.get(key)
        if claim is None:
            return Done()
        if is_deleting(claim):
            return await self._remove(claim)
        if not has_finalizer(claim, names.VMIP_FINALIZER):
            await self._claim_writer.add_finalizer(claim, names.VMIP_FINALIZER)
            return Done()
        found = await self._bind(claim)
        if isinstance(found, Refuse):
            await self._show(claim, "", "", found)
            return After(FULL_RETRY_S)
        user = user_of(claim, self._users(key))
        await self._show(claim, ips.lease_address(found), user, None)
        return Done()

    def _users(self, key: str) -> list[Object]:
        """The VMs that ask for this claim, or whose guest may still have its address."""
        return self.vms.by_index("address-claim", key)

    async def _bind(self, claim: Object) -> Object | Refuse:
        """The claim's lease, made or revived when needed."""
        found_taken: set[str] = set()
        for _ in range(MOST_TRIES):
            own = self.leases.by_index("address-claim", key_of(claim))
            verdict = choose(claim, own, _Taken(self.leases, found_taken), self._range)
            match verdict:
                case Refuse():
                    return verdict
                case Keep(lease):
                    return await self._lease_status(lease, IpLeasePhase.BOUND)
                case Revive(lease):
                    return await self._lease_status(lease, IpLeasePhase.BOUND)
                case Take(address):
                    try:
                        return await self._take(claim, address)
                    except AlreadyExists:
                        found_taken.add(ips.lease_name(address))
        return Refuse(IpReason.NO_FREE_ADDRESS, "Too many addresses were taken at the same time")

    async def _take(self, claim: Object, address: str) -> Object:
        reference = {"name": name_of(claim), "namespace": namespace_of(claim)}
        body = {
            "metadata": {"name": ips.lease_name(address)},
            "spec": {"virtualMachineIPAddressRef": reference},
        }
        made = await self._client.create(VMIPLEASE, body)
        self.leases.observe(made)
        return await self._lease_status(made, IpLeasePhase.BOUND)

    async def _lease_status(self, lease: Object, phase: IpLeasePhase) -> Object:
        bound = phase is IpLeasePhase.BOUND
        reason = IpReason.BOUND if bound else IpReason.RELEASED
        wanted = cond.condition(IpCondition.BOUND, bound, reason)
        return await self._lease_writer.status(lease, {"phase": str(phase)}, [wanted])

    async def _show(self, claim: Object, address: str, user: str, refused: Refuse | None) -> None:
        generation = generation_of(claim)
        reason = refused.reason if refused is not None else IpReason.BOUND
        message = refused.message if refused is not None else ""
        bound = cond.condition(IpCondition.BOUND, refused is None, reason, message, generation)
        use = IpReason.ATTACHED if user else IpReason.NOT_ATTACHED
        attached = cond.condition(IpCondition.ATTACHED, bool(user), use, "", generation)
        phase = IpPhase.ATTACHED if user else (IpPhase.BOUND if address else IpPhase.PENDING)
        fields = {
            "phase": str(phase),
            "address": address or None,
            "virtualMachineName": user or None,
            "observedGeneration": generation,
        }
        await self._claim_writer.status(claim, fields, [bound, attached])

    async def _remove(self, claim: Object) -> Outcome:
        """The claim of a VM that exists stays: its guest has the address."""
        if not has_finalizer(claim, names.VMIP_FINALIZER):
            return Done()
        user = ips.attached_vm(claim)
        if user in map(name_of, self._users(key_of(claim))):
            message = f'The VirtualMachine "{user}" uses this address; it is removed after the VM'
            attached = cond.condition(IpCondition.ATTACHED, True, IpReason.ATTACHED, message)
            await self._claim_writer.status(claim, {}, [attached])
            return Done()
        for lease in self.leases.by_index("address-claim", key_of(claim)):
            await self._lease_status(lease, IpLeasePhase.RELEASED)
        await self._claim_writer.drop_finalizer(claim, names.VMIP_FINALIZER)
        return Done()

    async def reconcile_lease(self, key: str) -> Outcome:
        """A lease without its claim is released, and removed after the retention; not while a VM may have the address:
        somebody may have taken the claim away by force."""
        lease = self.leases.get(key)
        if lease is None or is_deleting(lease):
            return Done()
        owner = "/".join(ips.lease_claim(lease))
        if self.claims.get(owner) is not None or self._users(owner):
            return Done()
        if ips.lease_phase(lease) is not IpLeasePhase.RELEASED:
            if not await self._claim_exists(owner):
                await self._lease_status(lease, IpLeasePhase.RELEASED)
            return Done()
        condition = cond.get_condition(lease, IpCondition.BOUND)
        since_s = parse_rfc3339(condition["lastTransitionTime"]) if condition else 0.0
        left_s = since_s + RETENTION_S - self._clock.wall()
        if left_s > 0:
            return After(left_s)
        meta = lease["metadata"]
        try:
            await self._client.delete(
                VMIPLEASE, meta["name"], uid=uid_of(lease), resource_version=meta["resourceVersion"]
            )
        except NotFound:
            return Done()
        return Done()

    def lease_keys(self, claim: str) -> list[str]:
        return [key_of(lease) for lease in self.leases.by_index("address-claim", claim)]

    async def _claim_exists(self, key: str) -> bool:
        """Read live: a claim that was just made may not be in the cache yet."""
        namespace, name = split_key(key)
        try:
            await self._client.get(VMIP, name, namespace)
        except NotFound:
            return False
        return True


@dataclass(frozen=True)
class _Taken:
    """Names of leases that exist. A set of them would be made anew for every claim that is looked at."""

    leases: Informer
    found: set[str]

    def __contains__(self, name: object) -> bool:
        return name in self.found or (isinstance(name, str) and name in self.leases)


def claim_keys_of(vm: Object) -> list[str]:
    """The claim that it asks for, and the one whose address its guest has: a change waits for a restart."""
    asked, has = vms.ip_claim_name(vm) or name_of(vm), vms.ip_claim_in_use(vm)
    return [f"{namespace_of(vm)}/{name}" for name in dict.fromkeys((asked, has or asked))]


def _of_claim(vm: Object) -> object:
    """What claims depend on of a VM."""
    return uid_of(vm), is_deleting(vm), claim_keys_of(vm)


def wire(manager: Manager, addresses: Range) -> None:
    """Register the addresses controllers."""
    made = Addresses(manager, addresses)
    of_vms = Controller("address-claims", made.reconcile_vm)
    of_vms.watch(made.vms, lambda vm: [key_of(vm)], _of_claim)
    of_vms.watch(made.claims, lambda claim: [key_of(claim)])
    of_claims = Controller("addresses", made.reconcile_claim)
    of_claims.watch(made.claims, lambda claim: [key_of(claim)])
    of_claims.watch(made.vms, claim_keys_of, _of_claim)
    of_leases = Controller("address-leases", made.reconcile_lease)
    of_leases.watch(made.leases, lambda lease: [key_of(lease)])
    of_leases.watch(made.claims, lambda claim: made.lease_keys(key_of(claim)))
    of_leases.watch(
        made.vms,
        lambda vm: [x for key in claim_keys_of(vm) for x in made.lease_keys(key)],
        _of_claim,
    )
    for controller in (of_vms, of_claims, of_leases):
        manager.add(controller)
