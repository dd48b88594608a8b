"""``drover sim``: whole clusters on virtual time, from seeds; a failing seed replays the same everywhere."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

import click

from drover.cli.session import examples, say

if TYPE_CHECKING:
    from drover.sim.stories import Plan, Result

LAST_LINES = 50


@click.command(
    epilog=examples("sim --story evict --seeds 20", "sim --story evict --seed 4711 --trace")
)
@click.option("--story", type=click.Choice(["evict"]), default="evict", show_default=True)
@click.option("--seeds", type=click.IntRange(1), default=20, show_default=True, metavar="N",
              help="Play the seeds 1 to N.")  # fmt: skip
@click.option("--seed", type=int, default=None, metavar="K", help="Play this one seed.")
@click.option("--nodes", type=click.IntRange(2, 50), default=None, help="How many nodes.")
@click.option("--vms", type=click.IntRange(1, 200), default=None, help="How many VMs.")
@click.option("--seconds", type=click.FloatRange(1), default=None,
              help="Virtual seconds of people at work.")  # fmt: skip
@click.option("--plain", is_flag=True, help="Nothing breaks: evict and abort only.")
@click.option("--trace", is_flag=True, help="Print every line of the trace.")
@click.pass_context
def command(
    ctx: click.Context,
    /,
    story: str,
    seeds: int,
    seed: int | None,
    trace: bool,
    **shape: object,
) -> None:
    """Run a whole cluster on virtual time, from a seed.

    The real controllers and agents work on a model of the Kubernetes API and of QEMU, while people
    move, abort, stop and delete VMs and everything breaks that can. Checkers look at each step.
    Exit code 1 when one of them found something; the seed then replays it.
    """
    from drover.sim.stories import Plan

    given = {key: value for key, value in shape.items() if key != "plain" and value is not None}
    plan = replace(Plan(story=story, weather=not shape["plain"]), **given)  # type: ignore[arg-type]
    chosen = range(1, seeds + 1) if seed is None else [seed]
    ctx.exit(1 if _play(list(chosen), plan, trace) else 0)


def _play(seeds: list[int], plan: Plan, trace: bool) -> int:
    """How many seeds were broken."""
    from drover.sim.main import digest, play

    broken, virtual_s, migrations = 0, 0.0, 0
    began_s = time.process_time()
    for seed in seeds:
        result = play(seed, plan)
        virtual_s += result.virtual_s
        migrations += result.marks.get("evict.copy", 0)
        if trace:
            say("\n".join(result.trace))
        if result.broken is not None:
            broken += 1
            _show(result, plan, trace)
        elif len(seeds) == 1:
            say(f"seed {seed}: all held; {len(result.trace)} lines, trace {digest(result.trace)}")
    cpu_s = max(time.process_time() - began_s, 1e-9)
    say(
        f"{len(seeds)} seeds, {broken} violations, {migrations} copies begun, "
        f"{virtual_s / 3600:.2f} virtual hours, {virtual_s / cpu_s:.0f} virtual hours a CPU hour"
    )
    return broken


def _show(result: Result, plan: Plan, traced: bool) -> None:
    """What somebody needs who wants to know why."""
    from drover.sim.main import replay_line

    say(replay_line(result.seed, plan), bold=True)
    if not traced:
        say("\n".join(result.trace[-LAST_LINES:]))
    say(f"broken: {result.broken}")
