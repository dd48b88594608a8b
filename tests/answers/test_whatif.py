"""What would be if: outcomes from objects as the controllers write them, and the command."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner
from tests.answers.test_why_objects import a_node, a_vm, of, run, saved
from tests.controllers.test_forecast import together

from drover.answers import adding, draining, fitting, losing
from drover.answers.outcome import How, Outcome
from drover.answers.world import NoSuch, World
from drover.api import names, scheme
from drover.api.wire import Object
from drover.cli.main import cli
from drover.sim.world import GROUP

CLASS = of(
    scheme.VMCLASS,
    {
        "metadata": {"name": "generic", "annotations": {names.DEFAULT_CLASS_ANNOTATION: "true"}},
        "spec": {"cpu": {"type": "Model"}},
        "status": {"phase": "Ready"},
    },
)
FENCING = {"fencing": {"mode": "Watchdog", "profile": "lab"}}


def group(**spec: Any) -> Object:
    return of(scheme.NODEGROUP, {"metadata": {"name": GROUP}, "spec": spec or FENCING})


def roster(*members: str) -> Object:
    told = [{"node": name, "address": "10.0.0.1", "port": 1} for name in members]
    spec = {"generation": 2, "members": told}
    return of(scheme.NODEROSTER, {"metadata": {"name": GROUP}, "spec": spec})


def nodes(*given: str, cpu: str = "8", grouped: bool = True) -> list[Object]:
    found = [a_node(name, cpu=cpu) for name in given]
    for one in found if grouped else ():
        one["metadata"]["labels"][names.NODE_GROUP_LABEL] = GROUP
    return found


def aged(
    vm: list[Object], second: int, policy: str = "AlwaysOn", priority: str = ""
) -> list[Object]:
    vm[0]["metadata"]["creationTimestamp"] = f"2026-01-01T00:00:{second:02}Z"
    vm[0]["spec"] |= {"runPolicy": policy} | ({"priorityClassName": priority} if priority else {})
    return vm


def world(*objects: Object | list[Object]) -> World:
    flat = [one for each in objects for one in (each if isinstance(each, list) else [each])]
    return World.of([CLASS, *flat], 0.0)


def places(found: Outcome) -> list[tuple[str, str]]:
    return [(one.vm, one.target) for one in found.steps]


HIGH = of(scheme.PRIORITYCLASS, {"metadata": {"name": "high"}, "value": 5000})


def test_lost_vms_start_by_priority_then_age() -> None:
    seen = world(
        nodes("n1", "n2", "n3"), group(), roster("n1", "n2", "n3"), HIGH,
        aged(a_vm("young", "n1"), 9), aged(a_vm("old", "n1"), 1), aged(a_vm("vip", "n1"), 20, priority="high"),
        a_vm("other", "n2"),
    )  # fmt: skip
    found = losing.lose(seen, ["n1"])
    assert places(found) == [("users/vip", "n3"), ("users/old", "n2"), ("users/young", "n3")]
    assert {one.how for one in found.steps} == {How.RESTART}
    assert found.steps[0].why == "priority 5000, since 2026-01-01T00:00:20Z"
    assert found.seconds == pytest.approx(9.06, abs=0.01)  # F of the profile lab
    assert found.notes == ()


def test_who_comes_last_finds_no_room_and_hears_what_is_missing() -> None:
    seen = world(
        nodes("n1", "n2", cpu="4"), group(maxUnhealthy=1, **FENCING), roster("n1", "n2"),
        aged(a_vm("first", "n1", cores=3), 1), aged(a_vm("second", "n1", cores=3), 2),
    )  # fmt: skip
    found = losing.lose(seen, ["n1"])
    assert places(found) == [("users/first", "n2")]
    [stuck] = found.stuck
    assert stuck.vm == "users/second"
    assert stuck.why == "0/1 nodes are available: 1 Insufficient cpu; n2 lacks 2 of cpu"
    assert stuck.way_out == "make room or add a node"


def test_run_policy_leaves_some_off_and_those_take_no_room() -> None:
    seen = world(
        nodes("n1", "n2", cpu="4"), aged(a_vm("manual", "n1", cores=4), 1, "Manual"),
        aged(a_vm("on", "n1", cores=4), 2),
    )  # fmt: skip
    found = losing.lose(seen, ["n1"])
    assert places(found) == [("users/on", "n2")]
    assert [(one.vm, one.unwanted) for one in found.stuck] == [("users/manual", True)]
    assert found.homeless == ()


@pytest.mark.parametrize(
    ("lost", "objects", "words"),
    [
        (["n1"], [nodes("n1", "n2", "n3", grouped=False)], "it is in no NodeGroup"),
        (["n1"], [nodes("n1", "n2", "n3"), group(x=1)], "spec.fencing of NodeGroup worker is not set"),
        (["n1"], [nodes("n1", "n2", "n3"), group(fencing={"mode": "Notify"})], "only told"),
        (["n1"], [nodes("n1", "n2", "n3"), group()], "not settled yet whose word counts"),
        (["n1", "n2"], [nodes("n1", "n2", "n3"), group(), roster("n1", "n2", "n3")],
         "2 nodes would be silent at once, at most 1 may be lost"),
        (["n1"], [nodes("n1", "n2"), group(fencing=FENCING["fencing"] | {"maxUnhealthy": 2}), roster("n1")],
         "0 peers of its roster would be left, and 1 must promise"),
        (["n1"], [nodes("n1", "n2", "n3"), group(fencing={"mode": "Watchdog", "watchdog": {"timeout": "1s"}})],
         "too short"),
    ],
)  # fmt: skip
def test_what_keeps_a_lost_node_from_being_fenced(
    lost: list[str], objects: list[Any], words: str
) -> None:
    found = losing.lose(world(*objects, a_vm("a", "n1")), lost)
    assert found.seconds is None
    assert words in found.notes[0], found.notes
    assert "`drover fence confirm`" in found.notes[-1]
    switch = "`drover fence on --group worker` lets its nodes be fenced by themselves"
    assert (switch in found.notes) == ("is not set" in words)


def test_a_drain_of_two_nodes_lands_on_neither() -> None:
    seen = world(nodes("n1", "n2", "n3"), a_vm("a", "n1"), a_vm("b", "n2"), a_vm("c", "n3"))
    found = draining.drain(seen, ["n1", "n2"])
    assert places(found) == [("users/a", "n3"), ("users/b", "n3")]
    # 1 GiB over a link of 100 MiB/s that nothing is known of, and what is around each move
    assert found.seconds == pytest.approx(2 * (1.5 + 10.24))
    assert found.notes == ("one VM leaves a node at a time, as the settings allow",)


def test_the_second_drain_sees_what_the_first_one_took() -> None:
    seen = world(nodes("n1", "n2", "n3", cpu="4"), a_vm("a", "n1", 3), a_vm("b", "n2", 3))
    found = draining.drain(seen, ["n1", "n2"])
    assert places(found) == [("users/a", "n3")]
    [stuck] = found.stuck
    assert stuck.vm == "users/b"
    assert "1 Insufficient cpu" in stuck.why
    assert stuck.way_out.endswith("`drover stop b -n users`")


def test_vms_that_must_stay_together_say_so() -> None:
    pair = []
    for name in ("x", "y"):
        vm = a_vm(name, "n1")
        labels = {"group": "g"}
        vm[1]["metadata"]["labels"] |= labels
        terms = together("g")["virtualMachineAndPodAffinity"]
        vm[1]["spec"]["affinity"] = {"podAffinity": terms}
        pair += vm
    found = draining.drain(world(nodes("n1", "n2"), pair), ["n1"])
    assert [(one.vm, one.together) for one in found.steps] == [
        ("users/x", ("users/y",)),
        ("users/y", ("users/x",)),
    ]


def waits(name: str, cores: int) -> list[Object]:
    """A VM whose Pod found no node."""
    vm, pod, _ = a_vm(name, "", cores)
    pod["spec"].pop("nodeName")
    pod["status"] = {"phase": "Pending"}
    return [vm, pod]


def test_a_new_node_takes_what_waits_and_lets_a_drain_go_on() -> None:
    full = nodes("n1", "n2", cpu="4")
    full[1]["spec"]["unschedulable"] = True
    seen = world(
        full, a_vm("a", "n1", 4), a_vm("leaves", "n2", 2), waits("new", 2), waits("huge", 16)
    )
    found = adding.add(seen, "n3", "n2")
    assert [(one.vm, one.how, one.source, one.target) for one in found.steps] == [
        ("users/new", How.START, "", "n3"),
        ("users/leaves", How.MOVE, "n2", "n3"),
    ]
    assert [one.vm for one in found.stuck] == ["users/huge"]


@pytest.mark.parametrize("enabled", [True, False])
def test_a_new_node_and_the_plan_that_it_allows(enabled: bool) -> None:
    module = of(
        scheme.MODULECONFIG,
        {"metadata": {"name": names.REBALANCE_MODULE}, "spec": {"enabled": enabled}},
    )
    seen = world(
        nodes("n1", cpu="4"), [one for n in range(4) for one in a_vm(f"v{n}", "n1")], module
    )
    found = adding.add(seen, "n2", "n1")
    if enabled:
        [step] = found.steps  # 4 of 4 cores are over the threshold of 80 %
        assert (step.how, step.source, step.target) == (How.MOVE, "n1", "n2")
        assert "cpu" in step.why
    else:
        assert found.steps == ()
        assert found.notes == ("rebalancing is off; a plan would make one move",)


def manifest(name: str = "new", **spec: Any) -> Object:
    wanted = {"cpu": {"cores": 2}, "memory": {"size": "1Gi"}, **spec}
    return of(scheme.VM, {"metadata": {"name": name}, "spec": wanted})


def test_where_a_manifest_fits_and_why_not_elsewhere() -> None:
    seen = world(nodes("n1", "n2", cpu="4"), a_vm("a", "n1", 3))
    found = fitting.fitting(seen, [manifest()], "users")
    assert places(found) == [("users/new", "n2")]
    assert found.steps[0].why == "also fits: nowhere else"
    assert "users/new does not fit elsewhere: n1: Insufficient cpu" in found.notes


def test_a_manifest_that_fits_nowhere_or_is_refused() -> None:
    seen = world(nodes("n1"))
    [huge] = fitting.fitting(seen, [manifest(cpu={"cores": 16})], "users").stuck
    assert huge.why == "n1: Insufficient cpu; n1 lacks 8 of cpu"
    [lost] = fitting.fitting(seen, [manifest(virtualMachineClassName="no")], "users").stuck
    assert lost.why == 'VirtualMachineClass "no" does not exist'


def test_two_vms_of_one_manifest_see_each_other() -> None:
    found = fitting.fitting(world(nodes("n1", cpu="3")), [manifest("x"), manifest("y")], "users")
    assert places(found) == [("users/x", "n1")]
    assert [one.vm for one in found.stuck] == ["users/y"]


def test_a_disk_that_the_manifest_brings_is_not_missed() -> None:
    refs = [{"kind": "VirtualDisk", "name": "d"}]
    disk = of(scheme.VDISK, {"metadata": {"name": "d"}})
    vm = manifest(blockDeviceRefs=refs)
    missed = 'users/new would wait for VirtualDisk "d", which does not exist'
    seen = world(nodes("n1"))
    assert missed in fitting.fitting(seen, [vm], "users").notes
    assert missed not in fitting.fitting(seen, [vm, disk], "users").notes


@pytest.mark.parametrize("wrong", [{"cpu": {}}, {"memory": {"size": "much"}}, {"cpu": 3}])
def test_a_manifest_that_the_api_would_refuse(wrong: dict[str, Any]) -> None:
    with pytest.raises(fitting.BadManifest, match="users/new"):
        fitting.fitting(world(nodes("n1")), [manifest(**wrong)], "users")


def test_unknown_nodes() -> None:
    seen = world(nodes("n1"))
    for ask in (
        lambda: losing.lose(seen, ["x"]),
        lambda: draining.drain(seen, ["x"]),
        lambda: adding.add(seen, "y", "x"),
    ):
        with pytest.raises(NoSuch, match='there is no node "x"'):
            ask()
    with pytest.raises(NoSuch, match='there is a node "n1" already'):
        adding.add(seen, "n1", "n1")


def test_the_command(tmp_path: Path) -> None:
    objects = [CLASS, *nodes("n1", "n2", grouped=False), *a_vm("a", "n1")]
    file = saved(tmp_path, objects)
    code, out = run("whatif", "lose", "n1", "--from", file)
    assert code == 0
    assert "1. users/a                        starts again from n1 to n2" in out
    assert "1 of 1 VMs would find a place. Nothing was touched." in out
    code, out = run("whatif", "drain", "n1", "--from", file, "-o", "json")
    assert code == 0
    assert json.loads(out)["steps"][0]["target"] == "n2"
    code, out = run("whatif", "add", "n3", "--like", "n1", "--from", file)
    assert code == 0
    assert "Nothing would move" in out
    new = tmp_path / "vm.yaml"
    new.write_text(yaml.safe_dump(manifest(cpu={"cores": 32})))
    code, out = run("whatif", "vm", str(new), "--from", file)
    assert code == 1
    assert "finds no place: n1: Insufficient cpu" in out
    new.write_text("kind: Pod\nmetadata: {name: x}\n")
    code, out = run("whatif", "vm", str(new), "--from", file)
    assert code == 1
    assert "it holds no VirtualMachine" in out
    assert run("whatif", "lose", "ghost", "--from", file)[0] == 1
    assert run("whatif", "lose")[0] == 2


def test_a_snapshot_has_no_leases_and_its_pods_tell_where_vms_are(tmp_path: Path) -> None:
    vm, pod, _ = a_vm("a", "n1")
    for obj in (vm, pod):
        obj["metadata"].pop("resourceVersion", None)
    items = [CLASS, *nodes("n1", "n2", grouped=False), vm, pod]
    told = {
        "apiVersion": "drover.dev/v1alpha1",
        "kind": "Snapshot",
        "takenAt": "2026-01-01T00:00:00Z",
    }
    file = tmp_path / "snapshot.json"
    file.write_text(json.dumps({**told, "items": items}))
    code, out = run("whatif", "lose", "n1", "--from", str(file))
    assert code == 0
    assert "starts again from n1 to n2" in out
    assert "NodeGroups were not looked at" in out
    assert "Not looked at (absent or forbidden): VirtualMachineLease, NodeGroup" in out
    code, out = run("why", "a.users", "--from", str(file))
    assert "It is on n1" in out


@pytest.mark.parametrize(
    ("version", "vm", "says"),
    [
        ("drover.dev/v9", "", "it is a snapshot of drover.dev/v9, and this drover reads drover.dev/v1alpha1"),
        ("", "", "it is a snapshot of none"),
        ("drover.dev/v1alpha1", "virtualization.deckhouse.io/v9", "VirtualMachine a in it is of virtualization"),
    ],
)  # fmt: skip
def test_a_file_of_another_version_is_refused_and_not_misread(
    tmp_path: Path, version: str, vm: str, says: str
) -> None:
    objects = [CLASS, *nodes("n1", "n2", grouped=False), *a_vm("a", "n1")]
    if vm:
        objects = [
            {**one, "apiVersion": vm} if one["kind"] == "VirtualMachine" else one for one in objects
        ]
    file = tmp_path / "snapshot.json"
    file.write_text(json.dumps({"apiVersion": version, "kind": "Snapshot", "items": objects}))
    for command in (("why", "a.users"), ("whatif", "lose", "n1")):
        code, out = run(*command, "--from", str(file))
        assert code == 1
        assert says in out
        assert "`drover snapshot > FILE`" in out
    told = CliRunner().invoke(cli, ["plan"], input=file.read_text())
    assert told.exit_code == 1
    assert says in told.output
