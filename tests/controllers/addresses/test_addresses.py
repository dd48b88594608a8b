"""Addresses: one holder each, kept through restarts, retained for a while after their claim."""

from __future__ import annotations

import pytest
from tests.controllers.world import Story, World, play

from drover.api.scheme import VM, VMIP, VMIPLEASE
from drover.api.status import NotFound
from drover.controllers.addresses.controller import wire
from drover.controllers.addresses.decide import (
    Keep,
    Range,
    Refuse,
    Revive,
    Take,
    Verdict,
    choose,
    user_of,
)

RANGE = Range("10.66.10.14", "10.66.10.16")


def tell(story: Story) -> None:
    play(story, lambda world: wire(world.manager, RANGE))


def lease(address: str, phase: str) -> dict[str, object]:
    return {"metadata": {"name": "ip-" + address.replace(".", "-")}, "status": {"phase": phase}}


def claim(static: str = "") -> dict[str, object]:
    spec = {"type": "Static", "staticIP": static} if static else {"type": "Auto"}
    return {"metadata": {"name": "c", "namespace": "default"}, "spec": spec}


BOUND, OLD = lease("10.66.10.15", "Bound"), lease("10.66.10.15", "Released")
FULL = {"ip-10-66-10-14", "ip-10-66-10-15", "ip-10-66-10-16"}


@pytest.mark.parametrize(
    ("asked", "own", "taken", "verdict"),
    [
        ("", [], set(), Take("10.66.10.14")),
        ("", [], {"ip-10-66-10-14"}, Take("10.66.10.15")),
        ("", [BOUND], FULL, Keep(BOUND)),
        ("", [OLD], FULL, Revive(OLD)),
        ("", [], FULL, "NoFreeAddress"),
        ("10.66.10.16", [], set(), Take("10.66.10.16")),
        ("10.66.10.15", [OLD], FULL, Revive(OLD)),
        ("10.66.10.16", [OLD], {"ip-10-66-10-15"}, Take("10.66.10.16")),
        ("10.66.10.16", [], FULL, "VirtualMachineIPAddressLeaseAlreadyExists"),
        ("10.66.10.99", [], set(), "VirtualMachineIPAddressIsOutOfTheValidRange"),
    ],
)
def test_choice(asked: str, own: list[object], taken: set[str], verdict: Verdict | str) -> None:
    found = choose(claim(asked), own, taken, RANGE)  # type: ignore[arg-type]
    assert (found.reason if isinstance(found, Refuse) else found) == verdict


def test_the_present_user_stays() -> None:
    vms = [
        {"metadata": {"name": name, "creationTimestamp": stamp}}
        for name, stamp in (("b", "2026-01-01T00:00:01Z"), ("a", "2026-01-01T00:00:02Z"))
    ]
    attached = {**claim(), "status": {"virtualMachineName": "a"}}
    assert user_of(claim(), vms) == "b"
    assert user_of(attached, vms) == "a"
    assert user_of(attached, vms[:1]) == "b"
    assert user_of(attached, []) == ""


def test_a_vm_gets_an_address_of_its_name_and_leaves_it_for_ten_minutes() -> None:
    async def story(world: World) -> None:
        vm = await world.create(VM, "linux-vm", {})
        await world.settle()
        found = await world.get(VMIP, "linux-vm")
        assert found["status"]["address"] == "10.66.10.14"
        assert (found["status"]["phase"], found["status"]["virtualMachineName"]) == (
            "Attached",
            "linux-vm",
        )
        assert found["metadata"]["ownerReferences"][0]["uid"] == vm["metadata"]["uid"]

        await world.delete(VMIP, "linux-vm")
        await world.settle(5)
        kept = await world.get(VMIP, "linux-vm")
        assert "removed after the VM" in kept["status"]["conditions"][1]["message"]
        await world.delete(VM, "linux-vm")
        await world.settle()
        assert await world.find(VMIP, "linux-vm") is None
        assert (await world.get(VMIPLEASE, "ip-10-66-10-14"))["status"]["phase"] == "Released"

        await world.create(VM, "other", {})
        await world.settle()
        assert (await world.get(VMIP, "other"))["status"]["address"] == "10.66.10.15"
        await world.create(VM, "linux-vm", {})
        await world.settle()
        assert (await world.get(VMIP, "linux-vm"))["status"]["address"] == "10.66.10.14"

        await world.delete(VM, "linux-vm")
        await world.delete(VMIP, "linux-vm")
        await world.settle(601)
        with pytest.raises(NotFound):
            await world.get(VMIPLEASE, "ip-10-66-10-14")

    tell(story)


def test_two_claims_never_share_an_address() -> None:
    async def story(world: World) -> None:
        for name in ("a", "b", "c", "d"):
            await world.create(VMIP, name, {"type": "Auto"})
        await world.settle()
        found = [(await world.get(VMIP, name))["status"] for name in ("a", "b", "c", "d")]
        assert sorted(status.get("address", "") for status in found) == [
            "", "10.66.10.14", "10.66.10.15", "10.66.10.16",
        ]  # fmt: skip
        lost = next(status for status in found if "address" not in status)
        assert (lost["phase"], lost["conditions"][0]["reason"]) == ("Pending", "NoFreeAddress")

    tell(story)


def test_a_second_vm_of_a_claim_waits_for_the_first() -> None:
    async def story(world: World) -> None:
        await world.create(VMIP, "fixed", {"type": "Static", "staticIP": "10.66.10.16"})
        for name in ("first", "second"):
            await world.create(VM, name, {"virtualMachineIPAddressName": "fixed"})
            await world.settle()
        assert (await world.get(VMIP, "fixed"))["status"]["virtualMachineName"] == "first"
        await world.delete(VM, "first")
        await world.settle()
        assert (await world.get(VMIP, "fixed"))["status"]["virtualMachineName"] == "second"
        assert await world.find(VMIP, "second") is None

    tell(story)
