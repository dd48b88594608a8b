"""``drover status``: what runs, what goes on, and what needs attention, with the way out.

The machine's own view of the lab's processes comes first, then fencing, then all that the API knows, the kinds side by
side. An API that says nothing for a few seconds is told as such; one whose processes are off is not even asked. Exit
codes: 0 all parts run and the API answers, 1 not.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import click

from drover.cli.session import PROGRAM, Session, colours, examples, say, spoken

if TYPE_CHECKING:
    from drover.answers.overview import MoveRow, Overview
    from drover.lab.lab import PartStatus

PROBE_S = 3.0  # for the first word of the API
LOOK_S = 30.0  # for all the rest, of a large cluster
MOST_TOLD = 20  # of moves, and of what needs attention
_ALL_RUN = "a lab runs all parts of its control plane and its nodes"
_UP = "`drover up` starts what is off"
_MEND = {
    "Off": _UP,
    "Isolated": "`drover lab rejoin {name}` plugs its cable in",
    "Frozen": "`drover lab thaw {name}` lets its agent go on",
}


@dataclass(frozen=True)
class Seen:
    """What the probes brought. ``silent`` says why the API told nothing; ``troubles`` are fencing's own."""

    parts: list[PartStatus]
    overview: Overview | None = None
    silent: str = ""
    missing: tuple[str, ...] = ()
    fencing: list[str] = field(default_factory=list)

    @property
    def well(self) -> bool:
        return not self.silent and all(part.state == "Running" for part in self.parts)

    def attention(self) -> list[dict[str, Any]]:
        """The machine's view first."""
        if all(part.state == "Off" for part in self.parts):
            return [_line("lab", "The lab is stopped: nothing of it runs", _ALL_RUN, _UP)]
        found = [_broken(part) for part in self.parts if part.state != "Running"]
        if self.silent:
            words = f"The API does not answer: {self.silent}; VMs run on, and nothing moves"
            way = "`drover up` starts what is off; `drover lab api-up` ends an outage made by hand"
            found.append(_line("api", words, "the control plane decides, the nodes carry on", way))
        if self.overview is not None:
            found += [one.as_json() for one in self.overview.attention]
        rule = "a group's nodes are fenced only while its peers, roster and times allow it"
        ways = "`drover fence list` tells more"
        return found + [_line("fencing", line, rule, ways) for line in self.fencing]

    def as_json(self) -> dict[str, Any]:
        keys = ("name", "state", "address", "pid")
        api = {"answers": not self.silent, **({"why": self.silent} if self.silent else {})}
        known = self.overview.as_json() if self.overview is not None else {}
        return {
            "well": self.well,
            "parts": [{key: getattr(part, key) for key in keys} for part in self.parts],
            "api": api,
            **known,
            **({"notReadable": list(self.missing)} if self.missing else {}),
            "attention": self.attention(),
        }


def _line(about: str, says: str, rule: str, way_out: str) -> dict[str, Any]:
    return {"about": about, "says": says, "rule": rule, "objects": [], "wayOut": way_out}


def _broken(part: PartStatus) -> dict[str, Any]:
    return _line(
        "lab", f"{part.name} is {part.state}", _ALL_RUN, _MEND[part.state].format(name=part.name)
    )


@click.command(epilog=examples("status", "status -o json", "status --home /tmp/second"))
@click.option("-o", "--output", type=click.Choice(["text", "table", "json"]), default="text")
@click.pass_obj
def command(session: Session, output: str) -> int:
    """Show what runs, which moves go on, and what needs attention and how it is mended.

    Exit code 0 when all parts run and the API answers, 1 otherwise.
    """
    seen = asyncio.run(look(session))
    if output == "json":
        click.echo(json.dumps(seen.as_json(), indent=2))
    else:
        _show(seen)
    return 0 if seen.well else 1


