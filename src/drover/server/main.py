"""A server's process: writes what its parts read, then supervises them.

    python -m drover.server.main --config /etc/drover/server.toml

Certificates that have less than a month to live are made anew at each start. The directory of its state is locked
while it runs, so that nothing else, such as a restore, works on it meanwhile.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import fcntl
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from drover.base import config_file
from drover.server import config as configs
from drover.server.config import ServerConfig
from drover.server.credentials import LOOPBACK, ensure_plane
from drover.server.errors import ControlPlaneError
from drover.server.etcd import Etcd
from drover.server.parts import Part, Plane, control_plane_parts, write_configs
from drover.server.supervisor import Supervisor


@contextlib.contextmanager
def locked(plane: Plane, advice: str) -> Iterator[None]:
    """Raises ControlPlaneError with ``advice`` when the server runs."""
    plane.path.mkdir(parents=True, exist_ok=True, mode=0o700)
    with (plane.path / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ControlPlaneError(f"the server of {plane.path} is running: {advice}") from None
        yield


def write_files(config: ServerConfig, now: datetime.datetime) -> None:
    """Certificates and configurations. Raises ControlPlaneError."""
    plane = config.plane
    for directory in (plane.path, plane.pki, plane.run, plane.logs, plane.etcd):
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    ensure_plane(plane.pki, plane.kubeconfig, plane.address, LOOPBACK, now, config.more_names)
    if plane.joins and not (plane.etcd / "member").exists():
        plane = replace(plane, peers=_members_now(config))
    write_configs(plane)
    config_file.save(plane.controllers_file, configs.controllers_config(config, LOOPBACK))
    plane.manifests_applied.unlink(missing_ok=True)


def _members_now(config: ServerConfig) -> dict[str, str]:
    """Address by name. Others may have joined since; one that has not started yet has no name, and needs none."""
    others = [at for name, at in config.servers.items() if name != config.name]
    members = Etcd(Path(config.engine), config.plane, others).members()
    found = {one.name or f"new-{one.id}": one.address for one in members}
    own = {name for name, address in found.items() if address == config.address}
    if not own:
        raise ControlPlaneError(
            f"{config.address} is no member of etcd any more: it was removed; remove server.toml and "
            f"{config.state_dir}, and join again"
        )
    return {config.name if name in own else name: address for name, address in found.items()}


def parts_of(config: ServerConfig, file: Path) -> list[Part]:
    prepare = (sys.executable, "-m", "drover.server.prepare", "--config", str(file))
    return control_plane_parts(
        config.plane, Path(config.engine), Part("prepare", prepare, once=True)
    )


def main() -> int:
    parser = argparse.ArgumentParser(prog="drover-server", description="Run this server.")
    parser.add_argument("--config", type=Path, required=True, metavar="FILE")
    file: Path = parser.parse_args().config
    try:
        config = config_file.load(file, ServerConfig)
        if faults := configs.faults(config):
            raise ControlPlaneError("; ".join(faults))
        with locked(config.plane, "it is run once"):
            write_files(config, datetime.datetime.now(datetime.UTC))
            Supervisor(parts_of(config, file), config.plane.logs).run()
    except (ControlPlaneError, config_file.BadConfig) as error:
        sys.stderr.write(f"drover-server: {file}: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
