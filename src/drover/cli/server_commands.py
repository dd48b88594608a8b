"""``drover server``: on a machine that is to run the control plane, alone or with others."""

from __future__ import annotations

import asyncio
import datetime
import os
import shutil
import socket
import sys
from pathlib import Path

import click

from drover.api import names, scheme
from drover.base import config_file
from drover.base.clock import RealClock
from drover.cli.agent_commands import DIRECTORY, own_address
from drover.cli.session import PROGRAM, examples, say, say_table
from drover.runtime.client import Client
from drover.runtime.kubeconfig import load
from drover.runtime.server_clock import clock_fault, server_time
from drover.server import backup as backups
from drover.server import config as configs
from drover.server import joining, service
from drover.server.bootstrap import until
from drover.server.config import CONFIG_FILE, ServerConfig
from drover.server.errors import ControlPlaneError
from drover.server.etcd import Etcd, Member
from drover.server.parts import API_PORT, find_engine
from drover.server.prepare import announce

STATE = "/var/lib/drover-server"
_WITHDRAW_S = 40.0
_ASK_S = 10.0  # for the servers that there are
_directory = click.option(
    "--directory", default=DIRECTORY, show_default=True, metavar="DIR", help="Of server.toml."
)
_name = click.option("--name", default="", help="Of this server; else the machine's name.")
_state = click.option(
    "--state-dir", default=STATE, show_default=True, metavar="DIR", help="Of data and keys."
)


@click.group(epilog=examples("server init --help", "server status"))
def server() -> None:
    """This machine as a server of the control plane."""


@server.command(
    epilog=examples(
        "server init --address 10.0.0.1 --disks-dir /srv/drover/disks --vm-cidr 10.66.0.0/24",
        "server init ... --backup /mnt/backup.tar    # the keys of a cluster that is lost",
    )
)
@click.option("--address", required=True, help="Of this machine, for hosts and other servers.")
@click.option("--disks-dir", required=True, help="The directory of disks that all hosts share.")
@click.option("--images-dir", default="", help="Of imported images; else `images` beside it.")
@click.option("--vm-cidr", required=True, help="The network of the VMs.")
@click.option("--vm-gateway", default="", help="Of the VMs; else the last address.")
@click.option("--vm-first", default="", help="First address for VMs; else the tenth.")
@click.option("--vm-last", default="", help="Last address for VMs; else that before the gateway.")
@click.option("--also", multiple=True, metavar="NAME", help="Another name of the API server.")
@click.option("--backup", default="", metavar="FILE", help="Take the keys of a lost cluster.")
@_name
@_state
@_directory
def init(directory: str, state_dir: str, also: tuple[str, ...], backup: str, **said: str) -> None:
    """Make this machine the first server of a new cluster."""
    disks = Path(said["disks_dir"])
    images = Path(said["images_dir"] or disks.parent / "images")
    if disks.is_dir() and not said["images_dir"]:
        images.mkdir(exist_ok=True)
    guests = configs.guest_addresses(
        said["vm_cidr"], said["vm_first"], said["vm_last"], said["vm_gateway"]
    )
    config = ServerConfig(
        name=said["name"] or _own_name(),
        address=said["address"],
        engine=str(find_engine(os.environ)),
        disks_dir=str(disks),
        images_dir=str(images),
        vm_cidr=said["vm_cidr"],
        vm_first=guests.first,
        vm_last=guests.last,
        vm_gateway=guests.gateway,
        state_dir=state_dir,
        more_names=list(also),
    )
    joining.require_new(Path(directory))
    if backup:
        backups.take_keys(Path(backup), config.plane.pki)
    joining.init(Path(directory), config, _now())
    say(f"{Path(directory) / CONFIG_FILE}: this machine is server {config.name} of a new cluster.")
    if backup:
        say(f"Next: `{PROGRAM} restore {backup}`, then start the unit.")
    _say_unit(directory)


@server.command(epilog=examples("server invite /root/invitation"))
@click.argument("file")
@_directory
def invite(file: str, directory: str) -> None:
    """Write an invitation for further servers to FILE. It holds the cluster's secrets."""
    config = _configuration(directory)
    joining.invite(config, Path(file), _etcd(config))
    say(
        f"{file} holds the cluster's secrets: copy it to the new server by a safe way, say scp, and there"
    )
    say()
    say(f"  {PROGRAM} server join {file} --address ITS-ADDRESS")
    say()
    say("Remove it when all servers have joined.")


@server.command(
    "join",
    short_help="Make this machine one more server.",
    epilog=examples("server join /root/invitation --address 10.0.0.2"),
)
@click.argument("file")
@click.option(
    "--address", default="", help="Of this machine; else the one that reaches the others."
)
@_name
@_state
@_directory
def join_command(file: str, address: str, name: str, state_dir: str, directory: str) -> None:
    """Make this machine one more server, by the invitation FILE of another."""
    joining.require_new(Path(directory))
    invitation = joining.read(Path(file))
    others = [f"https://{at}:{API_PORT}" for at in invitation.servers.values()]
    asyncio.run(_check_clock(others))
    config = joining.config_of(
        invitation, name or _own_name(), address or own_address(others[0]), state_dir
    )
    joining.join(Path(directory), invitation, config, _now(), say)
    say(f"{Path(directory) / CONFIG_FILE}: this machine is server {config.name} from now on.")
    _say_unit(directory)


@server.command(epilog=examples("server unit > /etc/systemd/system/drover-server.service"))
@_directory
def unit(directory: str) -> None:
    """Print the systemd unit of this server."""
    config = _configuration(directory)
    click.echo(service.unit(Path(directory) / CONFIG_FILE, config, sys.executable), nl=False)