async def look(session: Session) -> Seen:
    """Both views. Raises LabError when there is no lab."""
    parts = session.parts()
    off = {part.name for part in parts if part.state == "Off"} & {"apiserver", "etcd"}
    if off:
        return Seen(
            parts, silent=f"{' and '.join(sorted(off))} {'are' if len(off) > 1 else 'is'} off"
        )
    return await _ask(session, parts)


async def _ask(session: Session, parts: list[PartStatus]) -> Seen:
    """With all that the API knows, every kind asked for at once."""
    from drover.answers.overview import Overview
    from drover.api.status import ApiError, Unanswered
    from drover.cli import fence_world, why_world
    from drover.cli.connect import connected
    from drover.lab.errors import LabError

    try:
        async with asyncio.timeout(PROBE_S) as limit, connected(session) as api:
            fencing = await fence_world.look(api)
            limit.reschedule(asyncio.get_running_loop().time() + LOOK_S)
            world = await why_world.look(api)
    except TimeoutError:
        return Seen(parts, silent=f"no answer within {PROBE_S:.0f} s")
    except (LabError, ApiError, Unanswered) as error:
        return Seen(parts, silent=str(error))
    return Seen(parts, Overview(world), "", world.missing, fencing.troubles())


def _show(seen: Seen) -> None:
    _parts(seen.parts)
    if seen.overview is not None:
        _nodes(seen.overview)
        _vms(seen.overview)
        _moves(seen.overview.moves)
        groups = ", ".join(f"{name} {how}" for name, how in seen.overview.fencing.items())
        say(f"Fencing: {groups or 'no NodeGroup, so nothing is fenced'}")
        say(f"Rebalancing: {seen.overview.rebalancing}")
    attention = seen.attention()
    say()
    if seen.missing:
        say(f"not readable with your rights: {', '.join(sorted(seen.missing))}")
    if not attention:
        say("Nothing needs attention.")
        return
    say("NEEDS ATTENTION", bold=True)
    for one in attention[:MOST_TOLD]:
        say(f"  {_red('!')} {spoken(one['says'])}.")
        say(f"    way out: {spoken(one['wayOut'])}" if one["wayOut"] else "    wait")
    if len(attention) > MOST_TOLD:
        say(f"  and {len(attention) - MOST_TOLD} more: `{PROGRAM} status -o json` lists them")


def _parts(parts: Sequence[PartStatus]) -> None:
    if not parts:
        return
    say(f"{'PART':<18} {'STATE':<10} {'ADDRESS':<15} PID", bold=True)
    for part in parts:
        state = _painted(f"{part.state:<10}", part.state == "Running")
        say(f"{part.name:<18} {state} {part.address:<15} {part.pid or '-'}")


def _nodes(known: Overview) -> None:
    say()
    say(f"{'NODE':<20} {'STATE':<10} {'VMS':>4} {'CPU':>6} {'MEMORY':>7}", bold=True)
    for row in known.nodes:
        state = _painted(f"{row.state:<10}", row.state == "Ready")
        say(f"{row.name:<20} {state} {row.vms:>4} {row.cpu_percent:>4} % {row.memory_percent:>5} %")


def _vms(known: Overview) -> None:
    total = sum(known.phases.values())
    phases = ", ".join(f"{count} {phase}" for phase, count in known.phases.items())
    say()
    say(f"VMs: {total}" + (f" ({phases})" if total else f"; `{PROGRAM} k apply -f` makes some"))


def _moves(moves: list[MoveRow]) -> None:
    for move in moves[:MOST_TOLD]:
        way = f"{move.source or '?'} -> {move.target or '?'}"
        say(f"  {move.vm:<30} {way:<32} {move.phase} {move.percent} %, asked by {move.origin}")
    if len(moves) > MOST_TOLD:
        say(f"  and {len(moves) - MOST_TOLD} more moves")


def _painted(text: str, good: bool) -> str:
    return click.style(text, fg="green" if good else "red") if colours() else text


def _red(text: str) -> str:
    return click.style(text, fg="red", bold=True) if colours() else text
