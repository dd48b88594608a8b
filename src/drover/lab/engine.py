"""The parts of the control plane and their flags. Pure but for ``find_engine`` and ``write_configs``.

One process each of etcd, API server, controller manager and scheduler, from the one engine binary, and the process of
our own controllers. etcd listens on the loopback of the control plane's own network namespace, the API server on its
infra address; nothing listens on the machine.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from drover.lab.credentials import SERVICE_RANGE
from drover.lab.errors import LabError
from drover.lab.home import Home
from drover.lab.topology import API_PORT, Topology

# What a host reads before it can trust anybody: the authority, which it compares with the hash it was given.
CLUSTER_INFO = "/api/v1/namespaces/kube-public/configmaps/cluster-info"
_ETCD_URL = "http://127.0.0.1:2379"
_ETCD_PEER_URL = "http://127.0.0.1:2380"


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


def find_engine(environ: Mapping[str, str]) -> Path:
    """The engine binary. Raises LabError when there is none."""
    candidates = [environ.get("DROVER_ENGINE", "")]
    assets = environ.get("KUBEBUILDER_ASSETS")
    if assets:
        candidates.append(f"{assets}/kube")
    for candidate in candidates:
        if candidate and os.access(candidate, os.X_OK):
            return Path(candidate).resolve()
    raise LabError(
        "the control plane's program is missing: run ./drover, which builds it once, or name one "
        "in DROVER_ENGINE"
    )


def engine_version(environ: Mapping[str, str]) -> str:
    """What the engine says of itself, for people."""
    try:
        argv = [str(find_engine(environ)), "version"]
        done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=20)
    except LabError:
        return "not built yet"
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"does not say ({error})"
    return done.stdout.strip()


def write_configs(home: Home) -> None:
    """Configuration files of those parts that want files. JSON is YAML."""
    etcd = {
        "name": "drover",
        "data-dir": str(home.etcd),
        "listen-client-urls": _ETCD_URL,
        "advertise-client-urls": _ETCD_URL,
        "listen-peer-urls": _ETCD_PEER_URL,
        "initial-advertise-peer-urls": _ETCD_PEER_URL,
        "initial-cluster": f"drover={_ETCD_PEER_URL}",
        "log-level": "warn",
        # Nanoseconds; without it a configuration *file* means 0, and every request is logged.
        "warning-unary-request-duration": 300_000_000,
    }
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
    (home.run / "etcd.yaml").write_text(json.dumps(etcd, indent=2) + "\n")
    # The API server shows the webhook who it is: nobody else is given reviews.
    webhook = {
        "apiVersion": "apiserver.config.k8s.io/v1",
        "kind": "WebhookAdmissionConfiguration",
        "kubeConfigFile": str(home.pki / "webhook-client.kubeconfig"),
    }
    admission = {
        "apiVersion": "apiserver.config.k8s.io/v1",
        "kind": "AdmissionConfiguration",
        "plugins": [{"name": "ValidatingAdmissionWebhook", "configuration": webhook}],
    }
    (home.run / "authentication.yaml").write_text(json.dumps(authentication, indent=2) + "\n")
    (home.run / "admission.yaml").write_text(json.dumps(admission, indent=2) + "\n")


def control_plane_parts(home: Home, topology: Topology, engine: Path) -> list[Part]:
    """Every part, in the order of start."""
    kube = str(engine)
    return [
        Part("etcd", (kube, "etcd", f"--config-file={home.run}/etcd.yaml"), orderly=True),
        Part("apiserver", (kube, "apiserver", *_apiserver_flags(home, topology))),
        Part("controller-manager", (kube, "controller-manager", *_manager_flags(home.pki))),
        Part(
            "scheduler",
            (
                kube,
                "scheduler",
                f"--kubeconfig={home.pki}/scheduler.kubeconfig",
                "--leader-elect=false",
                "--secure-port=0",
                "--profiling=false",
            ),
        ),
        Part(
            "controllers",
            (
                sys.executable,
                "-m",
                "drover.controllers.main",
                "--config",
                str(home.path / "controllers.json"),
            ),
            after=str(home.manifests_applied),
            on_machine=True,
        ),
    ]


def _apiserver_flags(home: Home, topology: Topology) -> list[str]:
    pki = home.pki
    return [
        f"--etcd-servers={_ETCD_URL}",
        f"--bind-address={topology.control_plane}",
        f"--advertise-address={topology.control_plane}",
        f"--secure-port={API_PORT}",
        "--endpoint-reconciler-type=none",
        f"--tls-cert-file={pki}/apiserver.crt",
        f"--tls-private-key-file={pki}/apiserver.key",
        f"--cert-dir={pki}",
        f"--client-ca-file={pki}/ca.crt",
        f"--authentication-config={home.run}/authentication.yaml",
        "--authorization-mode=Node,RBAC",
        "--enable-admission-plugins=NodeRestriction",
        f"--admission-control-config-file={home.run}/admission.yaml",
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
    ]


def _manager_flags(pki: Path) -> list[str]:
    return [
        f"--kubeconfig={pki}/controller-manager.kubeconfig",
        "--leader-elect=false",
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
