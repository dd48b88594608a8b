"""``drover why NAME``: where a VM is and why there, why it does not start, move or restart; what blocks a drain.

NAME is a VM, an operation or a node. The answers are made by ``drover.answers`` from one look at the cluster, or from a
file; nothing is touched. Exit codes: 0 answered, 1 there is no such thing.
"""

from __future__ import annotations

import json

import click

from drover.cli.session import Session, examples, say, spoken


@click.command(
    epilog=examples(
        "why linux-vm",
        "why linux-vm.staging -o json",
        "why virtlab-pt-1",
        "why evacuation-x7k2p -n default",
        "why linux-vm --from cluster.json",
    )
)
@click.argument("name")
@click.option("-n", "--namespace", default="default", show_default=True)
@click.option(
    "--from", "file", default="", metavar="FILE", help="Objects saved before; - is stdin."
)
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text")
@click.pass_obj
def command(session: Session, name: str, namespace: str, file: str, output: str) -> int:
    """Tell why NAME (a VM, an operation or a node) is as it is: the rule, the object, the way out."""
    from drover.answers.why import why
    from drover.answers.world import NoSuch
    from drover.cli.targets import target
    from drover.cli.why_world import hint_missing, world_for

    world = world_for(session, file)
    meant = target(name, namespace)
    try:
        try:
            subject, found = why(world, meant.name, meant.namespace)
        except NoSuch:
            subject, found = why(
                world, name, namespace
            )  # names of nodes and operations have dots too
    except NoSuch as missing:
        raise click.ClickException(spoken(str(missing))) from missing
    if output == "json":
        click.echo(json.dumps([one.as_json() for one in found], indent=2))
        return 0
    say(subject, bold=True)
    for one in found:
        say(f"  {one.about:<10} {spoken(one.says)}.")
        say(f"  {'':<10} rule: {one.rule}")
        if one.way_out:
            say(f"  {'':<10} way out: {spoken(one.way_out)}")
    if not found:
        say("  Nothing is to be told of it.")
    if hint := hint_missing(world):
        say(hint)
    return 0
