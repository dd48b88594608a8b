"""What an agent is told at its start: one file, JSON written by the lab, TOML written by a host's join.

The file is the contract between who starts agents and the agent; unknown and missing fields are
refused by name. It holds paths of keys, never keys. All paths are absolute in the node's own mount
namespace.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from drover.agent.mounts import AUTO
from drover.api.fencing import PEER_PORT

# Numbers that neither people, nor systemd's ranges, nor those of containers take.
QEMU_USER = 2_000_000_000


class AgentConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One node's agent."""

    node: str
    address: str  # on the infra network; kubelet endpoints and migration listeners bind here
    api_server: str  # https://address:port
    more_api_servers: list[
        str
    ] = []  # of the same cluster; what the cluster says later counts instead
    ca_file: str  # who signed the API server and its kubelet client
    client_cert_file: str  # CN=system:node:<node>, O=system:nodes
    client_key_file: str
    serving_cert_file: str  # of the kubelet endpoints
    serving_key_file: str
    migration_pki_dir: str  # ca-cert.pem, {server,client}-{cert,key}.pem, as tls-creds-x509 wants
    state_dir: str  # survives crashes of agent and node: journal, logs, seeds
    run_dir: str  # gone with the node: sockets, pids; short, as socket paths have 107 characters
    disks_dir: str  # shared by all nodes: VirtualDisks
    vm_cidr: str  # the VM network, for DHCP
    vm_gateway: str
    bridge: str = "br0"  # holds the uplink and the taps
    uplink: str = "uplink"
    kubelet_port: int = 10250
    peer_port: int = PEER_PORT  # where other nodes ask for vouchers
    cpu: str = "8"  # declared capacity
    memory: str = "16Gi"
    pods: int = 110
    accel: str = "tcg"  # tcg | kvm
    qemu: str = "qemu-system-x86_64"  # the node's default firmware bundle
    more_qemus: list[str] = []  # further bundles: a QEMU each that finds its own ROMs
    heartbeat_s: float = 2.0  # between two renewals of the node's Lease
    lease_duration_s: int = 6
    watchdog: str = "deadline"  # deadline | device | none: what guards this node's VMs where its group is fenced
    watchdog_device: str = "/dev/watchdog0"
    watchdog_timeout_s: int = 8  # of the device; the group's timeout must leave room for twice that
    qemu_nice: int = 10  # a busy guest must starve no renewal
    qemu_user: int = (
        QEMU_USER  # the first of the users (numbers) that QEMUs run as; 0: as the agent
    )
    direct_io: str = AUTO  # on, off, or by disks_dir: past the host's cache where that is on the network (rule 12)
    cgroup: str = ""  # the control group of this node's VMs; empty: one in that of its service
    renew: bool = (
        False  # its certificates come from the cluster and are renewed there (a host that joined)
    )
    labels: dict[str, str] = {}  # further labels of the Node

    @property
    def nodeinit_socket(self) -> Path:
        """Where the node's first process takes requests."""
        return Path(self.run_dir) / "nodeinit.sock"
