"""The agent as a service of a host: its systemd unit, and what is wrong with its configuration before it starts.

The unit's main process is the node's first process (``nodeinit``): it keeps the deadline of the node's VMs, starts the
QEMUs and starts the agent anew when that ends. So systemd leaves its children alone while it lives: the agent's end
touches no guest, and the first process's end kills them all (safety rule 8). No watchdog of systemd's is used.
"""

from __future__ import annotations

import datetime
import ipaddress
from pathlib import Path

from drover.agent import mounts
from drover.agent.config import AgentConfig
from drover.agent.qemu.settings import DEBIAN_UEFI
from drover.runtime import pki

_FILES = ("ca_file", "client_cert_file", "client_key_file", "serving_cert_file", "serving_key_file")
_MIGRATION = (
    "ca-cert.pem",
    "server-cert.pem",
    "server-key.pem",
    "client-cert.pem",
    "client-key.pem",
)

_UNIT = """\
# Made by `drover agent unit`. A stop of this unit ends every VM of the host: drain the node first.
[Unit]
Description=drover agent of node {node}
Documentation=https://drover.dev
Wants=network-online.target
After=network-online.target remote-fs.target
RequiresMountsFor={disks_dir} {state_dir}

[Service]
Type=exec
Environment=PYTHONPATH={source}
ExecStart={python} -m drover.agent.nodeinit {socket} {python} -m drover.agent.main --config {file}
RuntimeDirectory={runtime}
StateDirectory={state}
# Newer code of the agent: VMs go on. The first process is renewed by a restart, on a drained node.
ExecReload=/bin/kill -HUP $MAINPID
Restart=always
RestartSec=2
KillMode=control-group
TimeoutStopSec=30
# The deadline of its VMs is kept by this process: it must be scheduled when they are busy.
Nice=-5
OOMScoreAdjust=-900
Delegate=yes
LimitNOFILE=65536
LimitMEMLOCK=infinity
LimitRTPRIO=infinity
UMask=0077
PrivateTmp=yes
ProtectHome=yes
ProtectHostname=yes
ProtectKernelLogs=yes
RestrictSUIDSGID=yes
LockPersonality=yes
# Not ProtectClock, which closes every other device too, and not RestrictRealtime: this process runs before all others.

[Install]
WantedBy=multi-user.target
"""


def unit(file: Path, config: AgentConfig, python: str) -> str:
    """The text of drover-agent.service."""
    return _UNIT.format(
        node=config.node,
        disks_dir=config.disks_dir,
        state_dir=config.state_dir,
        source=Path(__file__).resolve().parents[2],
        python=python,
        socket=config.nodeinit_socket,
        file=file,
        runtime=Path(config.run_dir).name,
        state=Path(config.state_dir).name,
    )


def faults(config: AgentConfig, now: datetime.datetime) -> list[str]:
    """What would keep the agent from starting or from being heard, each with its field."""
    found = [
        f"{field}: {path} is not there"
        for field in _FILES
        if not Path(path := getattr(config, field)).is_file()
    ]
    found += [
        f"migration_pki_dir: {name} is not in {config.migration_pki_dir}"
        for name in _MIGRATION
        if not (Path(config.migration_pki_dir) / name).is_file()
    ]
    if not Path(config.disks_dir).is_dir():
        found.append(f"disks_dir: {config.disks_dir} is no directory")
    for field in ("address", "vm_gateway"):
        try:
            ipaddress.IPv4Address(getattr(config, field))
        except ValueError:
            found.append(f"{field}: {getattr(config, field)!r} is no IPv4 address")
    try:
        ipaddress.IPv4Network(config.vm_cidr)
    except ValueError as error:
        found.append(f"vm_cidr: {error}")
    if not config.api_server.startswith("https://"):
        found.append(f"api_server: {config.api_server!r} does not begin with https://")
    try:
        mounts.direct_io(config.direct_io, mounts.kind_of(Path(config.disks_dir)))
    except ValueError as error:
        found.append(f"direct_io: {error}")
    return found or ended(config, now)


def ended(config: AgentConfig, now: datetime.datetime) -> list[str]:
    """The certificates that are not valid now: with them nobody listens to this host."""
    files = {
        "client_cert_file": Path(config.client_cert_file),
        "serving_cert_file": Path(config.serving_cert_file),
        "migration_pki_dir": Path(config.migration_pki_dir) / "server-cert.pem",
    }
    found = []
    for field, file in files.items():
        try:
            fault = pki.time_fault(file, now)
        except (OSError, ValueError) as error:
            fault = f"is no certificate: {error}"
        if fault:
            found.append(f"{field}: {file} {fault}")
    return found


def notices(config: AgentConfig) -> list[str]:
    """What an agent starts with, and an operator should know."""
    found = []
    if awake := mounts.may_sleep():
        found.append(
            "this host may go to sleep, and wake up with VMs that others run by now: "
            f"systemctl mask {' '.join(awake)}"
        )
    kind = mounts.kind_of(Path(config.disks_dir))
    if mounts.of_network(kind):
        found.append(f"disks_dir is on {kind}: guests write past this host's cache")
    if not DEBIAN_UEFI.code.exists():
        found.append("VMs with bootloader EFI do not start here: install the package ovmf")
    if not config.qemu_user:
        found.append("qemu_user is 0: QEMU runs as root, see docs/security.md")
    return found
