"""Cooldown after a move, back-off after failures, and the moves of an hour: read from objects, whatever restarts."""

from __future__ import annotations

import pytest
from tests.controllers.rebalance.objects import NOW_S, vmop

from drover.base.clock import rfc3339
from drover.controllers.rebalance.past import Rest, read, stopped

COOLDOWN_S = 3600.0


def rest(*operations: object) -> Rest | None:
    return read(list(operations), NOW_S, COOLDOWN_S).rests.get("default/a")  # type: ignore[arg-type]


def ours(number: int, phase: str, ago_s: float) -> object:
    return vmop(f"rebalance-{number}", "a", phase, NOW_S - ago_s, plan="rebalance-1")


def test_a_move_of_ours_or_of_a_person_is_not_undone_at_once() -> None:
    assert rest(ours(1, "Completed", 100)) == Rest(
        NOW_S - 100 + COOLDOWN_S, "the rebalancer has moved it lately"
    )
    by_hand = vmop("mine", "a", "Completed", NOW_S - 100)
    assert rest(by_hand) == Rest(NOW_S - 100 + COOLDOWN_S, "a person has moved it lately")
    assert rest(ours(1, "Completed", COOLDOWN_S + 1)) is None


def test_a_name_alone_makes_nothing_ours() -> None:
    assert rest(vmop("rebalance-x", "a", "Failed", NOW_S - 1)) is None


@pytest.mark.parametrize("origin", ["evacuation-x", "firmware-update-x", "nodeplacement-update-x"])
def test_moves_of_other_controllers_leave_it_free(origin: str) -> None:
    op = vmop(origin, "a", "Completed", NOW_S - 1, type="Evict")
    op["metadata"]["annotations"] = {
        "virtualization.deckhouse.io/evacuation": "true",
        "virtualization.deckhouse.io/workload-update": "true",
    }
    assert rest(op) is None


@pytest.mark.parametrize(("failures", "wait_s"), [(1, 60), (2, 120), (3, 240), (9, 3600)])
def test_failures_back_off(failures: int, wait_s: float) -> None:
    row = [ours(n, "Failed", failures - n) for n in range(failures)]
    found = rest(*row)
    assert found is not None
    assert found.until_s == NOW_S - 1 + wait_s


def test_a_success_forgets_failures_and_a_failure_does_not_shorten_the_cooldown() -> None:
    found = rest(ours(1, "Failed", 300), ours(2, "Completed", 200), ours(3, "Failed", 100))
    assert found is not None
    assert found.until_s == NOW_S - 200 + COOLDOWN_S


def test_the_moves_of_the_hour_are_counted_with_those_on_their_way() -> None:
    found = read(
        [
            vmop("rebalance-1", "a", plan="rebalance-1", born_s=NOW_S - 10),
            vmop("rebalance-2", "b", plan="rebalance-1", born_s=NOW_S - 3599),
            vmop("rebalance-3", "c", plan="rebalance-1", born_s=NOW_S - 3601),
            vmop("by-hand", "d", born_s=NOW_S - 1),
        ],
        NOW_S,
        COOLDOWN_S,
    )
    assert (found.moves_of_hour, found.oldest_of_hour_s) == (2, NOW_S - 3599)


def test_a_move_that_somebody_took_back_is_told_by_its_plan() -> None:
    steps = [
        {"virtualMachine": "default/a", "state": "Stopped", "endedAt": rfc3339(NOW_S)},
        {"virtualMachine": "default/b", "state": "Failed", "endedAt": rfc3339(NOW_S)},
    ]
    plan = {"metadata": {"name": "rebalance-1"}, "status": {"steps": steps}}
    assert list(stopped(plan, COOLDOWN_S)) == [("default/a", NOW_S + COOLDOWN_S)]
