"""``drover demo``: a lab, guests, a live migration, an aborted one, a drain, a firmware upgrade, a full host, two lost
ones, by the commands a user would type.

Each line after ``$`` is run as it stands. The lab is started if need be and runs on afterwards. A second run finds the
VMs of the first and moves them again. A step that fails ends the command with its reason and exit code 1.
"""

from __future__ import annotations

import asyncio
import os
import shlex
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from drover.cli.demo_stage import DemoFailed, Stage
from drover.cli.session import PROGRAM, Session, examples, say

if TYPE_CHECKING:
    from drover.cli.demo_moves import Figures, Moves

BOOT_LIMIT_S = 240.0
STORIES = ("move", "drain", "firmware", "balance", "loss")
_NEXT = (
    ("k get vmop,vmm -o wide", "the moves, as objects"),
    ("console linux-vm", "its serial console; Ctrl+] leaves"),
    ("evict busy-vm --force --yes --wait", "--force slows the guest down until it can be moved"),
    ("drain virtlab-pt-1", "maintenance with a live view; `uncordon` ends it"),
    ("lab power-off virtlab-pt-3", "break a node; `lab power-on` mends it"),
    ("fence list", "who is lost, and why nothing is done"),
    ("down", "stop the lab; `up` brings it back with its VMs, `reset` removes it"),
)


@click.command(epilog=examples("demo", "demo move", "--home /tmp/try demo drain loss"))
@click.argument("stories", nargs=-1, type=click.Choice(STORIES), metavar="[STORY]...")
@click.pass_obj
def command(session: Session, stories: tuple[str, ...]) -> None:
    """Play the stories on real guests: all of them, or those named.

    \b
    move       a VM moves while it is pinged; a move of another is aborted
    drain      a host is emptied for its maintenance, with three more VMs on it
    firmware   the QEMU of all VMs is upgraded
    balance    a host that is full is relieved
    loss       hosts are taken away from under a VM

    Starts the lab and two VMs if need be.
    """
    try:
        asyncio.run(_play(session, stories or STORIES))
    except KeyboardInterrupt:
        say()
        say(f"The lab runs on as it is; `{PROGRAM} down` stops it.")
        raise


async def _play(session: Session, stories: Sequence[str]) -> None:
    from drover.base.clock import RealClock
    from drover.cli.connect import connected
    from drover.cli.demo_drain import Maintenance
    from drover.cli.demo_firmware import Upgrade
    from drover.cli.demo_loss import Losses
    from drover.cli.demo_moves import Figures, Moves
    from drover.cli.demo_rebalance import Balance

    async with Stage.open(RealClock()) as stage:
        began_s = stage.clock.monotonic()
        await _start_lab(session, stage)
        async with connected(session) as api:
            moves = Moves(stage, api)
            await _boot(stage, moves)
            figures = Figures()
            if "move" in stories:
                await moves.evict("linux-vm", figures)
                await moves.abort("busy-vm", figures)
            if "drain" in stories:
                figures.drain_s = await Maintenance(stage, api, avoid="busy-vm").play()
            if "firmware" in stories:
                figures.firmware_s = await Upgrade(stage, api, busy="busy-vm").play("linux-vm")
            if "balance" in stories:
                figures.balance_s = await Balance(stage, api, avoid="busy-vm").play()
            if "loss" in stories:
                figures.losses_s = await Losses(stage, api, moves).play("linux-vm")
        _sum_up(stage, figures, stage.clock.monotonic() - began_s)


async def _start_lab(session: Session, stage: Stage) -> None:
    stage.title("A lab: a Kubernetes control plane and three hosts, each in namespaces of its own")
    os.environ["DROVER_HOME"] = str(session.home.path)
    if session.home_path not in ("", "~/.drover"):
        stage.announce(f"export DROVER_HOME={shlex.quote(str(session.home.path))}")
    async with stage.step("the lab is up"):
        await stage.run(f"{PROGRAM} up")
        nodes = await stage.run(f"{PROGRAM} k get nodes")
        if nodes.count(" Ready ") < 2:
            raise DemoFailed(
                f"a move needs two nodes that are Ready; `{PROGRAM} up --nodes 3` in a new home makes three"
            )


async def _boot(stage: Stage, moves: Moves) -> None:
    from drover.cli import demo_ping

    stage.title(
        "Two virtual machines: linux-vm, and busy-vm, which writes to its memory all the time"
    )
    async with stage.step("both VMs run"):
        await moves.clear_leftovers(("linux-vm", "busy-vm"))
        await stage.run(f"{PROGRAM} k apply -f examples/linux-vm.yaml -f examples/busy-vm.yaml")
        running = "--for=jsonpath='{.status.phase}'=Running"
        await stage.run(
            f"{PROGRAM} k wait vm/linux-vm vm/busy-vm {running} --timeout={BOOT_LIMIT_S:.0f}s"
        )
    async with stage.step("both guests answer"):
        for name in ("linux-vm", "busy-vm"):
            address = await moves.address(name)
            stage.announce(demo_ping.once(address))
            await moves.wait_answer(name, address, BOOT_LIMIT_S)


def _sum_up(stage: Stage, figures: Figures, took_s: float) -> None:
    stage.title("What happened")
    for step in stage.steps:
        say(f"  OK  {step.name:<52} {step.took_s:6.1f} s")
    say()
    for name, value in figures.rows():
        say(f"  {name:<56} {value}")
    say(f"  {'the whole demo':<56} {took_s:.1f} s")
    say()
    say("The lab is left running. What to try next:", bold=True)
    for line, why in _NEXT:
        say(f"  {PROGRAM} {line:<38} # {why}")
