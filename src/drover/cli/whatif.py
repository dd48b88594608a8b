"""``drover whatif``: what would happen if nodes were lost, drained or added, or a VM were made. Nothing is touched.

The outcomes are made by ``drover.answers`` from one look at the cluster, or from a file, by the planner and the rules
that the controllers go by. It is a forecast: kube-scheduler chooses among the nodes that fit, and the world goes on.
Exit codes: 0 every VM would find a place, 1 one would not, or the question is wrong.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from drover.cli.session import Session, examples, say

if TYPE_CHECKING:
    from drover.answers.outcome import Outcome, Step
    from drover.answers.world import World


@click.group(
    epilog=examples(
        "whatif lose virtlab-pt-1",
        "whatif drain virtlab-pt-1 virtlab-pt-2",
        "whatif add virtlab-pt-4 --like virtlab-pt-1",
        "whatif vm examples/linux-vm.yaml",
    )
)
def command() -> None:
    """Tell what would move or start where, how long it may take, and what would not fit."""


def _asked(function: Callable[..., Any]) -> Callable[..., Any]:
    """The options that all questions have."""
    output = click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text")
    words = "Objects saved before; - is stdin."
    file = click.option("--from", "file", default="", metavar="FILE", help=words)
    return output(file(click.pass_obj(function)))


@command.command(
    short_help="Lose nodes at once: which VMs would start again, and where.",
    epilog=examples("whatif lose virtlab-pt-1", "whatif lose virtlab-pt-1 virtlab-pt-2 -o json"),
)
@click.argument("nodes", nargs=-1, required=True, metavar="NODE...")
@_asked
def lose(session: Session, nodes: tuple[str, ...], file: str, output: str) -> int:
    """Lose these nodes at once: which VMs would start again where, in which order, and when."""
    from drover.answers.losing import lose as ask

    return _tell(session, file, output, lambda world: ask(world, nodes))


@command.command(
    short_help="Drain nodes one after another: where their VMs would go.",
    epilog=examples("whatif drain virtlab-pt-1", "whatif drain virtlab-pt-1 virtlab-pt-2"),
)
@click.argument("nodes", nargs=-1, required=True, metavar="NODE...")
@_asked
def drain(session: Session, nodes: tuple[str, ...], file: str, output: str) -> int:
    """Drain these nodes, one after another: where their VMs would go, and how long it may take."""
    from drover.answers.draining import drain as ask

    return _tell(session, file, output, lambda world: ask(world, nodes))


@command.command(
    short_help="Add a node: what would start or move then.",
    epilog=examples("whatif add virtlab-pt-4 --like virtlab-pt-1"),
)
@click.argument("node")
@click.option("--like", required=True, metavar="NODE", help="The node that it resembles.")
@_asked
def add(session: Session, node: str, like: str, file: str, output: str) -> int:
    """Add NODE: what waits for room and would start, which drains would go on, what a plan would move."""
    from drover.answers.adding import add as ask

    return _tell(session, file, output, lambda world: ask(world, node, like))


@command.command(
    short_help="Make the VMs of a file: would they fit, and where.",
    epilog=examples("whatif vm examples/linux-vm.yaml", "whatif vm new.yaml -n staging -o json"),
)
@click.argument("manifest", metavar="FILE")
@click.option("-n", "--namespace", default="default", show_default=True)
@_asked
def vm(session: Session, manifest: str, namespace: str, file: str, output: str) -> int:
    """Make the VMs of FILE: would they fit, where, and why not elsewhere."""
    from drover.answers.fitting import BadManifest, fitting
    from drover.cli.why_world import documents_of

    wanted = documents_of(manifest)

    def ask(world: World) -> Outcome:
        try:
            return fitting(world, wanted, namespace)
        except BadManifest as bad:
            raise click.ClickException(f"{manifest}: {bad}") from bad

    return _tell(session, file, output, ask)


def _tell(session: Session, file: str, output: str, ask: Callable[[World], Outcome]) -> int:
    """Ask, and print; the exit code."""
    from drover.answers.world import NoSuch
    from drover.cli.session import spoken
    from drover.cli.why_world import hint_missing, world_for

    world = world_for(session, file)
    try:
        found = ask(world)
    except NoSuch as missing:
        raise click.ClickException(spoken(str(missing))) from missing
    if output == "json":
        click.echo(json.dumps(found.as_json(), indent=2))
    else:
        _text(found)
        if hint := hint_missing(world):
            say(hint)
    return 1 if found.homeless else 0


def _text(found: Outcome) -> None:
    from drover.cli.drain_plan import duration
    from drover.cli.session import spoken

    for number, one in enumerate(found.steps, 1):
        say(f"{number:>4}. {one.vm:<30} {_words(one)}")
    for lacking in found.stuck:
        word = "stays off" if lacking.unwanted else "finds no place"
        say(f"   -  {lacking.vm:<30} {word}: {lacking.why}")
        if lacking.way_out:
            say(f"      {'':<30} way out: {spoken(lacking.way_out)}")
    for note in found.notes:
        say(f"note: {spoken(note)}")
    total = len(found.steps) + len(found.homeless)
    time = f", in about {duration(found.seconds)}" if found.seconds and found.steps else ""
    if total:
        say(f"{len(found.steps)} of {total} VMs would find a place{time}. Nothing was touched.")
    else:
        say("Nothing would move. Nothing was touched.")


def _words(one: Step) -> str:
    from drover.answers.outcome import How

    verb = {How.MOVE: "moves", How.RESTART: "starts again", How.START: "starts"}[one.how]
    way = f"from {one.source} to {one.target}" if one.source else f"on {one.target}"
    more = f", together with {', '.join(one.together)}" if one.together else ""
    return f"{verb} {way}{more}" + (f" ({one.why})" if one.why else "")
