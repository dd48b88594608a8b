"""What `fence list`, `fence show` and `status` say of nodes, from objects alone. `confirm` runs in simulation:
tests/sim/test_scenarios_fencing.py."""

from __future__ import annotations

from typing import Any

import click
import pytest
from click.testing import CliRunner

from drover.api import names
from drover.api.fencing import Armed, Evidence, Timing
from drover.api.names import WATCHDOG_TROUBLE_ANNOTATION as TROUBLE
from drover.api.profiles import PROFILES
from drover.cli.fence_on import lives_by
from drover.cli.fence_world import World, world_of
from drover.cli.main import cli

ARMED = Armed.of(Timing(6), "deadline")


def lease(node: str, armed: Armed | None = ARMED) -> dict[str, Any]:
    said = Evidence("7", "boot", node, 7, armed).dump()
    marks = {names.INCARNATION_ANNOTATION: f"life-{node}", names.EVIDENCE_ANNOTATION: said}
    return {"metadata": {"name": node, "annotations": marks}}


def a_node(name: str) -> dict[str, Any]:
    return {"metadata": {"name": name, "labels": {names.NODE_GROUP_LABEL: "worker"}}}


def a_group(reason: str = "Watching", message: str = "") -> dict[str, Any]:
    said = {"type": "FencingActive", "status": "True", "reason": reason, "message": message}
    spec = {"fencing": {"mode": "Watchdog"}}
    return {"metadata": {"name": "worker"}, "spec": spec, "status": {"conditions": [said]}}


def a_fence(node: str, phase: str, **status: Any) -> dict[str, Any]:
    spec = {"node": node, "incarnation": f"life-{node}", "group": "worker"}
    return {"metadata": {"name": node}, "spec": spec, "status": {"phase": phase, **status}}


def world(*fences: dict[str, Any], group: dict[str, Any] | None = None) -> World:
    leases = [lease("n1"), lease("n2"), lease("n3", None)]
    return world_of([group or a_group()], leases, [a_node("n2"), a_node("n3")], fences)


WAITS = {"reason": "PeersNeeded", "message": "0 of 2 peers"}


def test_the_list_says_who_is_armed_who_is_lost_and_why_no_more_is_done() -> None:
    assert world(a_fence("n1", "Suspect", **WAITS)).table() == [
        "NODE                 GROUP          STATE          EVIDENCE      WHY NOT MORE",
        "n1                   worker         Suspect        -             PeersNeeded: 0 of 2 peers",
        "n2                   worker         armed, 6 s     -             -",
        "n3                   worker         not armed      -             -",
    ]
    assert world().summary() == ["Fencing of group worker: Watchdog, profile host."]
    short = {
        **a_group(),
        "spec": {"fencing": {"mode": "Watchdog", "profile": "lab", "watchdog": {"timeout": "9s"}}},
    }
    assert world(group=short).summary() == [
        "Fencing of group worker: Watchdog, profile lab, timeout 9s."
    ]


def test_a_node_that_cannot_be_armed_says_why() -> None:
    deaf = {
        **a_node("n3"),
        "metadata": {**a_node("n3")["metadata"], "annotations": {TROUBLE: "no device"}},
    }
    there = world_of([a_group()], [lease("n3", None)], [deaf], [])
    assert there.table()[1].split("  ")[-1].strip() == "no device"


FAST, HOST = PROFILES["fast"].timing(), PROFILES["host"].timing()


@pytest.mark.parametrize(
    ("promised", "wanted", "lives"),
    [
        (Armed.of(FAST, "deadline"), FAST, True),
        (
            Armed.of(PROFILES["host"].timing(8.0), "device"),
            HOST,
            True,
        ),  # a device takes its part of the timeout
        (Armed.of(FAST, "deadline"), HOST, False),
        (Armed.of(Timing(22), "deadline"), HOST, False),  # the same timeout, and another K
        (None, FAST, False),
    ],
)
def test_a_node_lives_by_the_times_that_its_renewal_promises(
    promised: Armed | None, wanted: Timing, lives: bool
) -> None:
    there = world_of([a_group()], [lease("n1", promised)], [a_node("n1")], [])
    assert lives_by(there, "n1", wanted) is lives


def test_status_tells_only_troubles() -> None:
    assert world().troubles() == []
    assert world(a_fence("n1", "Rejoined")).troubles() == []
    braked = a_group("TooManyUnhealthy", "2 nodes are silent")
    lost = world(a_fence("n1", "Suspect", **WAITS), group=braked)
    assert (lost.state("n1"), lost.why("n1")) == ("Suspect", "PeersNeeded: 0 of 2 peers")
    assert lost.troubles() == ["fencing of group worker: TooManyUnhealthy: 2 nodes are silent"]


def test_the_timeline_has_the_restarts_in_their_place() -> None:
    moments = {"suspect": "2026-01-01T00:00:05Z", "fenced": "2026-01-01T00:00:09Z"}
    one = {"namespace": "x", "name": "one", "restarted": "2026-01-01T00:00:10Z", "node": "n2"}
    vms = [one, {"namespace": "x", "name": "two"}]
    fence = a_fence(
        "n1", "Released", evidence="WatchdogTime", timeline=moments, virtualMachines=vms
    )
    assert world(fence).timeline(fence) == [
        "n1, life life-n1: Released, WatchdogTime",
        "  2026-01-01T00:00:05Z  Suspect: its peers are asked to vouch for it no more",
        "  2026-01-01T00:00:09Z  Fenced: nothing of it runs",
        "  2026-01-01T00:00:10Z  x/one starts on n2",
        "  not started again     x/two",
    ]


def test_a_name_that_no_node_has() -> None:
    with pytest.raises(click.ClickException, match="no node 'n9' has ever joined; there are: n1"):
        world().require("n9")


@pytest.mark.parametrize("words", [[], ["n1", "--cluster"], ["--group", "g", "--cluster"]])
def test_a_pause_is_of_one_thing(words: list[str]) -> None:
    said = CliRunner().invoke(cli, ["fence", "pause", *words])
    assert said.exit_code == 2
    assert "name one of" in said.output
