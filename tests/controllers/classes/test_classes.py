"""Classes: usable where a node fits, and kept while VMs name them."""

from __future__ import annotations

from typing import Any

import pytest
from tests.controllers.world import Story, World, play

from drover.api import names
from drover.api.scheme import NODE, VM, VMCLASS
from drover.controllers.classes.controller import wire
from drover.controllers.classes.decide import fits

MODEL = {"cpu": {"type": "Model", "model": "Nehalem"}}


def tell(story: Story) -> None:
    play(story, lambda world: wire(world.manager))


@pytest.mark.parametrize(
    ("operator", "values", "label", "fitting"),
    [
        ("In", ["a", "b"], "b", True),
        ("In", ["a"], None, False),
        ("NotIn", ["a"], "a", False),
        ("NotIn", ["a"], None, True),
        ("Exists", [], "x", True),
        ("Exists", [], None, False),
        ("DoesNotExist", [], None, True),
        ("Gt", ["4"], "5", True),
        ("Gt", ["4"], "4", False),
        ("Lt", ["4"], "x", False),
    ],
)
def test_expressions(operator: str, values: list[str], label: str | None, fitting: bool) -> None:
    expression = {"key": "k", "operator": operator, "values": values}
    vmclass = {"spec": {**MODEL, "nodeSelector": {"matchExpressions": [expression]}}}
    node: dict[str, Any] = {
        "metadata": {"name": "n", "labels": {} if label is None else {"k": label}}
    }
    assert fits(vmclass, node) is fitting


def test_labels_must_all_match() -> None:
    vmclass = {"spec": {**MODEL, "nodeSelector": {"matchLabels": {"a": "1", "b": "2"}}}}
    assert fits(vmclass, {"metadata": {"name": "n", "labels": {"a": "1", "b": "2", "c": "3"}}})
    assert not fits(vmclass, {"metadata": {"name": "n", "labels": {"a": "1"}}})


def test_a_class_is_ready_once_a_node_fits_and_only_nodes_of_ours_count() -> None:
    async def story(world: World) -> None:
        await world.create(VMCLASS, "generic", MODEL)
        await world.create(NODE, "foreign", {})
        await world.settle()
        found = (await world.get(VMCLASS, "generic"))["status"]
        assert (found["phase"], found["conditions"][0]["reason"]) == (
            "Pending",
            "NoSuitableNodesFound",
        )
        await world.join("n1")
        await world.set_status(NODE, "n1", {"allocatable": {"cpu": "8", "memory": "16Gi"}})
        await world.settle()
        found = (await world.get(VMCLASS, "generic"))["status"]
        assert (found["phase"], found["availableNodes"]) == ("Ready", ["n1"])
        assert found["maxAllocatableResources"] == {"cpu": "8", "memory": "16Gi"}

    tell(story)


def test_a_class_in_use_is_kept() -> None:
    async def story(world: World) -> None:
        default = {names.DEFAULT_CLASS_ANNOTATION: "true"}
        await world.create(VMCLASS, "generic", MODEL, annotations=default)
        await world.create(VMCLASS, "other", MODEL)
        await world.create(VM, "unnamed", {})
        await world.create(VM, "named", {"virtualMachineClassName": "other"})
        await world.settle()
        for name in ("generic", "other"):
            await world.delete(VMCLASS, name)
        await world.settle()
        found = {name: (await world.get(VMCLASS, name))["status"] for name in ("generic", "other")}
        assert found["generic"]["phase"] == "Terminating"
        assert (
            found["generic"]["conditions"][1]["message"] == "Used by VirtualMachine default/unnamed"
        )
        assert found["other"]["conditions"][1]["message"] == "Used by VirtualMachine default/named"
        await world.delete(VM, "named")
        await world.settle()
        assert await world.find(VMCLASS, "other") is None
        assert await world.find(VMCLASS, "generic") is not None

    tell(story)
