"""A machine becomes a server: the first one of a cluster, or one more.

The servers of a cluster share authorities and keys, so whoever may add one could do everything anyway. They travel in
an *invitation*, a private file that an administrator copies by a way of his own (``scp``); nothing of it ever goes
through the API. Each step may be repeated; ``server.toml`` is written last and at once, and until it is there the
machine is no server.
"""

from __future__ import annotations

import base64
import binascii
import datetime
from collections.abc import Callable
from pathlib import Path

import msgspec

from drover.base import config_file
from drover.runtime import pki
from drover.server import config as configs
from drover.server import credentials
from drover.server.config import CONFIG_FILE, ServerConfig
from drover.server.errors import ControlPlaneError
from drover.server.etcd import Etcd, Member

Progress = Callable[[str], None]
# What a server takes over from the one that invites it.
_COMMON = ("engine", "disks_dir", "images_dir", "vm_cidr", "vm_first", "vm_last", "vm_gateway")


class Invitation(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Holds the cluster's secrets."""

    servers: dict[str, str]  # address by name
    settings: dict[str, str]
    more_names: list[str]
    closed_networks: list[str]
    files: dict[str, str]  # base64


def require_new(directory: Path) -> None:
    """Raises ControlPlaneError when this machine is a server already."""
    file = directory / CONFIG_FILE
    if not file.exists():
        return
    try:
        name = config_file.load(file, ServerConfig).name
    except config_file.BadConfig as error:
        raise ControlPlaneError(
            f"{error}: mend it; or, to begin anew, remove this file and the directory that it names as state_dir"
        ) from error
    raise ControlPlaneError(
        f"this machine is server {name} already ({file}): nothing was changed. `drover server unit` prints its unit; "
        "to begin anew, stop it and remove that file and its state_dir, which ends the cluster if it is the only server"
    )


def init(directory: Path, config: ServerConfig, now: datetime.datetime) -> None:
    """The first server of a new cluster. Raises ControlPlaneError."""
    require_new(directory)
    if faults := configs.faults(config):
        raise ControlPlaneError("; ".join(faults))
    plane = config.plane
    if (plane.etcd / "member").exists():
        raise ControlPlaneError(
            f"{plane.etcd} holds the data of a cluster, and {directory / CONFIG_FILE} is not there: put that file "
            "back; or, to begin anew, remove the directory"
        )
    credentials.ensure_shared(plane.pki, now)
    directory.mkdir(parents=True, exist_ok=True)
    config_file.save(directory / CONFIG_FILE, config)


def invite(config: ServerConfig, file: Path, etcd: Etcd) -> None:
    """Write an invitation, for any number of servers. Raises ControlPlaneError."""
    found = etcd.members()
    servers = {one.name: one.address for one in found if one.name and not one.learner}
    files = {
        name: base64.b64encode((config.plane.pki / name).read_bytes()).decode()
        for name in credentials.SHARED_FILES
    }
    made = Invitation(
        servers=servers,
        settings={field: getattr(config, field) for field in _COMMON},
        more_names=config.more_names,
        closed_networks=config.closed_networks,
        files=files,
    )
    pki.write_private(file, msgspec.json.encode(made))


def read(file: Path) -> Invitation:
    """Raises ControlPlaneError."""
    try:
        found = config_file.load(file, Invitation)
        for content in found.files.values():
            base64.b64decode(content, validate=True)
    except (config_file.BadConfig, binascii.Error) as error:
        raise ControlPlaneError(
            f"{file} is no whole invitation ({error}): copy it again, or have a server make another by "
            "`drover server invite`"
        ) from error
    if missing := set(credentials.SHARED_FILES) - found.files.keys():
        raise ControlPlaneError(f"{file} lacks {', '.join(sorted(missing))}")
    return found


def config_of(invitation: Invitation, name: str, address: str, state_dir: str) -> ServerConfig:
    return ServerConfig(
        name=name,
        address=address,
        state_dir=state_dir,
        more_names=invitation.more_names,
        closed_networks=invitation.closed_networks,
        joins=True,
        servers={**invitation.servers, name: address},
        **invitation.settings,
    )


def join(
    directory: Path,
    invitation: Invitation,
    config: ServerConfig,
    now: datetime.datetime,
    progress: Progress,
) -> None:
    """One more server. Raises ControlPlaneError."""
    require_new(directory)
    if faults := configs.faults(config):
        raise ControlPlaneError("; ".join(faults))
    plane = config.plane
    for name, content in invitation.files.items():
        if name in credentials.SHARED_FILES:
            pki.write_private(plane.pki / name, base64.b64decode(content))
    credentials.ensure_plane(
        plane.pki, plane.kubeconfig, plane.address, credentials.LOOPBACK, now, config.more_names
    )
    etcd = Etcd(Path(config.engine), plane, list(invitation.servers.values()))
    members = etcd.members()
    progress(
        f"{len(members)} servers are there: {', '.join(one.name or one.address for one in members)}"
    )
    if not is_member(members, config):
        etcd.add(config.name, config.address)
    directory.mkdir(parents=True, exist_ok=True)
    config_file.save(directory / CONFIG_FILE, config)


def leaving(members: list[Member], config: ServerConfig, name: str) -> Member | None:
    """Whom ``name``, a name or an address, means; None: nobody. Raises ControlPlaneError for this server itself."""
    if name in (config.name, config.address):
        alone = all(one.address == config.address for one in members)
        way = "the cluster ends with its only server" if alone else "say it on another server"
        raise ControlPlaneError(f"{name} is this machine: {way}")
    return next((one for one in members if name and name in (one.name, one.address)), None)


def is_member(members: list[Member], config: ServerConfig) -> bool:
    """Whether a join that broke off has added it. Raises ControlPlaneError for a name or address of another."""
    for one in members:
        if one.name == config.name or (one.address == config.address and one.name):
            raise ControlPlaneError(
                f"there is a server {one.name} at {one.address} already: choose another --name or --address; when "
                f"that one is lost for good, `drover server remove {one.name}` on a server that runs, then join again"
            )
    return any(one.address == config.address for one in members)