@server.command(epilog=examples("server check"))
@_directory
def check(directory: str) -> None:
    """Check the configuration, what it names, and the room that etcd has."""
    config, file = _configuration(directory), Path(directory) / CONFIG_FILE
    faults = configs.faults(config)
    for fault in faults:
        say(f"{file}: {fault}")
    if faults:
        raise click.ClickException(f"{len(faults)} faults in {file}")
    say(f"{file}: server {config.name} at {config.address}, nothing is wrong with it")


@server.command("status", epilog=examples("server status"))
@_directory
def status_command(directory: str) -> int:
    """Show the servers of the cluster, as this one sees them. Exits with 1 when one does not serve."""
    config = _configuration(directory)
    members, full = _asked(config)
    times = asyncio.run(_times([f"https://{one.address}:{API_PORT}" for one in members]))
    rows = ["SERVER               ADDRESS          ETCD      API"]
    for one, time_s in zip(members, times, strict=True):
        kind = "new" if not one.name else "learner" if one.learner else "member"
        api = "answers" if time_s is not None else "silent"
        rows.append(f"{one.name or '-':<20} {one.address:<16} {kind:<9} {api}")
    say_table(rows)
    faults = configs.room_faults(Path(config.state_dir))
    if full:
        faults.append(f"etcd has reached its limit and takes no writes: `{PROGRAM} server compact`")
    for fault in faults:
        say(fault)
    return 0 if not full and all(time_s is not None for time_s in times) else 1


def _asked(config: ServerConfig) -> tuple[list[Member], bool]:
    """The members of etcd, and whether it is full. Raises ControlPlaneError."""
    if config.plane.left.exists():
        raise ControlPlaneError(config.plane.left.read_text())
    etcd = _etcd(config)
    try:
        return etcd.members(_ASK_S), etcd.full()
    except ControlPlaneError as error:
        room = configs.room_faults(Path(config.state_dir))
        raise ControlPlaneError(
            f"{error}. Does drover-server run here, and on more than half of the servers? Its log is in "
            f"{config.plane.logs}" + "".join(f". {one}" for one in room)
        ) from error


@server.command(short_help="Make room in a full etcd.", epilog=examples("server compact"))
@_directory
def compact(directory: str) -> None:
    """Let etcd let go of old versions and take writes again, when it has reached its limit. Say it on each server."""
    _etcd(_configuration(directory)).compact()
    say("etcd of this server holds the present alone, and takes writes.")


@server.command(
    short_help="Remove a server that is lost or stopped.", epilog=examples("server remove server-2")
)
@click.argument("name")
@_directory
def remove(name: str, directory: str) -> None:
    """Remove a server that is lost for good, or stopped; from another one."""
    config = _configuration(directory)
    etcd = _etcd(config)
    found = joining.leaving(etcd.seen().members, config, name)
    if found is not None:
        etcd.remove(found)
        name = found.name or name
    # Also after an attempt that broke off here.
    if not asyncio.run(_withdraw(config, name)) and found is None:
        raise click.ClickException(
            f"there is no server {name}; `{PROGRAM} server status` shows all"
        )
    say(f"{name} is no server any more. Hosts forget it within a minute or two.")


def _configuration(directory: str) -> ServerConfig:
    """Raises BadConfig, ControlPlaneError."""
    file = Path(directory) / CONFIG_FILE
    if not file.exists():
        raise ControlPlaneError(
            f"{file} is not there: this machine is no server; `drover server init` or `join` makes it one"
        )
    return config_file.load(file, ServerConfig)


def _etcd(config: ServerConfig) -> Etcd:
    return Etcd(Path(config.engine), config.plane)


def _own_name() -> str:
    return socket.gethostname().partition(".")[0].lower()


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)


def _say_unit(directory: str) -> None:
    where = "" if directory == DIRECTORY else f" --directory {directory}"
    if not shutil.which("systemctl"):
        say(
            f"Next: run `{sys.executable} -m drover.server.main --config {directory}/{CONFIG_FILE}`."
        )
        return
    say("Next:")
    say(f"  {PROGRAM} server unit{where} > /etc/systemd/system/drover-server.service")
    say("  systemctl daemon-reload && systemctl enable --now drover-server")


async def _withdraw(config: ServerConfig, name: str) -> bool:
    """Whether hosts were told of it until now. Where etcd's leader has just gone the API has no answer for some
    seconds. Raises ControlPlaneError."""
    clock, known = RealClock(), False
    transport = await load(config.plane.kubeconfig).transport(clock)
    client = Client(transport)

    async def withdrawn() -> bool:
        nonlocal known
        told = await client.get(scheme.CONFIGMAP, names.SERVERS, names.SYSTEM_NAMESPACE)
        if name in (told.get("data") or {}):
            known = True
            await announce(client, name, None)
        return True

    try:
        await until(clock, _WITHDRAW_S, f"hosts cannot be told that {name} is gone", withdrawn)
    finally:
        await transport.aclose()
    return known


async def _times(servers: list[str]) -> list[float | None]:
    return [await server_time(one) for one in servers]


async def _check_clock(servers: list[str]) -> None:
    """By that of the first that answers. Raises ControlPlaneError."""
    for one in servers:
        theirs_s = await server_time(one)
        if theirs_s is None:
            continue
        if fault := clock_fault(one, theirs_s, _now().timestamp()):
            raise ControlPlaneError(fault)
        return
    raise ControlPlaneError(
        f"none of the servers answers ({', '.join(servers)}): start one, and look at what is between"
    )
