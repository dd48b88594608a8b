"""The fencing rule is safe at its bounds, unsafe one tick below them, and unsafe without any of its clauses."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.proof import model
from tests.proof.model import Rule
from tests.proof.runs import FAST, RUNS, TAKEN_OUT, Run, verdict
from tests.proof.search import reach, search

from drover.api import profiles

pytestmark = [pytest.mark.timeout(120)]


@pytest.mark.parametrize("run", [run for run in RUNS if not run.long], ids=lambda run: run.name)
def test_verdict(run: Run) -> None:
    found = verdict(run.rule)
    assert found.safe is run.safe, found.trace


def test_every_clause_is_tried() -> None:
    tried = {run.rule.mutant for run in RUNS if not run.safe}
    assert tried >= set(TAKEN_OUT)


def test_the_profile_fast_is_searched_as_it_is() -> None:
    timing = profiles.FAST.timing()
    assert (FAST.age, FAST.hold, FAST.x) == (timing.age_s, timing.hold_s, timing.slack_s)
    assert [run.safe for run in RUNS if (run.rule.peers, run.rule.age, run.rule.hold) == (2, 3, 3)] == [
        True, False, False,
    ]  # fmt: skip


State = tuple[model.Victim, tuple[model.Peer, ...]]


def _victim_moves(rule: Rule, state: State) -> Iterator[State]:
    victim, peers = state
    ticked = model.victim_tick(rule, victim)
    if ticked is not None and not model.dead_for_good(rule, ticked):
        yield ticked, tuple(model.peer_tick(rule, p) for p in peers)
    for name, after in model.victim_steps(rule, victim):
        waits = name == "hold round complete" and sum(map(model.answered, peers)) < rule.vouchers
        if not waits and not model.dead_for_good(rule, after):
            yield after, _changed(name, peers)


def _other_moves(rule: Rule, state: State) -> Iterator[State]:
    victim, peers = state
    if rule.clean and all(p.pledge == model.NOT_ASKED for p in peers):
        yield victim, _changed("inquest opened", peers)
    for number, peer in enumerate(peers):
        for _, changed in model.peer_steps(rule, peer):
            yield victim, (*peers[:number], changed, *peers[number + 1 :])


def _changed(step: str, peers: tuple[model.Peer, ...]) -> tuple[model.Peer, ...]:
    change = model.on_peers(step)
    return peers if change is None else tuple(change(p) for p in peers)


def plain_search(rule: Rule) -> tuple[bool, int]:
    """The same product without tables, arrays or ranks: what ``search`` is held against."""

    def grow(state: State) -> Iterator[State]:
        for moves in (_victim_moves, _other_moves):
            for victim, peers in moves(rule, state):
                yield victim, tuple(sorted(peers))

    def fenced(state: State) -> bool:
        victim, peers = state
        enough = model.may_fence(rule, victim, sum(map(model.clean, peers)))
        return enough and model.alive(rule, victim)

    start = (model.victim_at_start(rule), (model.peer_at_start(rule),) * rule.peers)
    found = reach(start, grow)
    return not any(fenced(state) for state in found), len(found)


@pytest.mark.parametrize(
    "rule", [Rule(1, 1, 1), Rule(1, 1, 2), Rule(0, 2, kick=3, holds=False), Rule(1, 1, 1, 1)]
)
def test_the_search_by_tables_finds_the_same_states(rule: Rule) -> None:
    found = search(rule)
    assert (found.safe, found.states) == plain_search(rule)
