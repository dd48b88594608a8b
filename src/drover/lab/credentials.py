"""Who has which certificate in a lab, and the kubeconfig files made of them.

The identities are those of any Kubernetes cluster, plus ``drover:controllers``, which has a ClusterRole of its own and
is no administrator.
"""

from __future__ import annotations

import base64
import datetime
import json
from pathlib import Path

from drover.api import names
from drover.controllers.config import WEBHOOK_PORT
from drover.controllers.webhook import CLIENT_NAME as WEBHOOK_CLIENT
from drover.lab.home import Home, Settings
from drover.runtime.pki import (
    Authority,
    Leaf,
    ensure_authority,
    ensure_key,
    ensure_leaf,
    write_private,
)

SERVICE_NAMES = ("kubernetes", "kubernetes.default", "kubernetes.default.svc", "localhost")
SERVICE_RANGE = "10.96.0.0/16"
SERVICE_ADDRESS = "10.96.0.1"  # the first of the range is the API server's own


def ensure_all(home: Home, settings: Settings, now: datetime.datetime) -> None:
    """Every certificate, key and kubeconfig of the lab; what is there and good stays."""
    cluster = ensure_authority(home.pki, "ca", now)
    migration = ensure_authority(home.pki, "migration-ca", now)
    ensure_key(home.pki / "service-accounts.key")
    for leaf in _control_plane_leaves(home, settings):
        ensure_leaf(cluster, leaf, now)
    for number, node in enumerate(settings.node_names, start=1):
        address = settings.topology.node_address(number)
        for leaf in _node_leaves(home.node(node) / "pki", node, address):
            ensure_leaf(cluster, leaf, now)
        _ensure_migration(home, migration, node, address, now)
    inside = settings.topology.api_server
    for name in ("controller-manager", "scheduler"):
        write_kubeconfig(home.pki / f"{name}.kubeconfig", home.pki, name, inside)
    write_kubeconfig(home.kubeconfig, home.pki, "admin", inside)
    write_webhook_client(home.pki, f"{settings.topology.machine}:{WEBHOOK_PORT}")


def _control_plane_leaves(home: Home, settings: Settings) -> list[Leaf]:
    topology = settings.topology

    def leaf(file: str, common_name: str, organization: str = "") -> Leaf:
        cert, key = home.pki / f"{file}.crt", home.pki / f"{file}.key"
        return Leaf(cert, key, common_name, organization, client=True)

    def server(file: str, names: tuple[str, ...]) -> Leaf:
        cert, key = home.pki / f"{file}.crt", home.pki / f"{file}.key"
        return Leaf(cert, key, file, names=names, server=True)

    api_names = (*SERVICE_NAMES, topology.control_plane, SERVICE_ADDRESS, "127.0.0.1")
    return [
        leaf("admin", "drover-admin", "system:masters"),
        leaf("controllers", names.CONTROLLERS_USER, names.CONTROLLERS_USER),
        leaf("controller-manager", "system:kube-controller-manager"),
        leaf("scheduler", "system:kube-scheduler"),
        leaf("kubelet-client", "kube-apiserver-kubelet-client"),
        leaf("webhook-client", WEBHOOK_CLIENT),
        server("apiserver", api_names),
        server("webhook", (topology.machine,)),
    ]


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


def write_webhook_client(pki: Path, webhook: str) -> None:
    """What the API server shows to the webhook at ``host:port``. Its form is a kubeconfig whose users are hosts."""
    client = {
        "client-certificate": str(pki / "webhook-client.crt"),
        "client-key": str(pki / "webhook-client.key"),
    }
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "users": [{"name": webhook, "user": client}],
    }
    write_private(pki / "webhook-client.kubeconfig", json.dumps(content, indent=2).encode() + b"\n")


def write_kubeconfig(path: Path, pki: Path, user: str, server: str) -> None:
    """A kubeconfig that carries its keys within, so that it can be copied. JSON is YAML."""

    def data(name: str) -> str:
        return base64.b64encode((pki / name).read_bytes()).decode()

    cluster = {"server": server, "certificate-authority-data": data("ca.crt")}
    client = {
        "client-certificate-data": data(f"{user}.crt"),
        "client-key-data": data(f"{user}.key"),
    }
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "drover", "cluster": cluster}],
        "users": [{"name": user, "user": client}],
        "contexts": [{"name": "drover", "context": {"cluster": "drover", "user": user}}],
        "current-context": "drover",
    }
    write_private(path, json.dumps(content, indent=2).encode() + b"\n")
