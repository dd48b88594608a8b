"""Cloud-init NoCloud seeds: a FAT volume labelled ``cidata`` with ``meta-data`` and ``user-data``.

The instance-id is made of the VM's uid and its user data, so that a guest runs its user data once per VM and again when
it was changed. Both ends of a migration make the same bytes.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from drover.agent import fat
from drover.agent.journal import write_synced
from drover.agent.ports import Disk, MachineSpec, host_errors

LABEL = "cidata"
SEED_NAME = "seed"


def content(spec: MachineSpec, user_data: bytes) -> dict[str, bytes]:
    """The files of the seed."""
    digest = hashlib.sha256(user_data).hexdigest()[:12]
    name = spec.vm.rpartition("/")[2]
    meta = f"instance-id: {spec.vm_uid}-{digest}\nlocal-hostname: {name}\n"
    return {"meta-data": meta.encode(), "user-data": user_data}


class NoCloudSeeds:
    """Seeds as files of one directory of the node."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    async def write(self, copy: str, spec: MachineSpec, user_data: bytes) -> Disk:
        """Raises ``fat.TooLarge``, HostError."""
        serial = int(hashlib.sha256(spec.vm_uid.encode()).hexdigest()[:8], 16)
        path = self._path(copy)
        volume = fat.volume(LABEL, serial, content(spec, user_data))
        with host_errors(f"the seed of {spec.vm} cannot be written"):
            self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            write_synced(path, volume)
            path.chmod(0o600)
        return Disk(SEED_NAME, str(path), "raw", read_only=True)

    async def remove(self, copy: str) -> None:
        self._path(copy).unlink(missing_ok=True)

    def _path(self, copy: str) -> Path:
        return self._directory / f"{copy}.img"
