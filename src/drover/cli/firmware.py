"""``drover firmware list`` and ``drover firmware set VERSION``: which QEMU guests run on, and bringing them to another.

``set`` checks, writes ModuleConfig ``virtualization`` and leaves the rest to the firmware controller, which moves the
VMs while they run. So ``--wait`` may be interrupted: the rollout goes on. Exit code 0: set (with ``--wait``: no VM is
outdated any more); 1: refused, stopped by failures, or not done in time.
"""

from __future__ import annotations

import click

from drover.cli.lifecycle import seconds
from drover.cli.session import PROGRAM, Session, colours, examples, say, say_world

NONE = "none"


@click.group(epilog=examples("firmware list", "firmware set 10.0 --wait"))
def firmware() -> None:
    """List firmware versions, and bring running VMs to one."""


@firmware.command("list", epilog=examples("firmware list", "firmware list -o json"))
@click.option("-o", "--output", type=click.Choice(["table", "json"]), default="table")
@click.pass_obj
def list_versions(session: Session, output: str) -> int:
    """Show which node offers which version, and what VMs run on."""
    from drover.cli import accel
    from drover.cli.connect import with_api
    from drover.cli.firmware_world import look

    world = with_api(session, look)
    say_world(world, output)
    if output == "table" and len(world.versions) < 2 and (why := accel.why_no_more()):
        say(f"There is no second version to upgrade to: {why}. `{PROGRAM} doctor` has more.")
    return 0


@firmware.command(
    "set", epilog=examples("firmware set 10.0.2 --wait", "firmware set 10.0", "firmware set none")
)
@click.argument("version")
@click.option("-w", "--wait", is_flag=True, help="Until no VM is outdated; shows progress.")
@click.option("-t", "--timeout", default="30m", metavar="TIME", help="For --wait: 90s, 5m...")
@click.pass_obj
def set_version(session: Session, version: str, wait: bool, timeout: str) -> int:
    """Bring all running VMs to VERSION, and start new ones on it.

    VERSION is one of `firmware list`, or its beginning (10.0), or "none": then nobody is moved any more and VMs start
    on what their node has. Setting the same version again makes a rollout go on that has stopped after failures.
    """
    from drover.cli.connect import with_api
    from drover.cli.firmware_set import perform

    wanted = "" if version == NONE else version
    try:
        return with_api(session, lambda api: perform(api, wanted, wait, seconds(timeout)))
    except KeyboardInterrupt:
        say()
        say(
            f"The rollout goes on; `{PROGRAM} firmware list` shows it, `firmware set none` ends it."
        )
        raise


def bar(done: int, total: int, width: int = 24) -> str:
    filled = width if total == 0 else done * width // total
    full, empty = ("█", "░") if colours() else ("#", ".")
    return full * filled + empty * (width - filled)
