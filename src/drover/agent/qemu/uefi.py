"""The EFI variables of a guest: made from the node's template before its first start, then the guest's own.

They hold what the guest's installer and boot loader wrote (boot entries), so they live on the shared disks and go with
the VM wherever it runs. Only a start that holds the lease makes the file; an incoming copy finds it. Two agents that
make it at once, one of them late, cannot hurt: each writes a file of its own, the name is taken once, and whoever comes
second uses what is there.
What a lost file costs is the boot entries: firmware then looks for the fall-back loader, which most systems have.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path

from drover.agent.journal import sync_directory
from drover.agent.ports import HypervisorError, MachineSpec, host_errors
from drover.agent.qemu.settings import Uefi


def prepare(spec: MachineSpec, uefi: Uefi, incoming: bool) -> None:
    """Before a start of ``spec``. Raises HypervisorError when the node has no UEFI firmware, HostError."""
    if not spec.uefi_vars:
        return
    if not (uefi.code.exists() and uefi.new_vars.exists()):
        raise HypervisorError(
            f"this node cannot boot {spec.vm} by EFI, it has no {uefi.code}; install the package ovmf on it"
        )
    file = Path(spec.uefi_vars)
    if incoming or file.exists():
        return
    with host_errors(f"the EFI variables of {spec.vm} cannot be written"):
        _make(file, uefi.new_vars.read_bytes())


def _make(file: Path, content: bytes) -> None:
    number, name = tempfile.mkstemp(prefix=f".part-{file.name}-", dir=file.parent)
    part = Path(name)
    with os.fdopen(number, "wb") as opened:
        opened.write(content)
        opened.flush()
        os.fsync(opened.fileno())
    with contextlib.suppress(FileExistsError):
        os.link(part, file)
    part.unlink(missing_ok=True)
    sync_directory(file.parent)
