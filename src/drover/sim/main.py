"""Runs stories from seeds, and says what came of them: the engine behind ``drover sim``."""

from __future__ import annotations

import gc
import hashlib
from functools import cache
from typing import TYPE_CHECKING

from drover.sim.bare import BareStory
from drover.sim.checkers.judge import Broken
from drover.sim.loop import Deadlock, Livelock, StrayErrors, run
from drover.sim.stories import EvictStory, Plan, Result
from drover.sim.story_coldstandby import ColdStandbyStory
from drover.sim.story_drain import DrainStory
from drover.sim.story_firmware import FirmwareStory
from drover.sim.story_flight import Flight
from drover.sim.story_noise import Day
from drover.sim.story_rebalance import RebalanceStory

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

STORIES: dict[str, Callable[[int, Plan], EvictStory | BareStory]] = {
    "evict": EvictStory,
    "drain": DrainStory,
    "firmware": FirmwareStory,
    "coldstandby": ColdStandbyStory,
    "rebalance": RebalanceStory,
    "flight": lambda seed, _: BareStory(Flight, seed),
    "noise": lambda seed, _: BareStory(Day, seed),
}
LIMIT_S = 25 * 3600.0  # of virtual time in one run


def play(seed: int, plan: Plan) -> Result:
    """One run. Never raises for what happens in the world: that is its result."""
    story = STORIES[plan.story](seed, plan)
    _set_modules_aside()
    gc.collect()  # the world before
    gc.disable()  # a run makes few cycles, and what dies when is then no matter of chance
    try:
        return run(story.play(), seed, LIMIT_S)
    except (Deadlock, Livelock, StrayErrors) as error:
        broken = Broken("the loop", f"{type(error).__name__}: {str(error)[:500]}", 0.0)
        return Result(seed, broken, 0.0, [], {})
    finally:
        gc.enable()


@cache
def _set_modules_aside() -> None:
    """Once: what was imported stays for ever, and need not be searched for garbage before each run."""
    gc.collect()
    gc.freeze()


def play_all(seeds: Iterable[int], plan: Plan) -> Iterator[Result]:
    for seed in seeds:
        yield play(seed, plan)


def digest(trace: list[str]) -> str:
    """Names a trace: two runs of one seed must agree."""
    return hashlib.sha256("\n".join(trace).encode()).hexdigest()[:16]


def replay_line(seed: int, plan: Plan) -> str:
    """The command that shows a run again."""
    default = Plan()
    words = [f"drover sim --story {plan.story} --seed {seed}"]
    if plan.nodes != default.nodes:
        words.append(f"--nodes {plan.nodes}")
    if plan.vms != default.vms:
        words.append(f"--vms {plan.vms}")
    if plan.pace != default.pace:
        words.append(f"--pace {plan.pace}")
    if plan.seconds != default.seconds:
        words.append(f"--seconds {plan.seconds:g}")
    if plan.fencing != default.fencing:
        words.append(f"--fencing-profile {plan.fencing}")
    if not plan.weather:
        words.append("--plain")
    return " ".join(words)
