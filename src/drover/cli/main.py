"""The entrance: global options, the list of commands, and how errors look.

Commands live in modules that are imported only when called, so ``--help`` is quick; the table below holds their
one-line helps for the same reason. A command whose module is absent is not listed. Exit codes: 0 done, 1 refused or
failed, 2 wrong usage, 70 a bug of ours, 130 interrupted.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
import traceback
from typing import Any, NamedTuple

import click

from drover.cli.session import DEFAULT_HOME, PROGRAM, Session


class Entry(NamedTuple):
    """Where a command lives."""

    module: str
    attribute: str
    help: str


COMMANDS = {
    "up": Entry("lab_commands", "up", "Start the lab: control plane and nodes."),
    "status": Entry("status", "command", "Show what runs, what goes on, and what needs attention."),
    "top": Entry("top", "command", "CPU and memory that nodes and VMs take, live."),
    "down": Entry("lab_commands", "down", "Stop the lab; disks and objects stay."),
    "reset": Entry("lab_commands", "reset", "Stop the lab and remove its disks and objects."),
    "lab": Entry("lab_commands", "lab", "Break and mend nodes: power, cable, agent."),
    "k": Entry("k", "command", "kubectl on the lab."),
    "start": Entry("lifecycle", "start", "Start a VM."),
    "stop": Entry("lifecycle", "stop", "Stop a VM."),
    "restart": Entry("lifecycle", "restart", "Restart a VM."),
    "evict": Entry("lifecycle", "evict", "Move a VM to another node while it runs."),
    "migrate": Entry("lifecycle", "migrate", "Move a VM to a node of your choice while it runs."),
    "drain": Entry("drain", "drain", "Free a node for maintenance: its VMs move away."),
    "uncordon": Entry("drain", "uncordon", "End the maintenance of a node."),
    "firmware": Entry("firmware", "firmware", "List QEMU versions, and bring running VMs to one."),
    "why": Entry("why", "command", "Tell why a VM, a node or an operation is as it is."),
    "whatif": Entry("whatif", "command", "Tell what a lost, drained or new node would mean."),
    "fence": Entry("fence", "fence", "Lost nodes: what is known, confirm one, pause fencing."),
    "rebalance": Entry("rebalance", "rebalance", "Move VMs off overloaded nodes and broken rules."),
    "plan": Entry("rebalance", "plan", "Show the plan for a snapshot of any cluster."),
    "snapshot": Entry("rebalance", "snapshot", "Write a snapshot of the cluster for plans."),
    "console": Entry("console", "command", "Serial console of a VM."),
    "vnc": Entry("vnc", "command", "The screen of a VM, for a VNC viewer."),
    "port-forward": Entry("port_forward", "command", "Ports of a VM as ports of this machine."),
    "ssh": Entry("ssh", "command", "Log in to a VM by SSH."),
    "web": Entry("web", "command", "Serve the web page, with your own rights."),
    "demo": Entry("demo", "command", "Play the stories on real guests."),
    "token": Entry("tokens", "token", "Tokens with which hosts join the cluster."),
    "server": Entry("server_commands", "server", "Make this machine a server: init, join, status."),
    "backup": Entry("backup", "backup", "Write a backup of all objects to a file."),
    "restore": Entry("backup", "restore", "Go back to a backup; no VM runs twice by it."),
    "agent": Entry("agent_commands", "agent", "Make this host a node: join, and its service."),
    "timing": Entry("timing", "command", "Show the times of fencing and their sums."),
    "doctor": Entry("doctor", "command", "Check what this machine offers."),
    "sim": Entry("sim", "command", "Run a whole cluster on virtual time, from a seed."),
    "report": Entry("report", "command", "What happened since a time; also as one page of HTML."),
    "collect": Entry("collect", "command", "Write a support bundle, without secrets."),
    "completion": Entry("completion", "command", "Make a shell complete commands and options."),
    "man": Entry("man", "command", "Write manual pages."),
    "version": Entry("lab_commands", "version", "Show versions."),
}


class LazyGroup(click.Group):
    """A group whose commands are imported when called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [name for name, entry in COMMANDS.items() if _there(entry)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        entry = COMMANDS.get(cmd_name)
        if entry is None or not _there(entry):
            return None
        module = importlib.import_module(f"drover.cli.{entry.module}")
        command = getattr(module, entry.attribute)
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        rows = [(name, COMMANDS[name].help) for name in self.list_commands(ctx)]
        with formatter.section("Commands"):
            formatter.write_dl(rows)


def _there(entry: Entry) -> bool:
    return importlib.util.find_spec(f"drover.cli.{entry.module}") is not None


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog=f"Begin with `{PROGRAM} up`, then `{PROGRAM} k get nodes`. "
    f"`{PROGRAM} COMMAND --help` shows examples; `{PROGRAM} uninstall` takes all away that was installed.",
)
@click.option(
    "--home",
    metavar="DIR",
    envvar="DROVER_HOME",
    default=DEFAULT_HOME,
    show_default=True,
    help="Directory of the lab ($DROVER_HOME).",
)
@click.option(
    "--kubeconfig",
    metavar="FILE",
    envvar="DROVER_KUBECONFIG",
    default="",
    help="Another cluster than the lab, before the command ($DROVER_KUBECONFIG).",
)
@click.option("--debug", is_flag=True, help="Show tracebacks of errors.")
@click.pass_context
def cli(ctx: click.Context, home: str, kubeconfig: str, debug: bool) -> None:
    """drover keeps virtual machines running while the hosts under them are loaded, serviced and
    lost."""
    ctx.obj = Session(home or DEFAULT_HOME, debug, kubeconfig)


def main(argv: list[str] | None = None) -> int:
    """Run one command; the boundary where every error becomes words and an exit code."""
    arguments = hoisted(sys.argv[1:] if argv is None else argv)
    try:
        result: Any = cli.main(
            arguments, prog_name=PROGRAM, standalone_mode=False, complete_var="_DROVER_COMPLETE"
        )
        return result if isinstance(result, int) else 0
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted", err=True)
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:
        return _explain(error, "--debug" in arguments)


def hoisted(arguments: list[str]) -> list[str]:
    """Global options are understood after the command too: ``up --home DIR``. What follows k or -- is not ours."""
    front, rest = [], []
    left = list(arguments)
    while left:
        word = left.pop(0)
        if word == "--debug" or word.startswith("--home="):
            front.append(word)
        elif word == "--home" and left:
            front += [word, left.pop(0)]
        else:
            rest.append(word)
            if word in ("k", "--"):
                break
    return [*front, *rest, *left]


def _explain(error: Exception, debug: bool) -> int:
    if debug:
        traceback.print_exception(error)
    if _operating(error):
        click.echo(f"Error: {error}", err=True)
        return 1
    if not debug:
        click.echo(
            f"Error: {type(error).__name__}: {error}\nThis is a bug of drover; `{PROGRAM} --debug "
            f"...` shows where.",
            err=True,
        )
    return 70


def _operating(error: Exception) -> bool:
    """Whether the error tells of the world and not of our code. Imported late: only errors pay."""
    from drover.api.status import ApiError, Unanswered
    from drover.base.config_file import BadConfig
    from drover.runtime.kubeconfig import BadKubeconfig
    from drover.server.errors import ControlPlaneError

    return isinstance(error, ControlPlaneError | ApiError | Unanswered | BadKubeconfig | BadConfig)


if __name__ == "__main__":
    sys.exit(main())
