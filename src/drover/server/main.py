"""A server's process: writes what its parts read, then supervises them.

    python -m drover.server.main --config /etc/drover/server.toml

Certificates that have less than a month to live are made anew at each start, and while it runs (``renewal``). What the
cluster's servers share, and etcd's data, never are: where they are gone it does not start. The
directory of its state is locked while it runs, so that nothing else, such as a restore, works on it meanwhile.
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
from typing import Any

from drover.base import config_file
from drover.server import config as configs
from drover.server.config import ServerConfig, declared_file
from drover.server.credentials import LOOPBACK, ensure_plane, require_shared
from drover.server.errors import ControlPlaneError
from drover.server.parts import Part, Plane, control_plane_parts, write_configs
from drover.server.renewal import Renewal
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


def require_data(plane: Plane) -> None:
    """An empty etcd must not take the place of one that is gone: alone it would be a second cluster, of the same hosts,
    beside the other servers; as a member it would have forgotten what it has acknowledged. Nor may one begin where the
    past was to be put (``restore``). Raises ControlPlaneError.
    """
    begun = plane.begun.exists() or declared_file(plane).exists()
    if begun and not (plane.etcd / "member").exists():
        raise ControlPlaneError(
            f"the data of etcd is gone from {plane.etcd}: put it back. After a restore that broke off, or where all "
            f"servers are lost: `drover restore FILE`. Where others run: `drover server remove {plane.name}` there, "
            f"then remove server.toml and {plane.path} here, and join again"
        )


def write_files(config: ServerConfig, now: datetime.datetime) -> None:
    """Certificates and configurations. Raises ControlPlaneError."""
    plane = config.plane
    for directory in (plane.path, plane.pki, plane.run, plane.logs, plane.etcd):
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    ensure_plane(plane.pki, plane.kubeconfig, plane.address, LOOPBACK, now, config.more_names)
    write_configs(plane)
    config_file.save(plane.controllers_file, configs.controllers_config(config, LOOPBACK))
    for file in (plane.one_cluster, plane.manifests_applied):
        file.unlink(missing_ok=True)


def parts_of(config: ServerConfig, file: Path) -> list[Part]:
    def own(module: str) -> tuple[str, ...]:
        return (sys.executable, "-m", f"drover.server.{module}", "--config", str(file))

    prepare = Part("prepare", own("prepare"), once=True)
    look = Part("one-cluster", own("one_cluster"), once=True)
    parts = control_plane_parts(config.plane, Path(config.engine), look, prepare)
    changes: dict[str, dict[str, Any]] = {"apiserver": {"after": str(config.plane.one_cluster)}}
    if config.joins:
        changes["etcd"] = {"argv": own("member")}
    return [replace(one, **changes.get(one.name, {})) for one in parts]


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)


def main() -> int:
    parser = argparse.ArgumentParser(prog="drover-server", description="Run this server.")
    parser.add_argument("--config", type=Path, required=True, metavar="FILE")
    file: Path = parser.parse_args().config
    try:
        config = config_file.load(file, ServerConfig)
        if faults := configs.faults(config):
            raise ControlPlaneError("; ".join(faults))
        with locked(config.plane, "it is run once"):
            require_shared(config.plane.pki, _now())
            require_data(config.plane)
            write_files(config, _now())
            renewal = Renewal(config, _now)
            Supervisor(parts_of(config, file), config.plane.logs, renewal.renew).run()
    except (ControlPlaneError, config_file.BadConfig) as error:
        sys.stderr.write(f"drover-server: {file}: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
