"""``drover start | stop | restart | evict | migrate VM``: makes the operation and follows it.

Without ``--wait`` a command returns when the operation is under way, with it when the operation has ended. Exit code 0
only when what was asked for has happened: a Failed operation, a refusal or a time-out is 1. Ctrl+C stops watching, not
the operation; deleting the vmop aborts a migration.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import click

from drover.cli.session import PROGRAM, Session, ask, examples, say

CONFIRM_ENV = "D8_VIRTUALIZATION_LIFECYCLE_CONFIRM"
_GOING = {
    "start": "starting",
    "stop": "stopping",
    "restart": "restarting",
    "evict": "evicting",
    "migrate": "migrating",
}
_GONE = {
    "start": "started",
    "stop": "stopped",
    "restart": "restarted",
    "evict": "evicted",
    "migrate": "migrated",
}


@dataclass(frozen=True)
class Wish:
    """One command line."""

    verb: str
    names: tuple[str, ...]
    everything: bool
    selector: str
    namespace: str
    force: bool | None
    wait: bool
    create_only: bool
    timeout_s: float
    yes: bool
    target_node: str = ""


def _options(command: Callable[..., Any]) -> Callable[..., Any]:
    for option in reversed(
        (
            click.argument("names", nargs=-1, metavar="[VM|VM.NAMESPACE]..."),
            click.option("-n", "--namespace", default="default", show_default=True),
            click.option("--all", "everything", is_flag=True, help="All VMs of the namespace."),
            click.option("-l", "--selector", "--label-selector", default="", metavar="K=V"),
            click.option("-y", "--yes", is_flag=True, envvar=CONFIRM_ENV, help="Do not ask."),
            click.option(
                "-f", "--force/--no-force", "force", default=None, help="Do not wait for the guest."
            ),
            click.option("-w", "--wait", is_flag=True, help="Wait until it is completed."),
            click.option(
                "-c", "--create-only", is_flag=True, help="Make the operation and return."
            ),
            click.option("-t", "--timeout", default="5m", show_default=True, metavar="TIME"),
        )
    ):
        command = option(command)
    return command


def _command(verb: str, about: str, *lines: str) -> click.Command:
    @click.command(verb, help=about, epilog=examples(*lines))
    @_options
    @click.pass_obj
    def run(session: Session, /, timeout: str, **given: Any) -> int:
        return _run(session, Wish(verb, timeout_s=seconds(timeout), **given))

    return run


start = _command("start", "Start a VM.", "start linux-vm", "start --all --wait")
stop = _command(
    "stop",
    "Stop a VM; --force does not wait for the guest.",
    "stop linux-vm --wait",
    "stop linux-vm --force",
)
restart = _command("restart", "Restart a VM.", "restart linux-vm --yes --wait")
evict = _command(
    "evict",
    "Move a VM to another node while it runs. The scheduler chooses the node. --force lets the guest be slowed down.",
    "evict linux-vm --yes --wait",
    "evict linux-vm.default -y -w --timeout 10m",
)


@click.command("migrate", epilog=examples("migrate linux-vm --target-node-name virtlab-pt-2 -y -w"))
@_options
@click.option(
    "--target-node-name",
    "target_node",
    default="",
    metavar="NODE",
    help="Where to; default: any node.",
)
@click.pass_obj
def migrate(session: Session, /, timeout: str, **given: Any) -> int:
    """Move a VM to a node of your choice while it runs."""
    return _run(session, Wish("migrate", timeout_s=seconds(timeout), **given))


def seconds(text: str) -> float:
    """``90``, ``90s``, ``5m``, ``1h``."""
    units = {"s": 1, "m": 60, "h": 3600}
    number, unit = (text[:-1], units[text[-1]]) if text[-1:] in units else (text, 1)
    try:
        return float(number) * unit
    except ValueError as error:
        raise click.BadParameter(f"{text!r} is no time; write for example 90s or 5m") from error


def _run(session: Session, wish: Wish) -> int:
    """Names, confirmation, then one operation per VM."""
    if wish.names and (wish.everything or wish.selector):
        raise click.UsageError("name VMs, or use --all, or -l; not several of them")
    if wish.everything and wish.selector:
        raise click.UsageError("--all and -l exclude each other")
    if not (wish.names or wish.everything or wish.selector):
        raise click.UsageError(f"which VM? For example: {PROGRAM} {wish.verb} linux-vm")
    from drover.api.status import ApiError
    from drover.cli.connect import with_api
    from drover.cli.operations import at_work, perform, resolve

    vms = with_api(session, lambda api: resolve(api, wish.names, wish.namespace, wish.selector))
    if not vms:
        meant = f"with label {wish.selector} " if wish.selector else ""
        raise click.ClickException(
            f"there is no virtual machine {meant}in namespace {wish.namespace}; "
            f"`{PROGRAM} k get vm -A --show-labels` lists all"
        )
    chosen = [vm for vm in vms if wish.yes or _confirmed(wish.verb, vm)]
    if not chosen:
        return 0  # declined
    several = len(chosen) > 1

    async def all_of_them(api: Any) -> int:
        results = []
        for namespace, name in chosen:
            try:
                results.append(
                    await perform(api, wish, namespace, name, several or wish.create_only)
                )
            except ApiError as refused:  # the others get their operation all the same
                way = await at_work(api, namespace, name)
                click.echo(f'Error: VirtualMachine "{namespace}/{name}": {refused}{way}', err=True)
                results.append(1)
        return max(results)

    try:
        return with_api(session, all_of_them)
    except (KeyboardInterrupt, asyncio.CancelledError):
        say()
        say(
            f"Stopped watching; the operation goes on. `{PROGRAM} k get vmop` shows it, deleting it aborts a migration."
        )
        raise click.Abort from None


def _confirmed(verb: str, vm: tuple[str, str]) -> bool:
    question = (
        f'Are you sure you want to execute command "{verb}" for virtual machine "{vm[0]}/{vm[1]}"?'
    )
    return ask(question)


def words(verb: str, done: bool) -> str:
    return _GONE[verb] if done else _GOING[verb]
