"""``drover agent``: on a host that is to run VMs."""

from __future__ import annotations

import asyncio
import datetime
import socket
import sys
import urllib.parse
from pathlib import Path

import click

from drover.agent import service
from drover.agent.config import AgentConfig
from drover.agent.join import CONFIG_FILE, JoinError, Wanted, join
from drover.base import config_file
from drover.base.clock import RealClock
from drover.cli.session import PROGRAM, say

DIRECTORY = "/etc/drover"
_directory = click.option(
    "--directory",
    default=DIRECTORY,
    show_default=True,
    metavar="DIR",
    help="Of configuration and keys.",
)


@click.group(epilog=f"Example: {PROGRAM} agent join --help")
def agent() -> None:
    """This host as a node of the cluster."""


@agent.command(
    "join",
    short_help="Get this host its certificates and configuration.",
    epilog="Example: drover agent join https://10.0.0.1:6443 --token a1b2c3.0123456789abcdef "
    "--ca-hash sha256:... --disks-dir /srv/disks",
)
@click.argument("server")
@click.option("--token", required=True, help="As `drover token create` shows it; for one host.")
@click.option("--ca-hash", required=True, help="Of the cluster's authority; shown with the token.")
@click.option("--name", default="", help="Of the node; else the host's name.")
@click.option("--address", default="", help="Of this host, for other nodes and the API server.")
@click.option("--disks-dir", required=True, help="The directory of disks that all nodes share.")
@click.option(
    "--state-dir",
    default="/var/lib/drover",
    show_default=True,
    help="Of what survives a crash: journal, logs of guests.",
)
@_directory
def join_command(server: str, disks_dir: str, directory: str, **said: str) -> int:
    """Get this host its certificates and its configuration from the cluster at SERVER."""
    wanted = Wanted(
        server,
        said["token"],
        said["ca_hash"],
        said["name"] or socket.gethostname().lower(),
        said["address"] or own_address(server),
        disks_dir,
        Path(directory),
        said["state_dir"],
    )
    if not Path(disks_dir).is_dir():
        raise click.ClickException(f"{disks_dir} is no directory: mount the shared disks there")
    try:
        asyncio.run(join(wanted, RealClock(), say))
    except (JoinError, OSError) as error:
        raise click.ClickException(str(error)) from error
    say(f"Next: `drover agent unit --directory {directory}` gives the systemd unit of its agent.")
    return 0


@agent.command(epilog=f"Example: {PROGRAM} agent unit > /etc/systemd/system/drover-agent.service")
@_directory
def unit(directory: str) -> None:
    """Print the systemd unit that runs this host's agent."""
    file, config = _configuration(directory)
    click.echo(service.unit(file, config, sys.executable), nl=False)


@agent.command("check", epilog=f"Example: {PROGRAM} agent check --directory /etc/drover")
@_directory
def check_command(directory: str) -> None:
    """Check the configuration and the files that it names."""
    file, config = _configuration(directory)
    faults = service.faults(config, datetime.datetime.now(datetime.UTC))
    for fault in faults:
        say(f"{file}: {fault}")
    if faults:
        raise click.ClickException(f"{len(faults)} faults in {file}")
    for notice in service.notices(config):
        say(f"note: {notice}")
    say(f"{file}: node {config.node} of {config.api_server}, nothing is wrong with it")


def _configuration(directory: str) -> tuple[Path, AgentConfig]:
    """Raises BadConfig."""
    file = Path(directory) / CONFIG_FILE
    return file, config_file.load(file, AgentConfig)


def own_address(server: str) -> str:
    """The address by which this host reaches the server. Sends nothing."""
    host = urllib.parse.urlsplit(server)
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.connect((host.hostname or "", host.port or 443))
            return str(probe.getsockname()[0])
    except (OSError, ValueError) as error:
        raise click.ClickException(
            f"there is no way from this host to {server}: {error}; name its own --address"
        ) from error
