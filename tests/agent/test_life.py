"""The agent's half of the hold rule, by its properties."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from drover.agent.life import Life, Round, Vouching
from drover.api.fencing import Evidence, Timing
from drover.api.kinds.nodefence import Member, Roster

LAB = Timing(timeout_s=6)
moments = st.floats(0, 1000)


def roster(*names: str) -> Roster:
    return Roster(1, tuple(Member(name, "10.0.0.1", 1) for name in names))


@given(st.floats(0, 10), st.lists(st.tuples(st.booleans(), moments)))
def test_life_never_reaches_beyond_what_was_sent(
    first: float, said: list[tuple[bool, float]]
) -> None:
    life = Life(LAB, first)
    before = life.deadline_s
    for renewal, sent_s in said:
        if renewal:
            life.acked(sent_s)
        else:
            life.held(sent_s)
        assert life.deadline_s >= before  # nothing that arrives late takes life away
        before = life.deadline_s
    newest = max([first, *(s for renewal, s in said if renewal)]) + LAB.age_s
    held = max([s for renewal, s in said if not renewal], default=-1e9) + LAB.hold_s
    assert life.deadline_s == max(newest, held)


def test_a_round_counts_only_vouchers_of_its_own() -> None:
    asked = Round("n2", 10.0, "a", roster("a", "b", "c"))
    asked.voucher("b", "n1")
    asked.voucher("a", "n2")
    asked.voucher("z", "n2")
    assert not asked.complete
    asked.voucher("c", "n2")
    assert asked.complete


def test_who_stands_outside_needs_one_more() -> None:
    asked = Round("n", 0.0, "z", roster("a", "b", "c"))
    asked.voucher("a", "n")
    assert not asked.complete
    asked.voucher("b", "n")
    assert asked.complete


def test_without_a_roster_nobody_holds_and_alone_one_always_does() -> None:
    assert not Round("n", 0.0, "a", Roster(0, ())).complete
    assert Round("n", 0.0, "a", roster("a")).complete


@given(
    st.lists(st.tuples(st.sampled_from("bc"), st.floats(0, 50), st.booleans())), st.floats(0, 50)
)
def test_evidence_never_makes_a_voucher_older_than_it_is(
    asked: list[tuple[str, float, bool]], until: float
) -> None:
    vouching, given_at, now = Vouching(0.0, {"c": "inquest-1"}), {}, 0.0
    for node, after_s, silent in asked:
        now += after_s
        vouched = vouching.asked(node, now, silent)
        assert vouched == (silent and node != "c")
        if vouched:
            given_at[node] = now
    now += until
    said = Evidence("a", "b", "m", 1, None, vouching.life_s(now), vouching.ages_s(now))
    for node in "bc":
        assert said.voucher_age_s(node) <= now - given_at.get(node, 0.0)


def test_a_promise_shuts_the_mouth_until_its_inquest_is_gone() -> None:
    vouching = Vouching(0.0, {})
    assert vouching.asked("b", 1.0, silent=True)
    assert vouching.promise({"b": "inquest-1"})
    assert not vouching.promise({"b": "inquest-1"})
    assert not vouching.asked("b", 2.0, silent=True)
    assert Vouching(3.0, vouching.promises).asked("b", 4.0, silent=True) is False
    assert vouching.promise({})
    assert vouching.asked("b", 5.0, silent=True)
    assert vouching.ages_s(6.0) == {"b": 1.0}
