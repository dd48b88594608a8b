"""``up``, ``down``, ``reset``, ``lab ...``, ``version``: the lab's own commands."""

from __future__ import annotations

import os
import time
from typing import Any

import click

from drover.cli.session import PROGRAM, Session, builtin_image, examples, require_yes, say
from drover.cli.timing import PROFILES

PAGE_LIMIT_S = 3.0
ARMED_LIMIT_S = 60.0


class Progress:
    """Prints a line per event, with the seconds since the start."""

    def __init__(self) -> None:
        self._since_s = time.monotonic()

    def __call__(self, what: str, state: str) -> None:
        say(f"{self.elapsed_s:6.1f} s  {what:<20} {state}")

    @property
    def elapsed_s(self) -> float:
        return time.monotonic() - self._since_s


@click.command(
    epilog=examples("up", "up --nodes 5", "up --fencing-profile fast", "--home /tmp/second up")
)
@click.option("--nodes", type=int, default=None, help="How many nodes; 3 when the lab is new.")
@click.option("--fencing-profile", type=click.Choice(PROFILES), default=None,
              help="Switch fencing on: VMs of a lost node start elsewhere.")  # fmt: skip
@click.pass_obj
def up(session: Session, nodes: int | None, fencing_profile: str | None) -> int:
    """Start the lab: control plane and nodes.

    Can be repeated: what runs is left alone, what is missing is started, powered-off nodes too.
    """
    from drover.cli.accel import QEMU, accelerator, more_qemus
    from drover.lab.home import cache_dir
    from drover.lab.lab import UpOptions
    from drover.server.parts import find_engine

    progress = Progress()
    image = builtin_image()
    engine = find_engine(os.environ)
    accel = os.environ.get("DROVER_ACCEL") or accelerator(
        cache_dir(), os.environ.get("DROVER_IMAGE")
    )
    progress("guests run on", accel.upper())
    session.lab.up(UpOptions(engine, nodes, image, accel, QEMU, more_qemus()), progress)
    say()
    say(f"The lab is ready, after {progress.elapsed_s:.1f} s.", bold=True)
    code = _fence(session, fencing_profile) if fencing_profile else 0
    if image is None:
        say("There is no built-in image (DROVER_IMAGE is not set): bring your own.")
    say(f"\n  export KUBECONFIG={session.home.kubeconfig}\n")
    if page := _page(session):
        say(f"  page: {page}   (`{PROGRAM} web` prints a link that logs you in)\n")
    say("Next:")
    say(f"  {PROGRAM} k get nodes")
    say(f"  {PROGRAM} k apply -f examples/linux-vm.yaml")
    say(f"  {PROGRAM} k get vm -w")
    say(f"  {PROGRAM} web            # a page that shows all of it live")
    return code


def _fence(session: Session, profile: str) -> int:
    from drover.cli.connect import with_api
    from drover.cli.fence_on import switch_on
    from drover.server.bootstrap import NODE_GROUP

    return with_api(session, lambda api: switch_on(api, NODE_GROUP, profile, ARMED_LIMIT_S))


def _page(session: Session) -> str:
    """Where it is; nothing when it is not there yet after a moment."""
    from drover.web import door

    limit_s = time.monotonic() + PAGE_LIMIT_S
    while not (page := door.ask(session.home.lab_id, door.ADDRESS)):
        if time.monotonic() > limit_s:
            return ""
        time.sleep(0.1)
    return page


@click.command(epilog=examples("down"))
@click.pass_obj
def down(session: Session) -> None:
    """Stop the lab; disks and objects stay.

    Guests are switched off like a machine whose plug is pulled, after their disks are written. The
    next `up` starts them again by their runPolicy.
    """
    done = session.lab.down(Progress())
    say("The lab is down." if done else "The lab was not running.")


@click.command(epilog=examples("reset", "reset --yes"))
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@click.pass_obj
def reset(session: Session, yes: bool) -> None:
    """Stop the lab and remove its disks and objects."""
    home = session.home.path
    if not yes and home.exists():
        require_yes(f"Remove all VMs, disks and settings in {home}?")
    there = home.exists()
    session.lab.reset(Progress())
    say(f"{home} is removed." if there else f"There is no lab in {home}.")


@click.group(epilog=examples("lab power-off virtlab-pt-2", "lab power-on virtlab-pt-2"))
def lab() -> None:
    """Break and mend nodes: power, cable, agent; and the API."""


def _fault(name: str, function: str, what: str) -> None:
    """Add one subcommand; all of them take a node."""

    @lab.command(name, help=what, epilog=examples(f"lab {name} virtlab-pt-1"))
    @click.argument("node")
    @click.pass_obj
    def command(session: Session, node: str) -> None:
        from drover.lab import faults

        action: Any = getattr(faults, function)
        say(action(session.lab, node))


_fault("power-off", "power_off", "Kill everything on NODE at once, as a power failure does.")
_fault("power-on", "power_on", "Start NODE again; it comes up with nothing running.")
_fault(
    "isolate",
    "isolate",
    "Pull NODE's cable: no API, no migration, no guest network. Its guests run on and its disks "
    "stay writable.",
)
_fault("rejoin", "rejoin", "Plug NODE's cable in again.")
_fault("freeze", "freeze", "Stop NODE's agent in its tracks (SIGSTOP); its guests run on.")
_fault("thaw", "thaw", "Let NODE's agent go on (SIGCONT).")


def _outage(name: str, function: str, what: str) -> None:
    """Add one subcommand about the control plane."""

    @lab.command(name, help=what, epilog=examples(f"lab {name}"))
    @click.pass_obj
    def command(session: Session) -> None:
        from drover.lab import faults

        action: Any = getattr(faults, function)
        say(action(session.lab))


_outage("api-down", "api_down", "Let the API answer nobody, as when its host hangs.")
_outage("api-up", "api_up", "Let the API answer again.")


@click.command(epilog=examples("version"))
def version() -> None:
    """Show versions."""
    from drover.server.parts import engine_version

    say(f"drover      {_own_version()}")
    say(f"Kubernetes  {engine_version(os.environ)}")


def _own_version() -> str:
    import tomllib
    from pathlib import Path

    project = Path(__file__).resolve().parents[3] / "pyproject.toml"
    return str(tomllib.loads(project.read_text())["project"]["version"])
