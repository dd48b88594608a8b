"""A server as a service of its machine: the systemd unit, printed by ``drover server unit``."""

from __future__ import annotations

from pathlib import Path

from drover.server.config import ServerConfig

_UNIT = """\
# Made by `drover server unit`. A stop of this unit touches no VM: hosts go on, and nothing is decided meanwhile, but
# where fencing is on, hosts that no server answers end their VMs in time.
[Unit]
Description=drover server {name}
Documentation=https://drover.dev
Wants=network-online.target
After=network-online.target remote-fs.target
RequiresMountsFor={disks_dir} {images_dir} {state_dir}

[Service]
Type=exec
Environment=PYTHONPATH={source}
ExecStart={python} -m drover.server.main --config {file}
StateDirectory={state}
StateDirectoryMode=0700
Restart=always
RestartSec=2
KillMode=mixed
TimeoutStopSec=30
Nice=-5
OOMScoreAdjust=-800
LimitNOFILE=1048576
UMask=0077
NoNewPrivileges=yes
PrivateTmp=yes
PrivateDevices=yes
ProtectHome=read-only
ProtectHostname=yes
ProtectClock=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectControlGroups=yes
RestrictSUIDSGID=yes
RestrictRealtime=yes
RestrictNamespaces=yes
LockPersonality=yes

[Install]
WantedBy=multi-user.target
"""


def unit(file: Path, config: ServerConfig, python: str) -> str:
    """The text of drover-server.service."""
    return _UNIT.format(
        name=config.name,
        disks_dir=config.disks_dir,
        images_dir=config.images_dir,
        state_dir=config.state_dir,
        state=Path(config.state_dir).name,
        source=Path(__file__).resolve().parents[2],
        python=python,
        file=file,
    )
