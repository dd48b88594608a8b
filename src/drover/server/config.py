"""What a server is told: ``server.toml``, written by ``drover server init`` or ``join`` and then its administrator's.

Unknown and missing fields are refused by name. Keys and data lie below ``state_dir``.
"""

from __future__ import annotations

import ipaddress
import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

import msgspec

from drover.base import config_file
from drover.controllers.config import ControllersConfig
from drover.server.errors import ControlPlaneError
from drover.server.parts import Plane

CONFIG_FILE = "server.toml"
LEAST_FREE_BYTES = 512 * 2**20  # below that etcd soon ends for want of room
_NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")


class ServerConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One server."""

    name: str  # of this server among the others
    address: str  # of this server, for hosts, users and other servers
    engine: str  # the program of etcd and Kubernetes
    disks_dir: str  # shared with all hosts: VirtualDisks
    images_dir: str  # shared with the other servers: imported images
    vm_cidr: str  # the VM network
    vm_first: str  # addresses for guests: first and last
    vm_last: str
    vm_gateway: str
    state_dir: str = "/var/lib/drover-server"
    more_names: list[str] = []  # further names and addresses by which the API server is known
    closed_networks: list[str] = []  # CIDRs that VirtualImages are not fetched from
    joins: bool = False  # it joined servers that were there before
    servers: dict[str, str] = {}  # all servers when this one began: address by name

    @property
    def plane(self) -> Plane:
        return Plane(
            self.name,
            self.address,
            Path(self.state_dir),
            self.servers or {self.name: self.address},
            self.joins,
            clustered=True,
        )


class Declared(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A restore of etcd, until the next one: what ``controllers.restoring`` has to know."""

    id: str
    nodes: list[str] = []
    off: list[str] = []
    servers: dict[str, str] = {}  # the others that there were: address by name


def declared_file(plane: Plane) -> Path:
    return plane.path / "restored.json"


def with_declared(config: ControllersConfig, plane: Plane) -> ControllersConfig:
    """Raises BadConfig."""
    if not declared_file(plane).exists():
        return config
    said = config_file.load(declared_file(plane), Declared)
    return msgspec.structs.replace(
        config,
        restored_id=said.id,
        restored_nodes=tuple(said.nodes),
        restored_off=tuple(said.off),
    )


def controllers_config(config: ServerConfig, webhook: str) -> ControllersConfig:
    """``webhook`` is where the API server of this machine reaches the controllers of this machine."""
    plane = config.plane
    made = ControllersConfig(
        api_server=plane.api_server,
        disks_dir=config.disks_dir,
        images_dir=config.images_dir,
        vm_cidr=config.vm_cidr,
        vm_first=config.vm_first,
        vm_last=config.vm_last,
        vm_gateway=config.vm_gateway,
        webhook_address=webhook,
        closed_networks=config.closed_networks,
        elect=True,
        **key_files(plane.pki),
    )
    return with_declared(made, plane)


class KeyFiles(TypedDict):
    """Those that the controllers want, by the fields of their configuration."""

    ca_file: str
    client_cert_file: str
    client_key_file: str
    webhook_cert_file: str
    webhook_key_file: str
    webhook_client_ca_file: str
    migration_ca_cert_file: str
    migration_ca_key_file: str


def key_files(pki: Path) -> KeyFiles:
    return {
        "ca_file": f"{pki}/ca.crt",
        "client_cert_file": f"{pki}/controllers.crt",
        "client_key_file": f"{pki}/controllers.key",
        "webhook_cert_file": f"{pki}/webhook.crt",
        "webhook_key_file": f"{pki}/webhook.key",
        "webhook_client_ca_file": f"{pki}/ca.crt",
        "migration_ca_cert_file": f"{pki}/migration-ca.crt",
        "migration_ca_key_file": f"{pki}/migration-ca.key",
    }


@dataclass(frozen=True)
class GuestAddresses:
    """Of the VM network."""

    first: str
    last: str
    gateway: str


def guest_addresses(cidr: str, first: str, last: str, gateway: str) -> GuestAddresses:
    """Those that were not named: the gateway is the last address, guests begin with the tenth. Raises
    ControlPlaneError."""
    try:
        network = ipaddress.IPv4Network(cidr)
    except ValueError as error:
        raise ControlPlaneError(f"--vm-cidr {cidr}: {error}") from error
    if network.num_addresses < 16:
        raise ControlPlaneError(
            f"--vm-cidr {cidr} has {network.num_addresses} addresses, 16 are the least"
        )
    return GuestAddresses(
        first or str(network[10]), last or str(network[-3]), gateway or str(network[-2])
    )


def faults(config: ServerConfig) -> list[str]:
    """What would keep the server from working, each with its field."""
    found = [
        f"{field}: {getattr(config, field)!r} is no IPv4 address"
        for field in ("address", "vm_first", "vm_last", "vm_gateway")
        if not _is_address(getattr(config, field))
    ]
    if not _NAME.fullmatch(config.name):
        found.append(f"name: {config.name!r} is not made of small letters, digits and -")
    if config.servers.get(config.name, config.address) != config.address:
        found.append(f"servers: {config.name} is there with another address than {config.address}")
    found += _network_faults(config) if not found else []
    for field in ("disks_dir", "images_dir"):
        if not Path(getattr(config, field)).is_dir():
            found.append(f"{field}: {getattr(config, field)} is no directory: mount it")
    if not os.access(config.engine, os.X_OK):
        found.append(f"engine: {config.engine} is no program: `./drover` builds it")
    return found + room_faults(Path(config.state_dir))


def room_faults(state_dir: Path) -> list[str]:
    there = next(path for path in (state_dir, *state_dir.parents) if path.exists())
    free = shutil.disk_usage(there).free
    if free >= LEAST_FREE_BYTES:
        return []
    return [
        f"state_dir: {there} has {free // 2**20} MiB free, etcd needs {LEAST_FREE_BYTES // 2**20} MiB to go on: "
        "make room there"
    ]


def _network_faults(config: ServerConfig) -> list[str]:
    try:
        network = ipaddress.IPv4Network(config.vm_cidr)
    except ValueError as error:
        return [f"vm_cidr: {error}"]
    found = [
        f"{field}: {getattr(config, field)} is not in vm_cidr {network}"
        for field in ("vm_first", "vm_last", "vm_gateway")
        if ipaddress.IPv4Address(getattr(config, field)) not in network
    ]
    if ipaddress.IPv4Address(config.vm_first) > ipaddress.IPv4Address(config.vm_last):
        found.append(f"vm_first: {config.vm_first} comes after vm_last {config.vm_last}")
    return found


def _is_address(text: str) -> bool:
    try:
        ipaddress.IPv4Address(text)
    except ValueError:
        return False
    return True
