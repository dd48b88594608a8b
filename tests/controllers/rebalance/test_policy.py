"""What the rebalancer goes by: the module alone switches it on, and nothing that is not set is guessed."""

from __future__ import annotations

from typing import Any

import pytest

from drover.api import manifest_files
from drover.api.kinds.rebalance import Mode
from drover.controllers.rebalance.policy import BY_DEFAULT_BELOW, Policy, read
from drover.planner import Rule

ON = {"metadata": {"name": "descheduler"}, "spec": {"enabled": True}}
CLASSES = [{"metadata": {"name": "drover-vm-high"}, "value": 10_000}]


def module(**settings: Any) -> Any:
    return {**ON, "spec": {"enabled": True, "settings": {"rebalance": settings}}}


def by(**spec: Any) -> Policy:
    return read(ON, {"spec": spec}, CLASSES)


def low(**strategy: Any) -> Any:
    return {"lowNodeUtilization": {"enabled": True, **strategy}}


def test_it_is_off_until_the_module_is_on() -> None:
    assert not read(None, None).enabled
    assert not read({"metadata": {}, "spec": {}}, None).enabled
    assert read(ON, None) == Policy(enabled=True)


def test_what_is_shipped_is_what_holds_without_it() -> None:
    [shipped] = [obj for obj in manifest_files.custom() if obj["kind"] == "Descheduler"]
    found = read(ON, shipped)
    assert found.ceilings == {"cpu": 80}
    selects_vms = found.pods.matches({"vm.kubevirt.internal.virtualization.deckhouse.io/name": "a"})
    assert selects_vms
    assert found.digest != Policy(enabled=True).digest  # by its selector alone
    for name in ("ceilings", "repairs", "nodes", "namespaces", "priority_below", "local_storage"):
        assert getattr(found, name) == getattr(Policy(), name), name


def test_thresholds_that_are_not_set_stay_unset() -> None:
    assert by(strategies=low(targetThresholds={"memory": 90})).ceilings == {"memory": 90}
    assert by(strategies=low()).ceilings == {}
    assert by(strategies=low(thresholds={"cpu": 10})).ceilings == {}


def test_each_strategy_has_its_rules() -> None:
    assert by().repairs == frozenset()
    assert by(strategies=low()).repairs == {Rule.OVERLOAD}
    off = {"removePodsViolatingNodeAffinity": {}}
    assert by(strategies=off).repairs == frozenset()
    node = {"removePodsViolatingNodeAffinity": {"enabled": True}}
    assert by(strategies=node).repairs == {Rule.NODE_AFFINITY, Rule.TAINT}
    pod = {"removePodsViolatingInterPodAntiAffinity": {"enabled": True}}
    assert by(strategies=pod).repairs == {Rule.AFFINITY, Rule.ANTI_AFFINITY, Rule.SPREAD}


def test_priorities() -> None:
    assert by().priority_below == BY_DEFAULT_BELOW
    assert by(priorityClassThreshold={"value": 7}).priority_below == 7
    assert by(priorityClassThreshold={"name": "drover-vm-high"}).priority_below == 10_000


def test_settings_of_the_module() -> None:
    found = read(module(mode="Approve", settlingTime=5, cooldown=60, movesPerHour=3), None)
    assert (found.mode, found.settle_s, found.cooldown_s) == (Mode.APPROVE, 5, 60)
    assert found.moves_per_hour == 3


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        ({"strategies": low(targetThresholds={"cpu": 101})}, "from 0 to 100, not '101'"),
        ({"strategies": low(targetThresholds={"cpu": "80"})}, "from 0 to 100, not '80'"),
        ({"strategies": low(targetThresholds={"cpu": True})}, "targetThresholds.cpu"),
        ({"strategies": low(targetThresholds={"cpu": 0})}, "at least 1"),
        (
            {"strategies": low(thresholds={"cpu": 60}, targetThresholds={"cpu": 50})},
            "is below thresholds.cpu, 60",
        ),
        ({"strategies": {"removeEverything": {"enabled": True}}}, "no known strategy"),
        ({"strategies": {"removeDuplicates": {"enabled": True}}}, "not supported by drover yet"),
        (
            {"podLabelSelector": {"matchExpressions": [{"key": "a", "operator": "Near"}]}},
            "no label",
        ),
        (
            {
                "strategies": {
                    "removePodsViolatingNodeAffinity": {
                        "enabled": True,
                        "nodeAffinityType": ["preferred"],
                    }
                }
            },
            "preferred is not repaired",
        ),
        ({"priorityClassThreshold": {"name": "nobody"}}, 'no PriorityClass "nobody"'),
    ],
)
def test_what_a_schema_would_refuse_is_named(spec: Any, told: str) -> None:
    [problem] = by(**spec).problems
    assert told in str(problem)


def test_what_a_schema_would_refuse_of_the_module_is_named() -> None:
    found = read(module(mode="Manual", settlingTime=0, cooldown="long"), None)
    assert len(found.problems) == 3
    assert found.enabled
