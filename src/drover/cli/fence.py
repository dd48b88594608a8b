"""``drover fence``: switch it on and off, what became of lost nodes, a person's word that one is off, and pauses.

``confirm`` is evidence like the time that a watchdog proves: it is bound to the node's newest renewal, so one renewal
more and it says nothing. Who says it of a node whose guests run on destroys their disks; it asks first. Exit codes: 0
done (of `confirm`: the node is fenced; of `on`: every node is armed), 1 refused, or not done in time.
"""

from __future__ import annotations

import json

import click

from drover.cli.lifecycle import seconds
from drover.cli.session import PROGRAM, Session, examples, say, say_table, say_world
from drover.cli.timing import PROFILES


@click.group(
    epilog=examples(
        "fence on --profile lab",
        "fence list",
        "fence show virtlab-pt-1",
        "fence confirm virtlab-pt-1",
    )
)
def fence() -> None:
    """Lost nodes: switch fencing on, what is known, confirm that one is off, pause fencing."""


@fence.command(
    "on",
    short_help="Let VMs of lost nodes start elsewhere.",
    epilog=examples("fence on --profile fast", "fence on --group worker"),
)
@click.option("-p", "--profile", type=click.Choice(PROFILES), default=None,
              help="How soon; `timing` explains them. [default: as the group says, else host]")  # fmt: skip
@click.option("-g", "--group", default="", help="The NodeGroup; not needed where there is but one.")
@click.option("-t", "--timeout", default="90s", metavar="TIME", help="Until all nodes are armed.")
@click.pass_obj
def on(session: Session, profile: str | None, group: str, timeout: str) -> int:
    """Let a group's VMs start elsewhere when their node is lost, and wait until its nodes are armed.

    May be given again with another profile while VMs run: what a node promised under the former times holds until it
    has promised the new ones, and it is armed all the while. To shorter times that takes as long as they are shorter.
    """
    from drover.cli.connect import with_api
    from drover.cli.fence_on import switch_on

    return with_api(session, lambda api: switch_on(api, group, profile or "", seconds(timeout)))


@fence.command(
    "off",
    short_help="Let VMs of lost nodes stay lost.",
    epilog=examples("fence off", "fence off --group worker"),
)
@click.option("-g", "--group", default="", help="The NodeGroup; not needed where there is but one.")
@click.pass_obj
def off(session: Session, group: str) -> int:
    """Promise nothing any more: nothing dies of silence, and a lost node's VMs stay lost."""
    from drover.cli.connect import with_api
    from drover.cli.fence_on import switch_off

    return with_api(session, lambda api: switch_off(api, group))


@fence.command(
    "list",
    short_help="Show which nodes are armed or lost, and what waits.",
    epilog=examples("fence list", "fence list -o json"),
)
@click.option("-o", "--output", type=click.Choice(["table", "json"]), default="table")
@click.pass_obj
def list_nodes(session: Session, output: str) -> int:
    """Show which nodes are armed, which are lost, and why nothing is done."""
    from drover.cli.connect import with_api
    from drover.cli.fence_world import look

    say_world(with_api(session, look), output)
    return 0


@fence.command(
    "show",
    short_help="Show how and when a node was fenced.",
    epilog=examples("fence show virtlab-pt-1", "fence show virtlab-pt-1 -o json"),
)
@click.argument("node")
@click.option("-o", "--output", type=click.Choice(["table", "json"]), default="table")
@click.pass_obj
def show(session: Session, node: str, output: str) -> int:
    """Show the timeline of NODE's fencings, and where its VMs were started again."""
    from drover.cli.connect import with_api
    from drover.cli.fence_world import look

    world = with_api(session, look)
    world.require(node)
    fences = world.fences_of(node)
    if output == "json":
        click.echo(json.dumps(fences, indent=2))
        return 0
    if not fences:
        say(f"{node} was never lost, as far as is kept. It is {world.state(node)}.")
    for one in fences:
        say_table(world.timeline(one))
        say()
    return 0


@fence.command(
    "confirm",
    short_help="Say that a node is switched off.",
    epilog=examples("fence confirm virtlab-pt-1", "fence confirm virtlab-pt-1 --yes"),
)
@click.argument("node")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@click.option("-t", "--timeout", default="60s", metavar="TIME", help="Until it is fenced.")
@click.pass_obj
def confirm(session: Session, node: str, yes: bool, timeout: str) -> int:
    """Say that NODE is switched off, so that its VMs may start elsewhere.

    For nodes that nothing else proves dead: fencing is off, paused or not armed, or too many are lost. A node that
    still renews its Lease is refused.
    """
    from drover.cli.connect import with_api
    from drover.cli.fence_confirm import perform

    return with_api(session, lambda api: perform(api, node, yes, seconds(timeout)))


def _where(function: click.decorators.FC) -> click.decorators.FC:
    function = click.option("--cluster", is_flag=True, help="Every group.")(function)
    function = click.option("-g", "--group", default="", help="A NodeGroup.")(function)
    return click.argument("node", default="")(function)


@fence.command(
    "pause",
    epilog=examples(
        "fence pause virtlab-pt-1", "fence pause --group worker", "fence pause --cluster"
    ),
)
@_where
@click.pass_obj
def pause(session: Session, node: str, group: str, cluster: bool) -> int:
    """Fence nobody for a while: NODE, a group, or all. Their nodes are disarmed, so nothing dies of silence."""
    return _switch(session, node, group, cluster, True)


@fence.command("resume", epilog=examples("fence resume virtlab-pt-1", "fence resume --cluster"))
@_where
@click.pass_obj
def resume(session: Session, node: str, group: str, cluster: bool) -> int:
    """End a pause."""
    return _switch(session, node, group, cluster, False)


def _switch(session: Session, node: str, group: str, cluster: bool, paused: bool) -> int:
    if sum(map(bool, (node, group, cluster))) != 1:
        raise click.UsageError("name one of: a node, --group GROUP, --cluster")
    from drover.cli.connect import with_api
    from drover.cli.fence_world import switch

    with_api(session, lambda api: switch(api, node, group, paused))
    what = f"node {node}" if node else f"NodeGroup {group}" if group else "the whole cluster"
    if paused:
        say(f"Fencing of {what} is paused; `{PROGRAM} fence resume` with the same words ends it.")
    else:
        say(f"Fencing of {what} is not paused any more, as far as this switch goes.")
    return 0
