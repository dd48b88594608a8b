"""Each judge of bench/soak finds what was planted, and nothing where nothing was; its plan follows from the seed."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
from bench.soaking import checkers
from bench.soaking.checkers import Course, Hand, Life, Look, Stock
from bench.soaking.weather import FAULTS, MOST_KILLS, PEOPLE, plan

LIFE = Life("vm1", ["a", "b"], duplicates=0, missing=0, now="b", epoch=7)


def test_a_ledger_with_one_writer_at_a_time_is_good() -> None:
    assert checkers.guests([LIFE, replace(LIFE, vm="vm2", boots=["c"], now="c", epoch=1)]) == []


@pytest.mark.parametrize(
    ("planted", "words"),
    [
        (replace(LIFE, boots=["a", "b", "a", "b"]), "ran twice"),
        (replace(LIFE, duplicates=1), "1 lines twice"),
        (replace(LIFE, missing=3), "3 never"),
        (replace(LIFE, now="c"), "runs as c"),
        (replace(LIFE, boots=[]), "wrote its disk last"),
        (replace(LIFE, epoch=1), "was started 2 times"),
    ],
)
def test_a_guest_that_ran_twice_is_found(planted: Life, words: str) -> None:
    (wrong,) = checkers.guests([LIFE, planted])
    assert words in wrong


HANDS = [Hand("v", "u", 1, "p1"), Hand("v", "u", 1, "p1"), Hand("v", "u", 2, "p2")]


def test_hands_change_with_a_higher_epoch() -> None:
    anew = Hand("v", "made-anew", 1, "p9")
    assert checkers.hands([*HANDS, Hand("v", "u", 5, ""), anew]) == []


@pytest.mark.parametrize(
    ("planted", "words"),
    [(Hand("v", "u", 1, "p1"), "fell from 2 to 1"), (Hand("v", "u", 2, "p3"), "within epoch 2")],
)
def test_a_lease_with_two_holders_is_found(planted: Hand, words: str) -> None:
    (wrong,) = checkers.hands([*HANDS, planted])
    assert words in wrong


def looks(count: int, moving: frozenset[str] | None) -> list[Look]:
    return [Look(float(at), {"v": 2, "w": 1}, moving) for at in range(count)]


def test_two_copies_are_found_unless_their_vm_moves() -> None:
    none: frozenset[str] = frozenset()
    (wrong,) = checkers.twins(looks(checkers.MOST_LOOKS, none))
    assert "2 QEMUs of v" in wrong
    assert checkers.twins(looks(9, frozenset({"v"}))) == []
    assert checkers.twins(looks(9, None)) == []
    apart = [*looks(2, none), Look(2.0, {"v": 1}, none), *looks(2, none)]
    assert checkers.twins(apart) == []


STOCK = Stock({"node agent": 3, "node qemu": 4}, {"node agent": 30}, 20, 40, 200)


def test_as_much_as_before_is_no_leak() -> None:
    assert checkers.leaks(STOCK, STOCK) == []
    fewer = replace(STOCK, links=39, fds={"node agent": 30 + checkers.MOST_MORE_FDS})
    assert checkers.leaks(STOCK, fewer) == []


@pytest.mark.parametrize(
    "planted",
    [
        replace(STOCK, processes={"node agent": 3, "node qemu": 5}),
        replace(STOCK, processes={"node agent": 2, "node qemu": 4}),
        replace(STOCK, processes={**STOCK.processes, "node dhcp": 1}),
        replace(STOCK, fds={"node agent": 31 + checkers.MOST_MORE_FDS}),
        replace(STOCK, namespaces=21),
        replace(STOCK, links=41),
        replace(STOCK, mounts=201),
    ],
)
def test_what_is_left_over_is_found(planted: Stock) -> None:
    assert len(checkers.leaks(STOCK, planted)) == 1


def course(per_minute: float, seconds: int = 600) -> Course:
    """Fills 40 MiB in its first half, then grows as told."""
    at = [float(x) for x in range(0, seconds, 10)]
    filled = [min(x, seconds / 2) / (seconds / 2) * 40 for x in at]
    grown = [max(0.0, x - seconds / 2) / 60 * per_minute for x in at]
    return Course("agent", at, [50 + a + b for a, b in zip(filled, grown, strict=True)])


def test_growth_is_found_where_it_goes_on() -> None:
    assert checkers.growth([course(0.0), course(checkers.MOST_MIB_PER_MINUTE - 1)]) == []
    (wrong,) = checkers.growth([course(checkers.MOST_MIB_PER_MINUTE + 1)])
    assert wrong == "agent grows by 6.0 MiB a minute"
    assert checkers.growth([course(60.0, seconds=200)]) == []  # too young to be judged


def test_a_slope_is_that_of_the_line() -> None:
    assert checkers.slope([0, 1, 2], [1, 3, 5]) == pytest.approx(2)
    assert checkers.slope([1], [1]) == checkers.slope([], []) == checkers.slope([1, 1], [1, 9]) == 0


def test_the_plan_follows_from_the_seed_and_has_everything_in_it() -> None:
    acts = plan(7, 3000, 4, 3)
    assert acts == plan(7, 3000, 4, 3)
    assert acts != plan(8, 3000, 4, 3)
    assert {act.what for act in acts} == {*PEOPLE, *FAULTS}
    assert [act.at_s for act in acts] == sorted(act.at_s for act in acts)
    kills = [act.vm for act in acts if act.what == "kill-qemu"]
    assert all(kills.count(vm) <= MOST_KILLS for vm in kills)
    faults = [act for act in acts if act.what in FAULTS]
    for one, after in itertools.pairwise(faults):
        assert one.at_s + one.last_s < after.at_s, "one fault at a time"
