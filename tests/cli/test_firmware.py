"""What `firmware list` shows and what `firmware set` refuses, from objects alone."""

from __future__ import annotations

import json
from typing import Any

import click
import pytest

from drover.api import firmware, names
from drover.api.firmware import Offer
from drover.cli.firmware_set import objections, resolve
from drover.cli.firmware_world import World, world_of

OLD = Offer("7.2.22", ("pc-q35-2.4", "pc-q35-7.2"))
NEW = Offer("10.0.2", ("pc-q35-7.2", "pc-q35-10.0"))


def node(name: str, *offers: Offer, vm_node: bool = True) -> dict[str, Any]:
    labels = {names.SCHEDULABLE_LABEL: "true"} if vm_node else {}
    notes = {names.FIRMWARE_ANNOTATION: firmware.encode(offers)}
    return {"metadata": {"name": name, "labels": labels, "annotations": notes}}


def vm(name: str, version: str, phase: str = "Running") -> dict[str, Any]:
    status: dict[str, Any] = {"phase": phase}
    if version:
        status["versions"] = {"qemu": version}
    return {"metadata": {"namespace": "default", "name": name}, "status": status}


def config(version: str, reason: str = "", message: str = "") -> dict[str, Any]:
    said = {"type": "FirmwareRolledOut", "status": "False", "reason": reason, "message": message}
    return {
        "metadata": {"name": "virtualization"},
        "spec": {"settings": {"firmware": {"version": version}}},
        "status": {"conditions": [said] if reason else [], "firmware": {"token": "t"}},
    }


NODES = [node("n1", OLD, NEW), node("n2", OLD, NEW), node("cp", vm_node=False)]
VMS = [vm("a", "7.2.22"), vm("b", "10.0.2"), vm("c", "7.2.22", "Stopped"), vm("d", "")]


def world(wanted: str = "", **changes: Any) -> World:
    given = {"all_nodes": NODES, "all_vms": VMS, "all_pods": [], "config": config(wanted)}
    return world_of(**{**given, **changes})


def test_the_table_names_versions_nodes_and_vms() -> None:
    assert world("10.0.2").table() == [
        "VERSION      WANTED     VMS   NODES",
        "10.0.2       yes          1   n1, n2",
        "7.2.22       -            1   n1*, n2*",
    ]
    assert world("10.0.2").summary() == ["1 of 2 running VMs are outdated. default/a"]
    assert "No version is wanted" in world().summary()[0]
    assert world().outdated == []


def test_a_version_that_only_runs_or_is_only_wanted_is_shown_too() -> None:
    found = world("11.0.0", all_vms=[vm("a", "6.0.0")])
    assert found.versions == ["11.0.0", "10.0.2", "7.2.22", "6.0.0"]
    assert found.table()[1].endswith("none")


def test_the_state_of_a_rollout_is_told() -> None:
    stopped = world("10.0.2", config=config("10.0.2", "Stopped", "stopped after 3 failures"))
    assert stopped.summary()[1] == "Rollout: Stopped: stopped after 3 failures"
    said = json.loads(json.dumps(stopped.as_json()))
    assert said["outdated"] == ["default/a"]
    assert said["rollout"]["reason"] == "Stopped"
    assert said["versions"][0] == {
        "version": "10.0.2",
        "wanted": True,
        "nodes": ["n1", "n2"],
        "defaultOn": [],
        "virtualMachines": ["default/b"],
    }


@pytest.mark.parametrize(
    ("asked", "meant"), [("10.0.2", "10.0.2"), ("10", "10.0.2"), ("7.2", "7.2.22")]
)
def test_a_version_is_meant_by_its_beginning(asked: str, meant: str) -> None:
    assert resolve(world(), asked) == meant


def test_a_bundle_that_does_not_exist_is_refused_with_what_does() -> None:
    with pytest.raises(click.ClickException, match=r'"9\.1".*on offer: 10\.0\.2, 7\.2\.22'):
        resolve(world(), "9.1")
    with pytest.raises(click.ClickException, match="no VM node tells"):
        resolve(world(all_nodes=[], all_vms=[]), "9.1")
    two = [node("n1", NEW, Offer("10.1.0", ()))]
    with pytest.raises(click.ClickException, match=r"any of 10\.1\.0, 10\.0\.2"):
        resolve(world(all_nodes=two), "10")
    # Wanted or running is not offered.
    with pytest.raises(click.ClickException, match="no node offers"):
        resolve(world("11.0.0"), "11.0.0")


def test_every_vm_node_must_offer_it() -> None:
    assert objections(world(), "10.0.2") == []
    mixed = world(all_nodes=[*NODES, node("n3", OLD)])
    (why,) = objections(mixed, "10.0.2")
    assert why == "these VM nodes do not offer 10.0.2: n3"


def test_it_must_know_the_machine_types_that_run() -> None:
    found = World(
        {"n1": (OLD, NEW), "n2": (OLD, NEW)},
        {"default/old": "7.2.22"},
        {"default/old": "pc-q35-2.4"},
    )
    (why,) = objections(found, "10.0.2")
    assert why == "10.0.2 on n1, n2 has no machine type pc-q35-2.4, which default/old need"
    later = Offer("12.0.0", ("pc-q35-12.0",))
    (why,) = objections(World({"n1": (later,)}, {}, {}), "12.0.0")
    assert "pc-q35-7.2, which new VMs need" in why
