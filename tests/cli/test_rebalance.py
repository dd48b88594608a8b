"""The plan that users are shown, from a snapshot: a table, JSON, a page; and what is no snapshot."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner
from tests.controllers.rebalance.objects import (
    CLASS,
    NOW_S,
    SPACE,
    ask,
    crowd,
    node,
    pod,
    three_nodes,
    vm,
)

from drover.api import names
from drover.cli import rebalance_show as words
from drover.cli import rebalance_world as world
from drover.cli.rebalance import plan
from drover.controllers.rebalance.guests import Objects

SOURCE = Path(__file__).parents[2] / "src"
ON = {"metadata": {"name": "descheduler"}, "spec": {"enabled": True}}


def picture(number: int = 5, nodes: Any = None, **others: Any) -> world.Picture:
    given = {"nodes": nodes or three_nodes(), "classes": [CLASS], "namespaces": [SPACE]}
    objects = Objects(**given, **crowd(number))
    return world.Picture(objects, {"ModuleConfig": [ON], **others}, NOW_S)


def run(text: str | bytes, *arguments: str) -> Any:
    return CliRunner().invoke(plan, list(arguments), input=text, standalone_mode=True)


def test_a_snapshot_gives_the_very_plan_of_the_controller() -> None:
    text = world.write(picture())
    told = json.loads(run(text, "-o", "json").output)
    assert told["hash"] == ask(**crowd(5)).plan().digest
    assert (told["movesTotal"], told["overloaded"]) == (1, ["n1"])


def test_moves_that_only_balance_are_planned_on_request() -> None:
    """At the threshold nothing has to move; two moves make the nodes as alike as three can be."""
    text = world.write(picture(4))
    assert json.loads(run(text, "-o", "json").output)["movesTotal"] == 0
    told = json.loads(run(text, "--balance", "2", "-o", "json").output)
    assert [move["reason"] for move in told["moves"]] == ["Balance", "Balance"]
    assert {move["target"] for move in told["moves"]} == {"n2", "n3"}


def test_the_table_tells_the_move_and_its_reasons() -> None:
    found = run(world.write(picture()))
    assert found.exit_code == 0
    lines = found.output.splitlines()
    assert "1 move" in lines[0]
    assert any("100 -> 80 %" in line and "n1" in line for line in lines)
    assert any("Overload" in line for line in lines)
    assert any(line.strip().startswith("not n") for line in lines)


def test_where_nothing_is_wrong_nothing_is_shown() -> None:
    assert run(world.write(picture(2))).output.strip() == "No move is to be made."


def test_a_snapshot_may_be_named_as_a_file(tmp_path: Any) -> None:
    file = tmp_path / "cluster.json"
    file.write_text(world.write(picture(2)))
    assert run("", str(file)).output.strip() == "No move is to be made."
    missing = run("", str(tmp_path / "none"))
    assert (missing.exit_code, "none cannot be read" in missing.output) == (1, True)


def test_a_page_has_a_bar_for_each_node_and_needs_nothing_else(tmp_path: Any) -> None:
    file = tmp_path / "plan.html"
    assert run(world.write(picture()), "--html", str(file)).exit_code == 0
    text = file.read_text()
    for one in ("n1", "n2", "n3"):
        assert f"<th>{one}</th>" in text
    assert "cpu before 100.0 %" in text
    assert "cpu after 80.0 %" in text
    assert 'class="before over"' in text
    assert 'class="after over"' not in text
    assert "http" not in text and "src=" not in text  # noqa: PT018
    bad = run(world.write(picture()), "--html", str(tmp_path / "no" / "x"))
    assert bad.exit_code == 1
    assert "cannot be written" in bad.output


def test_names_in_a_page_are_text() -> None:
    evil = [node("n1"), node("<script>"), node("n3")]
    found = world.shown(picture(nodes=evil))
    assert "<script>" not in words.page(found)


def test_a_snapshot_has_no_user_data() -> None:
    given = picture()
    given.objects.vms[0]["spec"]["provisioning"] = {"type": "UserData", "userData": "secret"}
    given.objects.pods[0]["metadata"]["annotations"]["drover.dev/machine"] = "secret"
    assert "secret" not in world.write(given)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "it is no JSON"),
        ("hello", "it is no JSON"),
        ("[]", "neither of kind Snapshot nor a List"),
        ('{"kind": "Pod", "items": []}', "neither of kind Snapshot nor a List"),
        ('{"kind": "List", "items": [1]}', "no object with kind"),
        ('{"kind": "List", "items": []}', "no Node in it"),
        (b"\xff\xfe\x00", "it is no text"),
    ],
)
def test_what_is_no_snapshot_is_refused_with_a_way_out(text: Any, why: str) -> None:
    found = run(text)
    assert found.exit_code == 1
    assert why in found.output
    assert "Traceback" not in found.output


def test_an_object_that_is_broken_is_named_as_that() -> None:
    told = json.loads(world.write(picture()))
    for item in told["items"]:
        if item["kind"] == "Pod":
            item["spec"]["containers"][0]["resources"]["requests"]["cpu"] = "lots"
    found = run(json.dumps(told))
    assert found.exit_code == 1
    assert "lacks what every object of its kind has" in found.output


def test_settings_that_are_not_valid_plan_nothing() -> None:
    bad = {
        "metadata": {"name": "virtualization"},
        "spec": {"strategies": {"lowNodeUtilization": {
            "enabled": True, "targetThresholds": {"cpu": 180}}}},
    }  # fmt: skip
    with pytest.raises(click.ClickException, match=r"cpu: must be a whole number from 0 to 100"):
        world.shown(picture(Descheduler=[bad]))


def test_a_plan_that_is_open_is_shown_as_it_is() -> None:
    computed = world.shown(picture()).spec
    spec = {**computed, "hash": "written-down", "mode": "Approve"}
    plan_ = {"metadata": {"name": "rebalance-3"}, "spec": spec, "status": {"phase": "Executing"}}
    given = picture()
    given = world.Picture(Objects(**{**vars(given.objects), "plans": [plan_]}), given.others, NOW_S)
    found = world.shown(given)
    assert (found.name, found.phase, found.spec["hash"]) == (
        "rebalance-3",
        "Executing",
        "written-down",
    )
    assert found.after["n1"]["cpu"] == pytest.approx(80)


def test_nodes_of_another_platform_count_where_vms_run() -> None:
    foreign = three_nodes()
    for one in foreign:
        one["spec"]["taints"] = []
    assert world.shown(picture(nodes=foreign)).spec["movesTotal"] == 1


def test_what_the_exact_solver_says_spoils_no_pipe() -> None:
    """It is asked here, since the first plan is not known to be the shortest; it greets on C's standard output."""
    small = [pod(f"s{n}", "n1", cpu="1") for n in range(6)]
    pods = [pod("large", "n1", cpu="4"), *small, pod("f", "n2", cpu="6"), pod("g", "n3", cpu="6")]
    known = [
        vm(one["metadata"]["labels"][names.VM_NAME_LABEL], one["spec"]["nodeName"]) for one in pods
    ]
    nodes = [*three_nodes(), node("n4", cpu="1")]
    objects = Objects(nodes=nodes, classes=[CLASS], namespaces=[SPACE], pods=pods, vms=known)
    snapshot = world.write(world.Picture(objects, {}, NOW_S))
    program = "import sys; from drover.cli.main import main; sys.exit(main(['plan', '-o', 'json']))"
    said = subprocess.run(
        [sys.executable, "-c", program], input=snapshot, capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": str(SOURCE)}, check=True, timeout=60,
    )  # fmt: skip
    assert json.loads(said.stdout)["overloaded"] == ["n1"]
