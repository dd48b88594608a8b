"""Where a copy keeps its things: ``<run_dir>/<copy>/`` while it lives, ``<log_dir>/<copy>/`` after
it too.

``spec.json`` is on disk before the process is started, so an agent that finds a process finds its
spec.
"""

from __future__ import annotations

import contextlib
import json
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path

from drover.agent.journal import write_synced
from drover.agent.ports import Disk, HypervisorError, MachineSpec, host_errors

_SOCKET_PATH_MAX = 107  # sun_path, less the closing zero


@dataclass(frozen=True)
class CopyFiles:
    """Paths of one copy."""

    run_dir: Path
    log_dir: Path

    @property
    def spec(self) -> Path:
        return self.run_dir / "spec.json"

    @property
    def monitor(self) -> Path:
        return self.run_dir / "qmp"

    @property
    def rescue(self) -> Path:
        """The second monitor, for ``yank`` when the first hangs."""
        return self.run_dir / "qmp2"

    @property
    def events(self) -> Path:
        """All that QEMU says on the second monitor, its events above all, whether somebody listens or not."""
        return self.run_dir / "events.log"

    @property
    def console(self) -> Path:
        """The serial line, to talk to; one client."""
        return self.run_dir / "tty"

    @property
    def vnc(self) -> Path:
        """The screen, for VNC viewers; only a copy with a display has it."""
        return self.run_dir / "vnc"

    @property
    def agent(self) -> Path:
        """The guest agent's channel."""
        return self.run_dir / "qga"

    @property
    def serial_log(self) -> Path:
        return self.log_dir / "serial.log"

    @property
    def qemu_log(self) -> Path:
        """QEMU's own standard output and error."""
        return self.log_dir / "qemu.log"

    def make(self, spec: MachineSpec) -> None:
        """Directories and ``spec.json``, synced. Raises HypervisorError when the paths are too
        long, HostError.
        """
        if len(str(self.rescue).encode()) > _SOCKET_PATH_MAX:
            raise HypervisorError(
                f"{self.rescue}: longer than {_SOCKET_PATH_MAX} bytes, too long for a socket"
            )
        stale = (
            self.monitor,
            self.rescue,
            self.events,
            self.console,
            self.vnc,
            self.agent,
            self.qemu_log,
        )
        with host_errors(f"the files of {spec.vm} cannot be made"):
            for directory in (self.run_dir, self.log_dir):
                directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            for file in stale:
                file.unlink(missing_ok=True)
            write_synced(self.spec, json.dumps(asdict(spec)).encode())

    def load_spec(self) -> MachineSpec:
        """The spec the process was started with."""
        fields = json.loads(self.spec.read_bytes())
        disks = tuple(Disk(**disk) for disk in fields.pop("disks"))
        return MachineSpec(**fields, disks=disks)

    def remove(self) -> None:
        for directory in (self.run_dir, self.log_dir):
            with contextlib.suppress(FileNotFoundError):
                shutil.rmtree(directory)
