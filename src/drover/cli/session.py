"""What every command is handed: which home, how to speak. Cheap to make; imports nothing heavy."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import click

if TYPE_CHECKING:
    from drover.lab.home import Home
    from drover.lab.lab import Lab, PartStatus

# How users call us; the start script says so.
PROGRAM = os.environ.get("DROVER_PROGRAM") or "./drover"
DEFAULT_HOME = "~/.drover"
SERVER_FILE = Path("/etc/drover/server.toml")


@dataclass(frozen=True)
class Session:
    """The object of the click context: ``@click.pass_obj`` hands it to commands."""

    home_path: str
    debug: bool
    given_kubeconfig: str = ""  # of another cluster than the lab

    @property
    def home(self) -> Home:
        """Where the kubeconfig is. On a server without a lab, when none was named, the directory of its state."""
        from drover.lab.home import Home

        home = Home.at(self.home_path)
        if self.home_path == DEFAULT_HOME and not home.path.exists() and SERVER_FILE.exists():
            from drover.base.config_file import load
            from drover.server.config import ServerConfig

            return Home.at(load(SERVER_FILE, ServerConfig).state_dir)
        return home

    @property
    def elsewhere(self) -> bool:
        """Another cluster was named, or there is a kubeconfig and no lab, as on a server."""
        if self.given_kubeconfig:
            return True
        return self.home.kubeconfig.exists() and not self.home.settings_file.exists()

    def require_running(self) -> None:
        """Raises LabDown for a lab that does not run; what another cluster's kubeconfig leads to will be seen."""
        if not self.elsewhere:
            self.lab.require_running()

    def kubeconfig(self) -> Path:
        """The cluster's that was named, else the lab's, which has to run then. Raises LabDown."""
        if self.given_kubeconfig:
            return Path(self.given_kubeconfig).expanduser()
        self.require_running()
        return self.home.kubeconfig

    @property
    def lab(self) -> Lab:
        from drover.lab.lab import Lab

        return Lab(self.home)

    def parts(self) -> list[PartStatus]:
        """Of the lab; none of another cluster. Raises LabDown when there has never been a lab."""
        return [] if self.elsewhere else self.lab.status()


def colours() -> bool:
    """Only on a terminal, and not when NO_COLOR asks otherwise."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR")


def say(text: str = "", *, bold: bool = False) -> None:
    """One line for the user."""
    click.echo(click.style(text, bold=True) if bold and colours() else text)


def ask(question: str) -> bool:
    """Whether a person says yes. Raises click.Abort for Ctrl+C, ClickException when nobody can answer."""
    try:
        return click.confirm(question, default=False)
    except click.Abort as end:
        if isinstance(end.__context__, KeyboardInterrupt):
            raise
        click.echo(err=True)
        raise click.ClickException(
            "nobody is there to answer, so nothing was done; --yes goes on without asking"
        ) from None


def require_yes(question: str) -> None:
    """Raises click.Abort unless a person says yes, as ``ask`` does."""
    if not ask(question):
        raise click.Abort


def say_table(lines: Iterable[str]) -> None:
    """The first line is the head."""
    for number, line in enumerate(lines):
        say(line, bold=number == 0)


class World(Protocol):
    """What a command that lists things has seen."""

    def table(self) -> list[str]: ...

    def summary(self) -> list[str]: ...

    def as_json(self) -> dict[str, Any]: ...


def say_world(world: World, output: str) -> None:
    """The whole of it: ``output`` is table or json."""
    if output == "json":
        import json

        click.echo(json.dumps(world.as_json(), indent=2))
        return
    say_table(world.table())
    say()
    for line in world.summary():
        say(line)


def spoken(text: str) -> str:
    """With commands as users call them here."""
    return text.replace("`drover ", f"`{PROGRAM} ")


def examples(*lines: str) -> str:
    """An epilog that click does not wrap."""
    return "\b\nExamples:\n" + "\n".join(f"  {PROGRAM} {line}" for line in lines)


def builtin_image() -> Path | None:
    """The built-in guest image that the start script has built; None when there is none."""
    directory = os.environ.get("DROVER_IMAGE")
    if not directory:
        return None
    file = Path(directory) / "drover-linux.qcow2"
    return file if file.exists() else None
