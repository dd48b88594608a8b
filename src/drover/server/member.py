"""etcd of a server that has joined others: learns who they are, then becomes etcd.

At its first start etcd wants to be told all members, exactly. Another server may join at the same time, so this is
asked anew at each attempt, until etcd has begun its log; from then on the members are what it remembers.
"""

from __future__ import annotations

import argparse
import os
import sys
from dataclasses import replace
from pathlib import Path

from drover.base import config_file
from drover.server.config import ServerConfig
from drover.server.errors import ControlPlaneError
from drover.server.etcd import Etcd, Member
from drover.server.parts import write_configs


def peers(members: list[Member], name: str, address: str) -> dict[str, str]:
    """Address by name. One that has not started yet has no name, and here needs any. Raises ControlPlaneError."""
    if address not in {one.address for one in members}:
        raise ControlPlaneError(
            f"{name} at {address} is no member of etcd any more: it was removed; remove server.toml and its state_dir, "
            "and join again"
        )
    return {
        name if one.address == address else one.name or f"new-{one.id}": one.address
        for one in members
    }


def main() -> int:
    parser = argparse.ArgumentParser(prog="drover-member", description="Run etcd of this server.")
    parser.add_argument("--config", type=Path, required=True, metavar="FILE")
    config = config_file.load(parser.parse_args().config, ServerConfig)
    plane = config.plane
    if not (plane.etcd / "member" / "wal").exists():
        others = [at for name, at in config.servers.items() if name != config.name]
        try:
            members = Etcd(Path(config.engine), plane, others).members()
            write_configs(replace(plane, peers=peers(members, config.name, config.address)))
        except ControlPlaneError as error:
            sys.stderr.write(f"{error}\n")
            return 1
    argv = ("etcd", f"--config-file={plane.run}/etcd.yaml")
    os.execv(config.engine, [config.engine, *argv])


if __name__ == "__main__":
    sys.exit(main())
