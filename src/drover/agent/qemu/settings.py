"""What QEMU needs to know of its node: paths, address, accelerator, firmware bundles, how guests
are wired.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from drover.agent.cgroups import Groups
from drover.agent.ports import tap_name


@dataclass(frozen=True)
class Bundle:
    """One firmware bundle: a QEMU and its ROMs, offered under a version. ``agent.qemu.bundles`` makes them."""

    binary: str = "qemu-system-x86_64"
    rom_dir: str = ""  # empty: the binary's own
    version: str = ""  # empty: nobody asked it
    machine_types: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Uefi:
    """The UEFI firmware of a node: the code that all guests share, and the variables that a new guest begins with.
    Both ends of a move must have them in the same sizes; a guest keeps its code until its next start."""

    code: Path
    new_vars: Path


DEBIAN_UEFI = Uefi(Path("/usr/share/OVMF/OVMF_CODE_4M.fd"), Path("/usr/share/OVMF/OVMF_VARS_4M.fd"))


def tap_netdev(copy: str) -> dict[str, object]:
    """The guest's wire is the tap that ``Network.attach`` made."""
    return {"type": "tap", "ifname": tap_name(copy), "script": "no", "downscript": "no"}


def isolated_netdev(copy: str) -> dict[str, object]:
    """A wire that leads nowhere; for tests without a network of their own."""
    return {"type": "user", "restrict": True}


@dataclass(frozen=True)
class QemuSettings:
    """One node's share. Directories are made when missing."""

    run_dir: Path  # sockets and specs; may vanish with the node's processes; short, sockets have 107 characters
    log_dir: Path  # serial and error logs, kept after a copy ended
    tls_dir: Path  # ca-cert.pem, {server,client}-{cert,key}.pem
    address: str  # migration listeners bind here
    accel: str = "tcg"
    nice: int = 10
    direct_io: bool = False  # cache.direct; must be on for network disks (safety rule 12)
    # By version; "" is the node's default.
    bundles: Mapping[str, Bundle] = field(default_factory=lambda: {"": Bundle()})
    netdev: Callable[[str], dict[str, object]] = tap_netdev
    uefi: Uefi = DEBIAN_UEFI
    user: int = 0  # the first of the users that QEMUs run as; 0: the agent's own
    groups: Groups | None = None
