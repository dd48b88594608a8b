"""What ``why`` says of objects that are rare to come by, written as their controllers write them; and the command."""

from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path
from typing import Any

import pytest
from tests.controllers.test_forecast import node, vm_pod

from drover.answers.why import why
from drover.answers.world import NoSuch, World
from drover.api import names, scheme
from drover.api.wire import Object
from drover.cli.main import main

READY = {"type": "Ready", "status": "True"}


def of(kind: scheme.Kind, obj: Object, **more: Any) -> Object:
    return {"apiVersion": kind.api_version, "kind": kind.kind, **obj, **more}


def a_node(name: str, ready: Any = READY, **spec: Any) -> Object:
    obj = node(name, **spec)
    obj["status"]["conditions"] = [ready]
    return of(scheme.NODE, obj)


def a_vm(name: str, on: str, cores: int = 1, **more: Any) -> list[Object]:
    """A running VM with its Pod and lease."""
    pod = of(scheme.POD, vm_pod(name, on, cores))
    meta = {"name": name, "namespace": "users", "uid": f"uid-{name}", **more}
    status = {
        "phase": "Running",
        "nodeName": on,
        "conditions": [{"type": "Running", "status": "True"}],
    }
    spec = {"cpu": {"cores": cores}, "memory": {"size": "1Gi"}}
    owner = [{"uid": meta["uid"], "name": name}]
    lease = {"holder": pod["metadata"]["uid"], "node": on, "nodeIncarnation": "life", "epoch": 1}
    return [
        of(scheme.VM, {"metadata": meta, "spec": spec, "status": status}),
        pod,
        of(scheme.VML, {"metadata": {**meta, "ownerReferences": owner}, "spec": lease}),
    ]


def says(objects: list[Object], subject: str) -> list[str]:
    return [one.says for one in why(World.of(objects, 0.0), subject, "users")[1]]


def plan(approved: bool, *impossible: Object) -> Object:
    move = {"virtualMachine": "users/a", "source": "n1", "target": "n2", "why": "n1 is at 90 % cpu"}
    spec = {"number": 1, "mode": "Approve", "approved": approved, "moves": [move]}
    spec |= {"overloaded": ["n1"], "impossible": list(impossible), "movesTotal": 1}
    return of(scheme.REBALANCEPLAN, {"metadata": {"name": "rebalance-1"}, "spec": spec})


def test_a_node_that_is_not_ready_and_was_never_silent() -> None:
    down = {"type": "Ready", "status": "False", "message": "no network"}
    assert "n1 is not Ready: no network" in says([a_node("n1", down)], "n1")


def test_a_node_with_a_taint_of_its_own_and_one_that_comes_back() -> None:
    taints = [
        {"key": names.VM_NODE_TAINT, "effect": "NoSchedule"},
        {"key": "gpu", "effect": "NoSchedule"},
        {"key": names.REJOINING_TAINT, "effect": "NoSchedule"},
    ]
    told = says([a_node("n1", taints=taints)], "n1")
    assert "n1 carries the taint gpu:NoSchedule" in told
    assert "n1 is coming back" in told
    assert not any(names.VM_NODE_TAINT in one for one in told)


def test_a_node_that_is_none_of_ours() -> None:
    assert says([a_node("cp", taints=[])], "cp") == ["cp is no node for VMs"]


def test_an_empty_node_in_maintenance() -> None:
    assert "No VM is left on n1" in says([a_node("n1", unschedulable=True)], "n1")


def test_a_plan_waits_for_a_person_or_goes_on() -> None:
    objects = [a_node("n1"), a_node("n2"), *a_vm("a", "n1")]
    words = "rebalance-1 moves it from n1 to n2: n1 is at 90 % cpu"
    assert f"{words}; it waits for spec.approved" in says([*objects, plan(False)], "a")
    assert words in says([*objects, plan(True)], "a")
    assert "n1 is over a threshold" in says([*objects, plan(True)], "n1")


def test_what_no_plan_can_mend() -> None:
    stuck = {
        "what": "users/a: it is alone",
        "blockedBy": "Insufficient cpu",
        "change": "add a node",
    }
    told = why(World.of([a_node("n1"), *a_vm("a", "n1"), plan(True, stuck)], 0.0), "a", "users")[1]
    [mine] = [one for one in told if one.says.startswith("No plan helps")]
    assert mine.says == "No plan helps: users/a: it is alone; in the way: Insufficient cpu"
    assert mine.way_out == "add a node"


def test_nobody_has_looked_at_it_yet() -> None:
    new = of(scheme.VM, {"metadata": {"name": "a", "namespace": "users", "uid": "u"}, "spec": {}})
    assert says([new], "a") == ["No controller has looked at it yet"]
    spec = {"type": "Evict", "virtualMachineName": "a"}
    vmop = of(scheme.VMOP, {"metadata": {"name": "op", "namespace": "users"}, "spec": spec})
    assert says([vmop], "op") == ["Evict op is not looked at yet"]


def test_who_may_not_read_leases_is_told_no_story_of_a_lost_one() -> None:
    vm, pod, _ = a_vm("a", "n1")
    vm["status"]["power"] = {"wanted": True, "policy": "AlwaysOn", "lease": "uid-of-vml"}
    seen = World.of([vm, pod, a_node("n1")], 0.0, ["VirtualMachineLease"])
    assert not any("is missing" in one.says for one in why(seen, "a", "users")[1])
    assert any("is missing" in one for one in says([vm, pod, a_node("n1")], "a"))


def test_what_is_not_there_is_told_with_a_way_out() -> None:
    with pytest.raises(NoSuch, match="`drover k get nodes` list them"):
        why(World.of([], 0.0), "ghost", "users")


def saved(path: Path, objects: list[Object]) -> str:
    file = path / "cluster.json"
    file.write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": objects}))
    return str(file)


def run(*arguments: str) -> tuple[int, str]:
    """Exit code and all that was printed."""
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        code = main(list(arguments))
    return code, said.getvalue()


def test_the_command_reads_a_file_and_prints_both_ways(tmp_path: Path) -> None:
    file = saved(tmp_path, [a_node("n1"), a_node("n2"), *a_vm("a", "n1")])
    code, out = run("why", "a.users", "--from", file)
    assert code == 0
    assert "VirtualMachine users/a" in out
    assert "It could move to n2." in out
    assert "rule: a VM runs where its lease says, and nowhere else" in out
    code, out = run("why", "a", "-n", "users", "--from", file, "-o", "json")
    told = json.loads(out)
    assert set(told[0]) == {"about", "says", "rule", "objects", "wayOut"}
    assert told[0]["objects"][0] == {"kind": "VirtualMachine", "namespace": "users", "name": "a"}


def test_bad_files_and_names_are_answers_and_no_tracebacks(tmp_path: Path) -> None:
    file = saved(tmp_path, [a_node("n1")])
    code, out = run("why", "<b>x</b>", "--from", file)
    assert code == 1
    assert "there is no VM" in out
    (tmp_path / "bad").write_text("{nonsense: [")
    assert run("why", "a", "--from", str(tmp_path / "bad"))[0] == 1
    (tmp_path / "empty").write_text("")
    code, out = run("why", "a", "--from", str(tmp_path / "empty"))
    assert code == 1
    assert "holds no objects of a cluster" in out
    assert run("why", "a", "--from", str(tmp_path / "none"))[0] == 1
