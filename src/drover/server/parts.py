"""The parts of the control plane and their flags. Pure but for ``find_engine``, ``write_configs``, and that the API
server's flags follow the cores of this machine.

One process each of etcd, API server, controller manager and scheduler, from the one engine binary, and the process of
our own controllers. Each server's API server, and all that decides, speaks to the etcd and the API server of its own
machine: another server's loss takes away that server only.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from drover.server.errors import ControlPlaneError

# What a host reads before it can trust anybody: the authority, which it compares with the hash it was given.
CLUSTER_INFO = "/api/v1/namespaces/kube-public/configmaps/cluster-info"
API_PORT = 6443
ETCD_PORT, PEER_PORT = 2379, 2380
SERVICE_RANGE = "10.96.0.0/16"
SERVICE_ADDRESS = "10.96.0.1"  # the first of the range is the API server's own
_LOOPBACK = "127.0.0.1"
_MOST_LEARNERS = 2  # so that two servers can join a first one at once
_READS_A_CORE = 40
_QUOTA_BYTES = 8 * 2**30  # of etcd's data; its own default, 2 GiB, is little for 20,000 VMs


@dataclass(frozen=True)
class Part:
    """One supervised process. It is started once ``after`` (a path) exists, if given.

    ``on_machine``: it works in the machine's network namespace, since it must reach what users can reach (image URLs).
    """

    name: str
    argv: tuple[str, ...]
    after: str = ""
    on_machine: bool = False
    orderly: bool = False  # gets SIGTERM and time to end; else it is killed
    once: bool = False  # has work that ends: it is not started again after it has succeeded


@dataclass(frozen=True)
class Plane:
    """One machine's control plane: where it listens, and where its files are."""

    name: str  # of its etcd among the others
    address: str  # of its API server, for hosts and other servers
    path: Path  # holds all that follows
    peers: Mapping[str, str] = field(
        default_factory=dict
    )  # all servers when it began: address by name
    joins: bool = False  # those others were there before
    clustered: bool = False  # there may be others: leaders are elected

    @property
    def pki(self) -> Path:
        return self.path / "pki"

    @property
    def run(self) -> Path:
        return self.path / "run"

    @property
    def logs(self) -> Path:
        return self.path / "log"

    @property
    def etcd(self) -> Path:
        return self.path / "etcd"

    @property
    def controllers_file(self) -> Path:
        return self.path / "controllers.json"

    @property
    def one_cluster(self) -> Path:
        """There once no other cluster of the same hosts was found; the API server is started after it."""
        return self.run / "one-cluster"

    @property
    def left(self) -> Path:
        """There once this server was found to be left by a restore on another one; says so."""
        return self.path / "left"

    @property
    def begun(self) -> Path:
        """There once its etcd holds something: its data is never made anew from then on."""
        return self.path / "begun"

    @property
    def kubeconfig(self) -> Path:
        return self.path / "kubeconfig"

    @property
    def manifests_applied(self) -> Path:
        """There while the API server knows our kinds; controllers and agents are started after it."""
        return self.run / "manifests-applied"

    @property
    def etcd_url(self) -> str:
        return f"https://{_LOOPBACK}:{ETCD_PORT}"

    @property
    def api_server(self) -> str:
        return f"https://{self.address}:{API_PORT}"


def peer_url(address: str) -> str:
    return f"https://{address}:{PEER_PORT}"


def find_engine(environ: Mapping[str, str]) -> Path:
    """The engine binary. Raises ControlPlaneError when there is none."""
    candidates = [environ.get("DROVER_ENGINE", "")]
    assets = environ.get("KUBEBUILDER_ASSETS")
    if assets:
        candidates.append(f"{assets}/kube")
    for candidate in candidates:
        if candidate and os.access(candidate, os.X_OK):
            return Path(candidate).resolve()
    raise ControlPlaneError(
        "the control plane's program is missing: run ./drover, which builds it once, or name one "
        "in DROVER_ENGINE"
    )


def engine_version(environ: Mapping[str, str]) -> str:
    """What the engine says of itself, for people."""
    try:
        argv = [str(find_engine(environ)), "version"]
        done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=20)
    except ControlPlaneError:
        return "not built yet"
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"does not say ({error})"
    return done.stdout.strip()


def write_configs(plane: Plane) -> None:
    """Configuration files of those parts that want files. JSON is YAML."""
    authentication = {
        "apiVersion": "apiserver.config.k8s.io/v1",
        "kind": "AuthenticationConfiguration",
        "anonymous": {
            "enabled": True,
            "conditions": [
                {"path": path} for path in ("/livez", "/readyz", "/healthz", CLUSTER_INFO)
            ],
        },
    }
    # The API server shows the webhook who it is: nobody else is given reviews.
    webhook = {
        "apiVersion": "apiserver.config.k8s.io/v1",
        "kind": "WebhookAdmissionConfiguration",
        "kubeConfigFile": str(plane.pki / "webhook-client.kubeconfig"),
    }
    admission = {
        "apiVersion": "apiserver.config.k8s.io/v1",
        "kind": "AdmissionConfiguration",
        "plugins": [{"name": "ValidatingAdmissionWebhook", "configuration": webhook}],
    }
    for name, content in (
        ("etcd", _etcd(plane)),
        ("authentication", authentication),
        ("admission", admission),
    ):
        (plane.run / f"{name}.yaml").write_text(json.dumps(content, indent=2) + "\n")


