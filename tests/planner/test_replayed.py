"""A thousand random clusters: every prefix of every plan is legal, no prefix is worse than the one before, and the
result needs no plan. The planner's words on what is wrong, before and after, are compared with the replayer's."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.planner.replayer import Replayer
from tests.planner.scenes import Scene, scene, values_of

from drover.planner import Budget, Plan, rebalance

SEEDS, PER_TEST = 1000, 100


def moves_of(plan: Plan) -> list[tuple[str, str, str]]:
    return [(move.vm.removeprefix("ns/"), move.source, move.target) for move in plan.moves]


def budget(seed: int) -> Budget:
    """Every 25th is asked of the exact solver, too, and every third balances."""
    return Budget(rounds=0 if seed % 25 else 5, improve_moves=0 if seed % 3 else 3)


def compared(given: Scene, plan: Plan) -> list[str]:
    """What the replayer finds, the moves made."""
    replayer, found = Replayer(given), []
    for state, when in ((plan.before, "before"), (plan.after, "after")):
        if when == "after":
            found += replayer.complaints(moves_of(plan))
        if list(state.overloaded) != replayer.overloaded(replayer.places):
            found.append(f"{when}: other nodes are overloaded")
        if {key.removeprefix("ns/") for key in state.broken} != replayer.broken(replayer.places):
            found.append(f"{when}: other VMs stand against rules")
    return found


@pytest.mark.timeout(180)
@pytest.mark.parametrize("first", range(0, SEEDS, PER_TEST))
def test_every_prefix_of_every_plan_is_legal(first: int) -> None:
    for seed in range(first, first + PER_TEST):
        given = scene(seed)
        plan = rebalance(*values_of(given), budget(seed))
        assert compared(given, plan) == [], f"seed {seed}"


def test_where_a_loss_could_not_be_survived_before_another_may_take_its_place() -> None:
    """All is repaired here, by a move that makes one host safe and another one unsafe."""
    given = scene(489)
    plan, replayer = rebalance(*values_of(given), Budget(rounds=0)), Replayer(given)
    before = replayer.unsafe(replayer.places)
    assert list(replayer.complaints(moves_of(plan))) == []
    after = replayer.unsafe(replayer.places)
    assert (len(before), len(after), plan.impossible) == (1, 1, ())
    assert before != after


@pytest.mark.timeout(180)
def test_the_result_of_a_plan_needs_none() -> None:
    for seed in range(30):
        given, places = scene(seed), {}
        plan = rebalance(*values_of(given), Budget(rounds=0))
        places = {name: target for name, _, target in moves_of(plan)}
        guests = [replace(g, host=places.get(g.name, g.host)) for g in given.guests]
        again = rebalance(*values_of(replace(given, guests=tuple(guests))), Budget(rounds=0))
        assert again.moves == (), f"seed {seed}"


def test_the_replayer_finds_what_is_wrong() -> None:
    """Any VM to any node: most such moves break something, and every kind of complaint is heard."""
    heard = set()
    for seed in range(40):
        given = scene(seed)
        for guest in given.guests:
            for host in given.hosts:
                found = Replayer(given).complaints([(guest.name, guest.host, host.name)])
                heard |= {complaint.split(": ", 1)[1] for complaint in found}
    told = " ".join(sorted(heard))
    for kind in (
        "cordoned", "tainted", "wrong zone", "no room: cpu", "no room: memory", "fills cpu above",
        "its anti-affinity", "the anti-affinity of another", "its affinity", "its spreading",
        "not to be moved", "the worst overload", "against a rule now", "finds no room now",
    ):  # fmt: skip
        assert kind in told, kind
