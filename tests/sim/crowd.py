"""Many seeds, played in processes of their own on both cores: a group of them is one test.

    @pytest.fixture(scope="module")
    def crowd(request) -> Iterator[Crowd]:
        yield from played(PLAN, request)

    @pytest.mark.parametrize("group", groups(200))
    def test_...(group, crowd):
        assert crowd[group].result().broken == ""

A group that held is remembered until the source changes.

``python -m tests.sim.crowd STORY FIRST LAST`` plays until a seed finds something, in whatever copy of
the source PYTHONPATH names: planted bugs are hunted with it.
"""

from __future__ import annotations

import multiprocessing
import sys
from collections import Counter
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tests.support.remembered import WORLD, remembered

from drover.sim.main import play, replay_line
from drover.sim.stories import Plan, Result

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pytest

AT_ONCE = 2
GROUP = 10  # seeds; a group ends well within a test's limit on a busy machine
LAST_LINES = 50
# What the tests play of each story: small worlds for a short while find most in a second of computing.
PLANS = {
    "evict": Plan(vms=3, seconds=40),
    "drain": Plan(story="drain", vms=3, seconds=60),
    "firmware": Plan(story="firmware", vms=3, seconds=60),
    "coldstandby": Plan(story="coldstandby", vms=3, seconds=25),
}


@dataclass
class Verdict:
    """Of a group of seeds."""

    broken: str = ""  # what is to be told of the first seed that was broken; empty: all held
    marks: Counter[str] = field(default_factory=Counter)


Crowd = dict[int, Future[Verdict]]  # by the first seed of a group


def groups(seeds: int) -> range:
    """First seeds of the groups of 1 to ``seeds``."""
    return range(1, seeds + 1, GROUP)


def told(result: Result, plan: Plan) -> str:
    """What somebody needs who wants to know why."""
    return "\n".join(
        [replay_line(result.seed, plan), *result.trace[-LAST_LINES:], str(result.broken)]
    )


def verdict(plan: Plan, first: int, last: int) -> Verdict:
    """Play until a seed is broken."""
    found = Verdict()
    for seed in range(first, last + 1):
        result = play(seed, plan)
        found.marks.update(result.marks)
        if result.broken is not None:
            found.broken = told(result, plan)
            break
    return found


def remembered_verdict(plan: Plan, first: int, last: int) -> Verdict:
    def find() -> list[Any]:
        found = verdict(plan, first, last)
        return [found.broken, found.marks]

    broken, marks = remembered(
        f"seeds {plan!r} {first} {last}", WORLD, find, lambda found: not found[0]
    )
    return Verdict(broken, Counter(marks))


def played(plan: Plan, request: pytest.FixtureRequest) -> Iterator[Crowd]:
    """Plays the groups of the chosen tests beside one another; for a fixture of the module."""
    chosen = {
        params["group"]
        for item in request.session.items
        for params in [getattr(getattr(item, "callspec", None), "params", {})]
        if item.path == request.path and "group" in params
    }
    # A process that is forked would inherit what other tests have left in this one.
    spawn = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(AT_ONCE, mp_context=spawn)
    try:
        yield {
            first: pool.submit(remembered_verdict, plan, first, first + GROUP - 1)
            for first in sorted(chosen)
        }
    finally:
        pool.shutdown(cancel_futures=True)


if __name__ == "__main__":
    found = verdict(PLANS[sys.argv[1]], int(sys.argv[2]), int(sys.argv[3])).broken
    print(found)
    sys.exit(1 if found else 0)
