"""Who has which certificate in a lab: its control plane as any server's, its nodes as if they had joined."""

from __future__ import annotations

import datetime
from pathlib import Path

from drover.api import names
from drover.lab.home import Home, Settings
from drover.runtime.pki import Authority, Leaf, ensure_authority, ensure_leaf, write_private
from drover.server import credentials


def ensure_all(home: Home, settings: Settings, now: datetime.datetime) -> None:
    """Every certificate, key and kubeconfig of the lab; what is there and good stays."""
    topology = settings.topology
    credentials.ensure_plane(
        home.pki, home.kubeconfig, topology.control_plane, topology.machine, now
    )
    cluster = ensure_authority(home.pki, credentials.CLUSTER, now)
    migration = ensure_authority(home.pki, credentials.MIGRATION, now)
    for number, node in enumerate(settings.node_names, start=1):
        address = topology.node_address(number)
        for leaf in _node_leaves(home.node(node) / "pki", node, address):
            ensure_leaf(cluster, leaf, now)
        _ensure_migration(home, migration, node, address, now)


def _node_leaves(directory: Path, node: str, address: str) -> list[Leaf]:
    user = names.NODE_USER_PREFIX + node
    return [
        Leaf(
            directory / "client.crt", directory / "client.key", user, names.NODES_GROUP, client=True
        ),
        Leaf(
            directory / "serving.crt",
            directory / "serving.key",
            user,
            names.NODES_GROUP,
            names=(node, address),
            server=True,
        ),
    ]


def _ensure_migration(
    home: Home, authority: Authority, node: str, address: str, now: datetime.datetime
) -> None:
    """File names as QEMU's ``tls-creds-x509`` wants them; the peer is known by its common name."""
    directory = home.node(node) / "pki" / "migration"
    for side in ("server", "client"):
        cert, key = directory / f"{side}-cert.pem", directory / f"{side}-key.pem"
        server = side == "server"
        leaf = Leaf(cert, key, node, names=(node, address), server=server, client=not server)
        ensure_leaf(authority, leaf, now)
    write_private(directory / "ca-cert.pem", (home.pki / "migration-ca.crt").read_bytes())
