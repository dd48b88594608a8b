"""``drover drain NODE`` and ``drover uncordon NODE``: maintenance, as kubectl drain does it, with a live view.

It cordons the node and evicts its Pods through the same API as kubectl; everything else is done by the controllers.
So it may be interrupted and repeated at any time: the node stays cordoned and what moves goes on, until `uncordon`.
Exit code 0: the node is empty (or, with --dry-run, would get so); 1: refused, blocked until the time limit, or failed.
"""

from __future__ import annotations

from typing import Any

import click

from drover.cli.lifecycle import seconds
from drover.cli.session import PROGRAM, Session, examples, say


@click.command(
    epilog=examples(
        "drain virtlab-pt-2", "drain virtlab-pt-2 --vms-only", "drain virtlab-pt-2 --dry-run"
    )
)
@click.argument("node")
@click.option("--vms-only", is_flag=True, help="Evict only virtual machines.")
@click.option("--pod-selector", "selector", default="", metavar="K=V", help="Evict only these.")
@click.option("--force", is_flag=True, help="Also Pods without a controller; they are lost.")
@click.option("--delete-emptydir-data", is_flag=True, help="Also Pods with an emptyDir.")
@click.option("--ignore-daemonsets", is_flag=True, hidden=True)  # they always are
@click.option("--dry-run", is_flag=True, help="Only tell what would happen, and how long.")
@click.option("-t", "--timeout", default="", metavar="TIME", help="Give up after 90s, 5m...")
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text")
@click.pass_obj
def drain(
    session: Session, /, node: str, timeout: str, dry_run: bool, output: str, **given: Any
) -> int:
    """Free NODE for maintenance: cordon it and move its VMs away while they run.

    Ctrl+C stops watching; the node stays cordoned until `uncordon`.
    """
    from drover.api.selectors import BadSelector, parse
    from drover.cli.connect import with_api
    from drover.cli.drain_plan import Options
    from drover.cli.drain_run import Drain

    try:
        parse(given["selector"])
    except BadSelector as error:
        raise click.BadParameter(str(error), param_hint="--pod-selector") from error
    given.pop("ignore_daemonsets")
    limit_s = seconds(timeout) if timeout else 0.0
    options = Options(**given)
    try:
        return with_api(
            session, lambda api: Drain(api, node, options, limit_s, output).perform(dry_run)
        )
    except KeyboardInterrupt:
        say()
        say(
            f"{node} stays cordoned, and what moves goes on. `{PROGRAM} uncordon {node}` ends that."
        )
        raise


@click.command(epilog=examples("uncordon virtlab-pt-2"))
@click.argument("node")
@click.pass_obj
def uncordon(session: Session, /, node: str) -> int:
    """End the maintenance of NODE.

    Moves that do not copy memory yet are called off; nothing moves back by itself.
    """
    from drover.cli.connect import with_api
    from drover.cli.drain_world import uncordoned

    return with_api(session, lambda api: uncordoned(api, node))
