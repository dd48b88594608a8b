"""Conditions keep their time until their status changes."""

from __future__ import annotations

from drover.api.conditions import (
    condition,
    get_condition,
    is_true,
    set_condition,
    without_condition,
)

T0, T1 = 1_767_225_600.0, 1_767_225_660.0


def test_the_time_moves_only_with_the_status() -> None:
    first = set_condition([], condition("Ready", False, "Starting"), T0)
    assert first[0]["lastTransitionTime"] == "2026-01-01T00:00:00Z"
    same = set_condition(first, condition("Ready", False, "Stuck", "no disk", generation=3), T1)
    assert same[0] == {
        "type": "Ready",
        "status": "False",
        "reason": "Stuck",
        "message": "no disk",
        "observedGeneration": 3,
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    }
    turned = set_condition(same, condition("Ready", True, "Running"), T1)
    assert turned[0]["lastTransitionTime"] == "2026-01-01T00:01:00Z"
    assert set_condition(turned, condition("Ready", True, "Running"), T1 + 60) == turned


def test_the_others_stay_where_they_are_and_the_input_is_unchanged() -> None:
    present = [{"type": "A", "status": "True"}, {"type": "B", "status": "True"}]
    before = [dict(entry) for entry in present]
    changed = set_condition(present, condition("A", "Unknown", "Lost"), T0)
    assert [entry["type"] for entry in changed] == ["A", "B"]
    assert changed[1] == present[1]
    assert present == before
    assert without_condition(present, "A") == [present[1]]


def test_reading() -> None:
    obj = {"status": {"conditions": [{"type": "A", "status": "True"}, {"type": "B"}]}}
    assert get_condition(obj, "A") == {"type": "A", "status": "True"}
    assert (is_true(obj, "A"), is_true(obj, "B"), is_true(obj, "C")) == (True, False, False)
    assert get_condition({}, "A") is None
