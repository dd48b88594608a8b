"""``drover rebalance on | off | status | plan``, ``drover snapshot`` and ``drover plan < FILE``.

``on`` and ``off`` write ModuleConfig ``descheduler`` and leave the rest to the rebalancer. ``plan`` shows the plan that
is open, or the one that would be made now: the controller's own functions on what the API says, so the same hash.
Exit code 0: done; 1: refused, or no plan can be made of what was given.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from drover.cli.session import PROGRAM, Session, examples, say, say_table

if TYPE_CHECKING:
    from drover.cli.connect import Api
    from drover.cli.rebalance_world import Picture, Shown


@click.group(epilog=examples("rebalance on", "rebalance plan", "rebalance status"))
def rebalance() -> None:
    """Move VMs off overloaded nodes, and from where a placement rule is broken."""


@rebalance.command(epilog=examples("rebalance on", "rebalance on --approve"))
@click.option("--approve/--automatic", default=None, help="Whether plans wait for a person's yes.")
@click.option("--settle", type=click.IntRange(1, 86_400), default=None, metavar="SECONDS",
              help="How long trouble must have stood before anything moves.")  # fmt: skip
@click.pass_obj
def on(session: Session, approve: bool | None, settle: int | None) -> int:
    """Switch the rebalancer on (ModuleConfig descheduler).

    What is not said here stays as it was set before.
    """
    from drover.cli.connect import with_api

    settings: dict[str, object] = {}
    if approve is not None:
        settings["mode"] = "Approve" if approve else "Automatic"
    if settle is not None:
        settings["settlingTime"] = settle
    return with_api(session, lambda api: _switch(api, True, settings))


@rebalance.command(epilog=examples("rebalance off"))
@click.pass_obj
def off(session: Session) -> int:
    """Switch the rebalancer off. Moves that go on end by themselves."""
    from drover.cli.connect import with_api

    return with_api(session, lambda api: _switch(api, False, {}))


async def _switch(api: Api, enabled: bool, settings: dict[str, object]) -> int:
    from drover.api import names, scheme
    from drover.api.status import NotFound

    spec: dict[str, object] = {"enabled": enabled}
    if settings:
        spec["settings"] = {"rebalance": settings}
    try:
        await api.client.patch(scheme.MODULECONFIG, names.REBALANCE_MODULE, "", {"spec": spec})
    except NotFound:
        made = {"metadata": {"name": names.REBALANCE_MODULE}, "spec": spec}
        await api.client.create(scheme.MODULECONFIG, made)
    say(f"Rebalancing is {'on' if enabled else 'off'}.")
    if enabled:
        say(f"`{PROGRAM} rebalance plan` shows what it would do, `rebalance status` how it goes.")
    return 0


@rebalance.command(epilog=examples("rebalance status", "rebalance status -o json"))
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text")
@click.pass_obj
def status(session: Session, output: str) -> int:
    """Show whether the cluster is balanced, and how the open plan goes."""
    from drover.cli.connect import with_api
    from drover.cli.rebalance_world import look

    told = _status(with_api(session, look))
    if output == "json":
        click.echo(json.dumps(told, indent=2))
        return 0
    say(f"Rebalancing is {'on' if told['enabled'] else 'off'}.", bold=True)
    for problem in told["problems"]:  # type: ignore[attr-defined]
        say(f"not valid: {problem}")
    say(f"{told['reason']}: {told['message']}" if told["reason"] else "Nothing was told yet.")
    for line in told["moves"]:  # type: ignore[attr-defined]
        say(f"  {line}")
    return 0


def _status(picture: Picture) -> dict[str, object]:
    from drover.api import conditions
    from drover.api.kinds import rebalance as kinds
    from drover.api.meta import name_of

    policy, plan = picture.policy, picture.open_plan
    found = picture.descheduler or {}
    balanced = conditions.get_condition(found, kinds.DeschedulerCondition.BALANCED) or {}
    moves = []
    for number, move in enumerate(kinds.moves(plan) if plan is not None else []):
        steps = kinds.steps(plan or {})
        state = str(steps[number]["state"]) if number < len(steps) else "Waiting"
        moves.append(f"{state:<8} {move['virtualMachine']} {move['source']} -> {move['target']}")
    return {
        "enabled": policy.enabled,
        "mode": str(policy.mode),
        "problems": [str(problem) for problem in policy.problems],
        "balanced": balanced.get("status", "Unknown"),
        "reason": balanced.get("reason", ""),
        "message": balanced.get("message", ""),
        "plan": name_of(plan) if plan is not None else "",
        "moves": moves,
    }


@rebalance.command(
    "plan",
    epilog=examples("rebalance plan", "rebalance plan --html plan.html", "rebalance plan -o json"),
)
@click.option("--html", "page", metavar="FILE", default="", help="Write it as one page, too.")
@click.option("-o", "--output", type=click.Choice(["table", "json"]), default="table")
@click.pass_obj
def show_plan(session: Session, page: str, output: str) -> int:
    """Show the plan that is open, or the one that would be made now. Nothing moves by it."""
    from drover.cli.connect import with_api
    from drover.cli.rebalance_world import look, shown

    picture = with_api(session, look)
    found = shown(picture)
    code = _show(found, page, output)
    if output == "table" and not picture.policy.enabled:
        say(f"Rebalancing is off: `{PROGRAM} rebalance on` carries this out.")
    return code


@click.command(epilog=examples("snapshot cluster.json", "snapshot > cluster.json"))
@click.argument("file", default="-")
@click.pass_obj
def snapshot(session: Session, file: str) -> int:
    """Write all that a plan depends on as JSON to FILE, else to standard output: nodes, Pods, VMs and their rules, no
    user data."""
    from drover.cli.connect import with_api
    from drover.cli.rebalance_world import look, write

    text = write(with_api(session, look))
    if file == "-":
        click.echo(text)
        return 0
    _store(file, text + "\n")
    say(f"{file} is written; `{PROGRAM} plan {file}` shows what would move.")
    return 0


def _store(file: str, text: str) -> None:
    try:
        Path(file).write_text(text, encoding="utf-8")
    except OSError as error:
        raise click.ClickException(f"{file} cannot be written: {error.strerror}") from error


@click.command(
    epilog="\b\nExamples:\n"
    f"  {PROGRAM} plan cluster.json\n"
    f"  {PROGRAM} plan --balance 20 < cluster.json\n"
    f"  kubectl get nodes,pods,namespaces -A -o json | {PROGRAM} plan --html plan.html"
)
@click.argument("file", default="-")
@click.option("--html", "page", metavar="FILE", default="", help="Write it as one page, too.")
@click.option("-o", "--output", type=click.Choice(["table", "json"]), default="table")
@click.option("--balance", type=click.IntRange(0, 2000), default=0, metavar="N",
              help="Up to N more moves that only make the nodes alike. The rebalancer makes none.")  # fmt: skip
def plan(file: str, page: str, output: str, balance: int) -> int:
    """Show the plan for a snapshot of any cluster, read from FILE, else from standard input; no cluster is asked."""
    from drover.base.clock import RealClock
    from drover.cli.rebalance_world import MOST_BYTES, load, plan_of

    if file == "-" and sys.stdin.isatty():
        raise click.UsageError(
            f"name a snapshot: {PROGRAM} plan FILE; `{PROGRAM} snapshot` writes one"
        )
    try:
        with click.open_file(file, "rb") as source:
            text = source.read(MOST_BYTES + 1).decode()
    except OSError as error:
        raise click.ClickException(f"{file} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise click.ClickException("this is no snapshot of a cluster: it is no text") from error
    if len(text) > MOST_BYTES:
        raise click.ClickException(f"a snapshot has at most {MOST_BYTES >> 20} MiB")
    picture = load(text, RealClock().wall())
    found = plan_of(picture, balance)
    return _show(found, page, output)


def _show(found: Shown, page: str, output: str) -> int:
    from drover.cli import rebalance_show as words

    if page:
        _store(page, words.page(found))
    if output == "json":
        told = {"name": found.name, "phase": found.phase, **found.spec}
        click.echo(json.dumps(told, indent=2))
        return 0
    say_table(words.table(found))
    if page:
        say(f"{page} has it as a page")
    return 0
