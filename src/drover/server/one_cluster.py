"""Before a server's API takes a request: whether another cluster of the same hosts lives.

There are two after `drover restore --alone` on one server, when servers that were lost come back, with what they knew.
Each would take the hosts that it does not hear of for dead, and hosts take the word of either, since both have the
cluster's authority: a VM could run twice. The etcds of other servers are asked; that of another cluster has another id.

- It does not count this server among its members, and is counted among ours: this server was left. It notes that, and
  stays down for good, also when the other one is off for a while.
- Else whoever comes second stays down: this server, while the API of the other one answers.

Once this has succeeded it is not asked again until the next start. Not promised: to find one that cannot be reached
just then, or that nobody here has heard of. Who restores must know that the others are off.
"""

from __future__ import annotations

import argparse
import asyncio
import ssl
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from drover.base import config_file
from drover.runtime.server_clock import server_time
from drover.server.config import Declared, ServerConfig, declared_file
from drover.server.credentials import CLUSTER
from drover.server.errors import ControlPlaneError
from drover.server.etcd import Etcd, Member, Seen
from drover.server.parts import API_PORT

_ASK_S = 3.0


class Left(ControlPlaneError):
    """For good."""


@dataclass(frozen=True)
class Others:
    """``look`` asks the etcd at an address, and raises ControlPlaneError where none answers; ``serves`` its API."""

    look: Callable[[str], Seen]
    serves: Callable[[str], bool]


def require_one(config: ServerConfig, own: Seen, others: Others) -> None:
    """Raises Left, ControlPlaneError, BadConfig."""
    known = {one.name or one.address: one.address for one in own.members}
    for name, address in {**before(config), **known}.items():
        if address == config.address:
            continue
        try:
            seen = others.look(address)
        except ControlPlaneError:
            continue  # it is off, or cannot be reached
        if seen.cluster == own.cluster:
            continue
        at = f"{name} at {address}"
        if name in known and not any(one.address == config.address for one in seen.members):
            raise Left(
                f"{at} was restored without this server, which knows only what was before: remove server.toml and "
                f"{config.state_dir} here, and join again"
            )
        if others.serves(address):
            raise ControlPlaneError(
                f"{at} runs another cluster of the same hosts, and a VM could run twice: stop the one that is to go, "
                "remove its server.toml and state_dir, and have it join again"
            )


def serves(address: str, pki: Path) -> bool:
    """Whether the API of a server answers there that has our authority."""
    tls = ssl.create_default_context(cafile=pki / f"{CLUSTER}.crt")
    return asyncio.run(server_time(f"https://{address}:{API_PORT}", tls)) is not None


def left(config: ServerConfig, members: list[Member]) -> list[str]:
    """Names of those of before a restore that are no members any more. Raises BadConfig."""
    there = {one.address for one in members}
    return [name for name, address in before(config).items() if address not in there]


def before(config: ServerConfig) -> dict[str, str]:
    """Those of before a restore. Raises BadConfig."""
    file = declared_file(config.plane)
    return config_file.load(file, Declared).servers if file.exists() else {}


def main() -> int:
    parser = argparse.ArgumentParser(prog="drover-one-cluster", description="Look for another.")
    parser.add_argument("--config", type=Path, required=True, metavar="FILE")
    config = config_file.load(parser.parse_args().config, ServerConfig)
    engine, plane = Path(config.engine), config.plane

    others = Others(
        lambda address: Etcd(engine, plane, [address]).seen(_ASK_S),
        lambda address: serves(address, plane.pki),
    )
    try:
        if plane.left.exists():
            raise ControlPlaneError(plane.left.read_text())
        require_one(config, Etcd(engine, plane).seen(), others)
    except ControlPlaneError as error:
        if isinstance(error, Left):
            plane.left.write_text(str(error))
        sys.stderr.write(f"{error}\n")
        return 1
    plane.one_cluster.touch()
    return 0


if __name__ == "__main__":
    sys.exit(main())
