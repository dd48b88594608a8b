"""``drover backup`` and ``drover restore``: of this machine's server, where it is one, else of the lab."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import click

from drover.api import names, scheme
from drover.api.kinds import node as nodes
from drover.api.meta import name_of
from drover.api.status import ApiError, Unanswered
from drover.base import config_file
from drover.base.clock import RealClock, rfc3339
from drover.cli.agent_commands import DIRECTORY
from drover.cli.connect import Api, with_api
from drover.cli.lab_commands import Progress
from drover.cli.session import PROGRAM, Session, examples, say
from drover.lab import backups as of_lab
from drover.lab.errors import LabDown
from drover.server import backup as backups
from drover.server.backup import About, Wanted
from drover.server.config import CONFIG_FILE, ServerConfig
from drover.server.errors import ControlPlaneError
from drover.server.etcd import Etcd
from drover.server.main import locked
from drover.server.one_cluster import serves
from drover.server.parts import find_engine

_API_S = 10.0
_directory = click.option(
    "--directory",
    default=DIRECTORY,
    show_default=True,
    metavar="DIR",
    help="Of server.toml; when there is none, the lab is meant.",
)


@click.command(epilog=examples("backup /mnt/drover-2026-11-29.tar"))
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@_directory
@click.pass_obj
def backup(session: Session, file: Path, directory: str) -> None:
    """Write a backup of all objects, and of the cluster's keys, to FILE.

    It is a snapshot of etcd, whole at one instant. The disks of VMs are not in it. Whoever has the file has the
    cluster: keep it as its keys.
    """
    now, config = rfc3339(RealClock().wall()), _server(directory)
    if config is None:
        session.require_running()
        known = _known(session)
        about = of_lab.save(session.lab, find_engine(os.environ), known, now, file)
    else:
        known = _known(Session(config.state_dir, session.debug))
        tool = Etcd(Path(config.engine), config.plane)
        about = backups.save(config.plane, tool, known, now, file)
    say(f"{file}: {_of(about)}.")
    if not known:
        say(
            "The API did not say which nodes there are: name all of them when you restore (--node)."
        )


@click.command(
    epilog=examples("restore backup.tar", "restore backup.tar --node host-9 --off host-7")
)
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--node", "joined", multiple=True, metavar="NODE", help="One that joined after the backup."
)
@click.option("--off", multiple=True, metavar="NODE", help="One that is switched off for sure.")
@click.option(
    "--alone", is_flag=True, help="On this server only: all others are off, and join it anew."
)
@_directory
@click.pass_obj
def restore(
    session: Session,
    file: Path,
    joined: tuple[str, ...],
    off: tuple[str, ...],
    alone: bool,
    directory: str,
) -> None:
    """Go back to the backup FILE.

    Hosts and guests go on. No controller decides anything before every node has said what it runs, so name those that
    joined after the backup was made: a node that nobody names and nobody reaches is not waited for. A VM that has moved
    since the backup is started anew; one that was made since ends, and its disk's file stays.
    """
    config = _server(directory)
    if config is None:
        engine, known = find_engine(os.environ), (*joined, *_known(session))
        of_lab.restore(session.lab, engine, file, known, off, Progress())
        return
    _restore_server(config, file, Wanted(_servers(config, file, alone), joined, off))


def _restore_server(config: ServerConfig, file: Path, wanted: Wanted) -> None:
    plane = config.plane
    advice = "stop it on every server first (systemctl stop drover-server), then restore on each, then start all"
    with locked(plane, advice):
        plane.run.mkdir(parents=True, exist_ok=True, mode=0o700)
        unpacked = backups.unpack(file, plane.run)
        try:
            require_silence(backups.others(plane, unpacked.about), plane.pki)
            declared = backups.restore(plane, Path(config.engine), unpacked, wanted)
        finally:
            unpacked.snapshot.unlink(missing_ok=True)
    say(f"{plane.etcd}: {_of(unpacked.about)}.")
    others = [name for name in wanted.servers if name != config.name]
    if others:
        say(f"Restore the same file on {', '.join(others)} before you start any of them.")
    say(
        "When the servers run, the controllers wait for word from all nodes and decide nothing before:"
    )
    say(f"  {', '.join(declared.nodes) or 'none is known'}")
    say(
        f"`{PROGRAM} k get configmap drover-restore -n {names.SYSTEM_NAMESPACE} -o yaml` shows for whom."
    )


def require_silence(servers: Mapping[str, str], pki: Path) -> None:
    """With one that lives there would be two clusters of the same hosts. Raises ControlPlaneError."""
    for name, address in servers.items():
        if serves(address, pki):
            raise ControlPlaneError(
                f"{name} at {address} still answers, and a cluster beside this one could run a VM twice: stop every "
                "server first (systemctl stop drover-server)"
            )


def _servers(config: ServerConfig, file: Path, alone: bool) -> dict[str, str]:
    if alone:
        return {config.name: config.address}
    return backups.about(file).servers


def _known(session: Session) -> list[str]:
    """Nodes that the API knows now; the backup may be older. None when it does not answer."""
    try:
        return with_api(session, _nodes, _API_S)
    except (LabDown, ApiError, Unanswered, TimeoutError):
        return []


async def _nodes(api: Api) -> list[str]:
    """All that ever joined: their Leases stay."""
    leases, _ = await api.client.list(scheme.LEASE, names.NODE_LEASE_NAMESPACE)
    return [name_of(lease) for lease in leases if nodes.incarnation(lease)]


def _server(directory: str) -> ServerConfig | None:
    file = Path(directory) / CONFIG_FILE
    return config_file.load(file, ServerConfig) if file.exists() else None


def _of(about: About) -> str:
    count = len(about.nodes)
    return f"{about.keys} keys of {about.made}, when there were {count} nodes"
