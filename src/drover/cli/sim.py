"""``drover sim``: whole clusters on virtual time, from seeds; a failing seed replays the same everywhere."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import click

from drover.cli.session import examples, say
from drover.cli.timing import PROFILES

if TYPE_CHECKING:
    from drover.sim.stories import Plan, Result

LAST_LINES = 50
CROWD = 8  # more VMs than that live at a day's pace unless told otherwise
SEEDS = {"rush": 20, "day": 4}


@click.command(
    epilog=examples(
        "sim --story evict --seeds 100",
        "sim --story evict --nodes 5 --vms 20",
        "sim --story evict --seed 4711 --trace",
        "sim --story drain --seeds 20",
        "sim --story firmware --seeds 20",
        "sim --story coldstandby --seeds 300",
        "sim --story coldstandby --seeds 300 --fencing-profile fast",
        "sim --story coldstandby --seed 1 --hours 8",
        "sim --story rebalance --seeds 200",
        "sim --story flight --seeds 30",
    )
)
@click.option(
    "--story",
    type=click.Choice(
        ["evict", "drain", "firmware", "coldstandby", "rebalance", "flight", "noise"]
    ),
    default="evict",
    show_default=True,
)
@click.option("--seeds", type=click.IntRange(1), default=None, metavar="N",
              help="Play the seeds 1 to N. [default: 20, on a day 4]")  # fmt: skip
@click.option("--seed", type=int, default=None, metavar="K", help="Play this one seed.")
@click.option("--nodes", type=click.IntRange(2, 50), default=None, help="How many nodes.")
@click.option("--vms", type=click.IntRange(1, 200), default=None, help="How many VMs.")
@click.option("--pace", type=click.Choice(["rush", "day"]), default=None,
              help="rush: each user acts every few seconds. day: each VM is moved about once an "
              f"hour. [default: rush, above {CROWD} VMs day]")  # fmt: skip
@click.option("--seconds", type=click.FloatRange(1), default=None,
              help="Virtual seconds of people at work. [default: rush 120, day 3600]")  # fmt: skip
@click.option("--hours", type=click.FloatRange(0.01), default=None,
              help="The same in virtual hours, of one seed unless told otherwise.")  # fmt: skip
@click.option("--fencing-profile", "fencing", type=click.Choice(PROFILES), default=None,
              help="By which times the story coldstandby begins and ends.  [default: lab]")  # fmt: skip
@click.option("--plain", is_flag=True, help="Nothing breaks: people's acts only.")
@click.option("--trace", is_flag=True, help="Print every line of the trace.")
@click.pass_context
def command(
    ctx: click.Context,
    /,
    story: str,
    seeds: int | None,
    seed: int | None,
    trace: bool,
    hours: float | None,
    **shape: object,
) -> None:
    """Run a whole cluster on virtual time, from a seed.

    The real controllers and agents work on a model of the Kubernetes API and of QEMU, while people
    move, abort, stop and delete VMs and everything breaks that can: in the story evict at each step
    of a migration, in drain while nodes are serviced, in coldstandby as nodes are lost and fenced,
    in rebalance while VMs are crowded on one node. In flight and noise nodes and VMs are objects
    alone: moves that take minutes and fail, and a day of reservations that change. Checkers look at
    each step.
    Exit code 1 when one of them found something; the seed then replays it.
    """
    from drover.sim.stories import Plan

    if shape["fencing"] and story != "coldstandby":
        raise click.UsageError("--fencing-profile belongs to the story coldstandby")
    given = {key: value for key, value in shape.items() if key != "plain" and value is not None}
    plan = replace(Plan(story=story, weather=not shape["plain"]), **given)  # type: ignore[arg-type]
    if hours is not None:
        plan, seeds = replace(plan, seconds=hours * 3600), seeds or 1
    if "pace" not in given and plan.vms > CROWD:
        plan = replace(plan, pace="day")
    chosen = range(1, (seeds or SEEDS[plan.pace]) + 1) if seed is None else [seed]
    ctx.exit(1 if _play(list(chosen), plan, trace) else 0)


@dataclass
class _Sum:
    """What all seeds so far came to."""

    began_s: float
    played: int = 0
    broken: int = 0
    virtual_s: float = 0.0
    copies: int = 0

    def add(self, result: Result) -> None:
        self.played += 1
        self.broken += result.broken is not None
        self.virtual_s += result.virtual_s
        self.copies += result.marks.get("evict.copy", 0)

    def words(self) -> str:
        cpu_s = max(time.process_time() - self.began_s, 1e-9)
        return (
            f"{self.played} seeds, {self.broken} violations, {self.copies} copies begun, "
            f"{self.virtual_s / 3600:.2f} virtual hours in {cpu_s:.1f} CPU seconds: "
            f"{self.virtual_s / cpu_s:.0f} virtual hours a CPU hour"
        )


def _play(seeds: list[int], plan: Plan, trace: bool) -> int:
    """How many seeds were broken."""
    from drover.sim.main import digest, play

    said = (f"{len(seeds)} seeds" if len(seeds) > 1 else f"seed {seeds[0]}") + (
        f" of story {plan.story}: {plan.nodes} nodes, {plan.vms} VMs, {plan.work_s:g} virtual "
        f"seconds at the pace of a {plan.pace}, {'weather' if plan.weather else 'nothing breaks'}"
    )
    say(said)
    total = _Sum(time.process_time())
    for seed in seeds:
        result = play(seed, plan)
        total.add(result)
        if trace:
            say("\n".join(result.trace))
        if result.broken is not None:
            _clear()
            _show(result, plan, trace)
        elif len(seeds) == 1:
            say(f"seed {seed}: all held; {len(result.trace)} lines, trace {digest(result.trace)}")
        _progress(f"seed {seed} of {seeds[-1]}; {total.words()}")
    _clear()
    say(total.words())
    return total.broken


def _progress(line: str) -> None:
    """One line that is written over, for people only."""
    if sys.stderr.isatty():
        click.echo(f"\r\x1b[2K{line}", nl=False, err=True)


def _clear() -> None:
    _progress("")


def _show(result: Result, plan: Plan, traced: bool) -> None:
    """What somebody needs who wants to know why."""
    from drover.sim.main import replay_line

    say(replay_line(result.seed, plan), bold=True)
    if not traced:
        say("\n".join(result.trace[-LAST_LINES:]))
    say(f"broken: {result.broken}")
