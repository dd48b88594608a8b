"""Where a copy keeps its things: ``<run_dir>/<copy>/`` while it lives, ``<log_dir>/<copy>/`` after
it too.

``spec.json`` is on disk before the process is started, so an agent that finds a process finds its
spec. Agents of the next release read it, and of the one before: unknown fields mean nothing.

Everything belongs to root. A QEMU with a user of its own has the group of the directory (its number is that of the
user), and may make files there only until it is *sealed*: while it starts, before any guest runs. So neither name can
be made to mean something else later. The directory's group is the one record of which numbers are taken.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from drover.agent.journal import write_synced
from drover.agent.ports import Disk, HypervisorError, MachineSpec, host_errors

_SOCKET_PATH_MAX = 107  # sun_path, less the closing zero
_OPEN, _SEALED = 0o1730, 0o710  # sticky: it cannot replace what is there


def _known(kind: type, stored: dict[str, Any]) -> dict[str, Any]:
    """Without what a later release has added."""
    names = {field.name for field in fields(kind)}
    return {name: value for name, value in stored.items() if name in names}


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
        """The second monitor, for ``yank``, also when the first hangs."""
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
    def relay(self) -> Path:
        """Where a relay finds the agent, for a moment."""
        return self.run_dir / "mig"

    @property
    def serial_log(self) -> Path:
        return self.log_dir / "serial.log"

    @property
    def qemu_log(self) -> Path:
        """QEMU's own standard output and error."""
        return self.log_dir / "qemu.log"

    @property
    def relay_log(self) -> Path:
        """What the relay of the last migration said."""
        return self.log_dir / "relay.log"

    @property
    def user(self) -> int:
        """Whom its QEMU runs as: 0 for root. Raises OSError."""
        return self.run_dir.stat().st_gid if os.geteuid() == 0 else 0

    def make(self, spec: MachineSpec, user: int = 0) -> None:
        """Directories and ``spec.json``, synced, for a QEMU that runs as ``user``. Raises HypervisorError when the
        paths are too long, HostError.
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
            self.spec.chmod(0o600)
            os.chown(self.run_dir, -1, user if os.geteuid() == 0 else -1)
            self.run_dir.chmod(_OPEN if user else 0o700)

    def seal(self) -> None:
        """It has started: from here on QEMU makes nothing there. Repeatable. Raises HostError."""
        with host_errors(f"{self.run_dir} cannot be closed"):
            if self.user:
                self.run_dir.chmod(_SEALED)
                if self.vnc.is_symlink():
                    self.vnc.unlink()

    @contextlib.contextmanager
    def lent(self, directory: Path) -> Iterator[Path]:
        """Copies of the keys in ``directory`` that this QEMU may read while the block lasts. Afterwards it has them in
        memory. Raises HostError.
        """
        with host_errors("keys cannot be lent to QEMU"):
            user = self.user
        if not user:
            yield directory
            return
        with host_errors("keys cannot be lent to QEMU"):
            place = Path(tempfile.mkdtemp(prefix="tls-", dir=self.run_dir))
        try:
            with host_errors("keys cannot be lent to QEMU"):
                for file in directory.glob("*.pem"):
                    lent = place / file.name
                    lent.write_bytes(file.read_bytes())
                    os.chown(lent, -1, user)
                    lent.chmod(0o040)
                os.chown(place, -1, user)
                place.chmod(0o710)
            yield place
        finally:
            shutil.rmtree(place, ignore_errors=True)

    def load_spec(self) -> MachineSpec:
        """The spec the process was started with. Raises OSError, ValueError, TypeError."""
        stored = json.loads(self.spec.read_bytes())
        disks = tuple(Disk(**_known(Disk, disk)) for disk in stored.pop("disks"))
        return MachineSpec(**_known(MachineSpec, stored), disks=disks)

    def remove(self) -> None:
        for directory in (self.run_dir, self.log_dir):
            with contextlib.suppress(FileNotFoundError):
                shutil.rmtree(directory)
