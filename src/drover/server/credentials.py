"""Who has which certificate on a server, and the kubeconfig files made of them.

The identities are those of any Kubernetes cluster, plus ``drover:controllers``, which has a ClusterRole of its own and
is no administrator. etcd has an authority of its own: a certificate of the cluster's, such as every node has, opens
nothing there.

``AUTHORITIES`` and the key of the ServiceAccounts' tokens are the cluster's and the same on all its servers; everything
else is made by each server for itself.
"""

from __future__ import annotations

import base64
import datetime
import json
from collections.abc import Sequence
from pathlib import Path

from drover.api import names
from drover.controllers.config import WEBHOOK_CLIENT, WEBHOOK_PORT
from drover.runtime.pki import (
    Leaf,
    ensure_authority,
    ensure_key,
    ensure_leaf,
    time_fault,
    write_private,
)
from drover.server.errors import ControlPlaneError
from drover.server.parts import SERVICE_ADDRESS

CLUSTER, MIGRATION, ETCD = AUTHORITIES = ("ca", "migration-ca", "etcd-ca")
ACCOUNTS = "service-accounts"
# What the servers of one cluster share.
SHARED_FILES = (
    *(f"{name}.{kind}" for name in AUTHORITIES for kind in ("crt", "key")),
    f"{ACCOUNTS}.key",
    f"{ACCOUNTS}.pub",
)
_PUT_BACK = (
    "The cluster trusts no others: put them back, from the same place on another server, or from a backup, which is a "
    "tar with a folder pki"
)
SERVICE_NAMES = ("kubernetes", "kubernetes.default", "kubernetes.default.svc", "localhost")
LOOPBACK = "127.0.0.1"


def ensure_shared(pki: Path, now: datetime.datetime) -> None:
    """What the servers of one cluster share; what is there stays. Raises ControlPlaneError."""
    for name in AUTHORITIES:
        try:
            ensure_authority(pki, name, now)
        except (OSError, ValueError) as error:
            raise ControlPlaneError(f"{pki}/{name}.crt, .key: {error}. {_PUT_BACK}") from error
    ensure_key(pki / f"{ACCOUNTS}.key")


def require_shared(pki: Path, now: datetime.datetime) -> None:
    """Of a server that is one: these it never makes anew, also where they are missing. Raises ControlPlaneError."""
    if missing := [name for name in SHARED_FILES if not (pki / name).exists()]:
        raise ControlPlaneError(f"{pki} lacks {', '.join(missing)}. {_PUT_BACK}")
    ensure_shared(pki, now)
    for name in AUTHORITIES:
        if fault := time_fault(pki / f"{name}.crt", now):
            raise ControlPlaneError(f"{pki}/{name}.crt {fault}")


def ensure_plane(
    pki: Path,
    kubeconfig: Path,
    address: str,
    webhook: str,
    now: datetime.datetime,
    more_names: Sequence[str] = (),
) -> list[str]:
    """Every certificate, key and kubeconfig of one server's control plane; the names of the certificates that were
    made. ``webhook`` is the address of its controllers' webhook, ``more_names`` are further ones by which its API
    server is known."""
    ensure_shared(pki, now)
    cluster = ensure_authority(pki, CLUSTER, now)
    etcd = ensure_authority(pki, ETCD, now)
    wanted = [(cluster, leaf) for leaf in _leaves(pki, address, webhook, more_names)]
    wanted += [(etcd, leaf) for leaf in _etcd_leaves(pki, address)]
    made = [leaf.cert.stem for authority, leaf in wanted if ensure_leaf(authority, leaf, now)]
    server = f"https://{address}:6443"
    for name in ("controller-manager", "scheduler"):
        write_kubeconfig(pki / f"{name}.kubeconfig", pki, name, server)
    write_kubeconfig(kubeconfig, pki, "admin", server)
    write_webhook_client(pki, f"{webhook}:{WEBHOOK_PORT}")
    return made


def _leaf(pki: Path, file: str, common_name: str, organization: str = "") -> Leaf:
    cert, key = pki / f"{file}.crt", pki / f"{file}.key"
    return Leaf(cert, key, common_name, organization, client=True)


def _server(pki: Path, file: str, names: tuple[str, ...], client: bool = False) -> Leaf:
    cert, key = pki / f"{file}.crt", pki / f"{file}.key"
    return Leaf(cert, key, file, names=names, server=True, client=client)


def _leaves(pki: Path, address: str, webhook: str, more_names: Sequence[str]) -> list[Leaf]:
    api_names = (*SERVICE_NAMES, address, SERVICE_ADDRESS, LOOPBACK, *more_names)
    return [
        _leaf(pki, "admin", "drover-admin", "system:masters"),
        _leaf(pki, "controllers", names.CONTROLLERS_USER, names.CONTROLLERS_USER),
        _leaf(pki, "controller-manager", "system:kube-controller-manager"),
        _leaf(pki, "scheduler", "system:kube-scheduler"),
        _leaf(pki, "kubelet-client", "kube-apiserver-kubelet-client"),
        _leaf(pki, "webhook-client", WEBHOOK_CLIENT),
        _server(pki, "apiserver", tuple(dict.fromkeys(api_names))),
        _server(pki, "webhook", (webhook,)),
    ]


def _etcd_leaves(pki: Path, address: str) -> list[Leaf]:
    """One pair for both of etcd's doors: members are clients of one another."""
    at = tuple(dict.fromkeys((address, LOOPBACK, "localhost")))
    return [_server(pki, "etcd", at, client=True), _leaf(pki, "etcd-client", "drover-etcd-client")]


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
