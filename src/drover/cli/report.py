"""``drover report --since T``: what happened, and the sums of what guests felt; also as a page for an incident."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING

import click

from drover.cli.session import Session, examples, say

if TYPE_CHECKING:
    from drover.answers.history import History

_SPAN = re.compile(r"(\d+(?:\.\d+)?)([smhd])")
_UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_WIDEST = 40  # of a name in the table


@click.command(
    epilog=examples(
        "report",
        "report --since 2026-01-31T22:00:00Z --html incident.html",
        "report --since 2d -o json",
        "report --since 1h --from snapshot.json",
    )
)
@click.option(
    "--since",
    default="1h",
    show_default=True,
    metavar="T",
    help="A span until now (90m, 1h30m, 2d), or a time such as 2026-01-31T22:00:00Z.",
)
@click.option("--html", "page_file", default="", metavar="FILE", help="Write one page of HTML.")
@click.option(
    "--from", "file", default="", metavar="FILE", help="Objects saved before; - is stdin."
)
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text")
@click.pass_obj
def command(session: Session, since: str, page_file: str, file: str, output: str) -> int:
    """Tell what happened since T: moves, lost nodes, rebalancing plans, and the sums of downtime.

    It goes back as far as objects are kept: ten finished operations of each VM, of the last day.
    """
    from drover.answers.history import history
    from drover.cli.why_world import world_for

    moment(since, 0.0)  # wrong usage is told before anybody is asked
    world = world_for(session, file)
    found = history(world, moment(since, world.now_s))
    if page_file:
        from drover.cli.report_page import page

        try:
            Path(page_file).write_text(page(found))
        except OSError as error:
            raise click.ClickException(f"cannot write {page_file}: {error.strerror}") from error
    if output == "json":
        click.echo(json.dumps(found.as_json(), indent=2))
    else:
        _text(found)
        if page_file:
            say(f"The page is {page_file}.")
    return 0


def moment(text: str, now_s: float) -> float:
    """Wall time of a moment; for a span, so much before ``now_s``. Raises BadParameter."""
    from drover.base.clock import parse_rfc3339

    spans = _SPAN.findall(text)
    if spans and "".join(number + unit for number, unit in spans) == text:
        return now_s - sum(float(number) * _UNITS_S[unit] for number, unit in spans)
    try:
        return parse_rfc3339(text)
    except ValueError as error:
        raise click.BadParameter(
            f"{text!r} is no time; write for example 1h30m, or 2026-01-31T22:00:00Z",
            param_hint="--since",
        ) from error


def _text(found: History) -> None:
    from drover.base.clock import rfc3339

    sums = found.sums
    say(f"{rfc3339(found.since_s)} to {rfc3339(found.until_s)}", bold=True)
    say(
        f"Moves: {sums['moves']:g} ({sums['succeeded']:g} arrived, {sums['failed']:g} failed, "
        f"{sums['aborted']:g} aborted); guests stood still for {sums['downtimeMs']:g} ms in all, "
        f"{sums['longestDowntimeMs']:g} ms at most."
    )
    for one in found.moves:
        way = f"{one.source} -> {one.target or '?'}"
        still = "" if one.downtime_ms is None else f", stood still {one.downtime_ms} ms"
        took = "" if one.ended_s is None else f" after {one.ended_s - one.began_s:.0f} s"
        why = f": {one.why}" if one.why else ""
        say(
            f"  {rfc3339(one.began_s)}  {one.vm:<30} {way:<{_WIDEST}} {one.result}{took}{still}{why}"
        )
    say(
        f"Nodes lost: {sums['nodesLost']:g}; {sums['vmsRestarted']:g} VMs started elsewhere, "
        f"{sums['vmsNotRestarted']:g} did not; outage {sums['outageS']:g} s in all, "
        f"{sums['longestOutageS']:g} s at most."
    )
    for loss in found.losses:
        say(f"  {rfc3339(loss.began_s)}  {loss.node:<30} {loss.phase}")
        for vm in loss.vms:
            told = (
                "not started again"
                if vm.outage_s is None
                else f"on {vm.node} after {vm.outage_s:.1f} s"
            )
            say(f"  {'':<20}    {vm.vm:<28} {told}")
    say(f"Plans: {sums['plans']:g}.")
    for plan in found.plans:
        done = f"{plan.done} of {plan.moves} moves done, {plan.failed} failed"
        say(f"  {rfc3339(plan.began_s)}  {plan.name:<30} {plan.phase}: {done}")
    if found.missing:
        say(f"Not readable: {', '.join(found.missing)}.")