def _etcd(plane: Plane) -> dict[str, object]:
    """Clients are this machine's own and, where there may be other servers, those; all show a certificate."""
    clients = [plane.etcd_url]
    peers = dict(plane.peers) or {plane.name: _LOOPBACK}
    if plane.clustered:
        clients.append(f"https://{plane.address}:{ETCD_PORT}")
    own = peer_url(peers[plane.name])
    security = {
        "cert-file": f"{plane.pki}/etcd.crt",
        "key-file": f"{plane.pki}/etcd.key",
        "trusted-ca-file": f"{plane.pki}/etcd-ca.crt",
        "client-cert-auth": True,
    }
    return {
        "name": plane.name,
        "data-dir": str(plane.etcd),
        "listen-client-urls": ",".join(clients),
        "advertise-client-urls": clients[-1],
        "client-transport-security": security,
        "listen-peer-urls": own,
        "initial-advertise-peer-urls": own,
        "peer-transport-security": security,
        # Read at the first start alone; from then on the members are what etcd itself remembers.
        "initial-cluster": ",".join(f"{name}={peer_url(at)}" for name, at in peers.items()),
        "initial-cluster-state": "existing" if plane.joins else "new",
        "max-learners": _MOST_LEARNERS,
        "quota-backend-bytes": _QUOTA_BYTES,
        "log-level": "warn",
        # Nanoseconds; without it a configuration *file* means 0, and every request is logged.
        "warning-unary-request-duration": 300_000_000,
    }


def control_plane_parts(
    plane: Plane, engine: Path, *more: Part, controllers_on_machine: bool = False
) -> list[Part]:
    """Every part, in the order of start; ``more`` come before our controllers."""
    kube = str(engine)
    elect = f"--leader-elect={'true' if plane.clustered else 'false'}"
    scheduler = (
        f"--kubeconfig={plane.pki}/scheduler.kubeconfig",
        elect,
        "--secure-port=0",
        "--profiling=false",
    )
    controllers = ("-m", "drover.controllers.main", "--config", str(plane.controllers_file))
    return [
        Part("etcd", (kube, "etcd", f"--config-file={plane.run}/etcd.yaml"), orderly=True),
        Part("apiserver", (kube, "apiserver", *_apiserver_flags(plane))),
        Part("controller-manager", (kube, "controller-manager", *_manager_flags(plane.pki), elect)),
        Part("scheduler", (kube, "scheduler", *scheduler)),
        *more,
        Part(
            "controllers",
            (sys.executable, *controllers),
            after=str(plane.manifests_applied),
            on_machine=controllers_on_machine,
        ),
    ]


def _apiserver_flags(plane: Plane) -> list[str]:
    pki, run = plane.pki, plane.run
    return [
        f"--etcd-servers={plane.etcd_url}",
        f"--etcd-cafile={pki}/etcd-ca.crt",
        f"--etcd-certfile={pki}/etcd-client.crt",
        f"--etcd-keyfile={pki}/etcd-client.key",
        f"--bind-address={plane.address}",
        f"--advertise-address={plane.address}",
        f"--secure-port={API_PORT}",
        "--endpoint-reconciler-type=none",
        f"--tls-cert-file={pki}/apiserver.crt",
        f"--tls-private-key-file={pki}/apiserver.key",
        f"--cert-dir={pki}",
        f"--client-ca-file={pki}/ca.crt",
        f"--authentication-config={run}/authentication.yaml",
        "--authorization-mode=Node,RBAC",
        "--enable-admission-plugins=NodeRestriction",
        f"--admission-control-config-file={run}/admission.yaml",
        "--enable-bootstrap-token-auth",
        "--service-account-issuer=https://kubernetes.default.svc",
        f"--service-account-key-file={pki}/service-accounts.pub",
        f"--service-account-signing-key-file={pki}/service-accounts.key",
        f"--service-cluster-ip-range={SERVICE_RANGE}",
        f"--kubelet-client-certificate={pki}/kubelet-client.crt",
        f"--kubelet-client-key={pki}/kubelet-client.key",
        f"--kubelet-certificate-authority={pki}/ca.crt",
        "--kubelet-preferred-address-types=InternalIP",
        "--profiling=false",
        *concurrency_flags(),
    ]


def concurrency_flags(cores: int = 0) -> list[str]:
    """How many requests the API server works on at once, for ``cores`` (0: those of this machine). Others wait in the
    queues of their priority.

    Kubernetes' own 400 and 200 suit ten cores. Two that work on 600 requests at once answer few in time: those who
    asked ask again, and renewals that nobody waits for any more keep everybody else from being served
    (docs/figures.md, bench/control).
    """
    cores = cores or len(os.sched_getaffinity(0))
    return [
        f"--max-requests-inflight={_READS_A_CORE * cores}",
        f"--max-mutating-requests-inflight={_READS_A_CORE // 2 * cores}",
    ]


def _manager_flags(pki: Path) -> list[str]:
    return [
        f"--kubeconfig={pki}/controller-manager.kubeconfig",
        "--secure-port=0",
        "--profiling=false",
        "--use-service-account-credentials",
        f"--service-account-private-key-file={pki}/service-accounts.key",
        f"--root-ca-file={pki}/ca.crt",
        f"--cluster-signing-cert-file={pki}/ca.crt",
        f"--cluster-signing-key-file={pki}/ca.key",
        # A node whose Lease is not renewed becomes Unknown after 6 s, found within 1 s.
        "--node-monitor-period=1s",
        "--node-monitor-grace-period=6s",
    ]
