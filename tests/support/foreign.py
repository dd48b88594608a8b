"""A cluster that is not ours: etcd, API server, controller manager and scheduler as an administrator would have set
them up, without a thing of drover's. What a container node and kube-proxy would do is done here, since there is none:
the Pods of the controllers' Deployment become processes in the file system of their image, with that Pod's user,
command, arguments, environment, mounts and ServiceAccount token, and their addresses the endpoints of its Service.
"""

from __future__ import annotations

import contextlib
import datetime
import json
import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tests.support.container import Image
from tests.support.lab import RunningLab, a_home, eventually, require_engine

from drover.lab import credentials, links, processes, start
from drover.lab.home import Home, Settings, claim_index
from drover.lab.processes import SWITCH, Program
from drover.server import parts, supervisor

SPACE, NAME = "drover-system", "drover-controllers"
ACCOUNT = "/run/secrets/kubernetes.io/serviceaccount"
FIRST_ADDRESS = 40  # of the Pods, among the addresses of nodes
# A lab's API server shows its webhook who it is, and lets nobody look around without a name.
_OF_A_LAB = ("--admission-control-config-file=", "--authentication-config=")


@contextlib.contextmanager
def a_foreign_cluster() -> Iterator[RunningLab]:
    """As ``RunningLab``, so that ``k`` is kubectl on it. Removed at the end whatever happened."""
    binary = require_engine("a namespace")
    with a_home("drover-foreign-") as running:
        _start(running.home, binary)
        eventually(lambda: running.k("get", "--raw", "/readyz").code == 0, 60)
        eventually(lambda: running.k("get", "sa", "default").code == 0, 30)
        yield running


def _start(home: Home, binary: Path) -> None:
    home.path.mkdir(mode=0o700)
    settings = Settings(claim_index(home, links.taken_indices(home.lab_id)), nodes=0)
    home.prepare()
    home.store(settings)
    credentials.ensure_all(home, settings, datetime.datetime.now(datetime.UTC))
    plane = home.plane(settings)
    parts.write_configs(plane)
    supervised = [
        _foreign(part)
        for part in parts.control_plane_parts(plane, binary)
        if part.name != "controllers"
    ]
    (home.run / "control-plane.json").write_text(supervisor.encode(supervised, home.logs))
    start.start_parts(home, settings, lambda what, state: None)


def _foreign(part: parts.Part) -> parts.Part:
    if part.name != "apiserver":
        return part
    argv = [word for word in part.argv if not word.startswith(_OF_A_LAB)]
    # Instead of kube-proxy: webhooks are called at the endpoints of their Services.
    return replace(part, argv=(*argv, "--enable-aggregator-routing=true"))


@dataclass(frozen=True)
class Pod:
    """One of the Deployment's, as a process."""

    name: str
    pid: int
    address: str
    log: Path

    def stop(self) -> None:
        """As the kubelet would: SIGTERM, and half a minute to end."""
        os.kill(self.pid, signal.SIGTERM)
        eventually(lambda: not Path(f"/proc/{self.pid}").exists(), 30)


@contextlib.contextmanager
def deployed(cluster: RunningLab, image: Image, directory: Path) -> Iterator[list[Pod]]:
    """The Pods of the controllers' Deployment, as many as it says, and the endpoints of their Service."""
    said = cluster.k("get", "deployment", NAME, "-n", SPACE, "-o", "json")
    assert said.code == 0, said.err
    deployment = json.loads(said.out)
    _publish_volumes(cluster, deployment["spec"]["template"]["spec"], directory)
    pods: list[Pod] = []
    try:
        for number in range(deployment["spec"]["replicas"]):
            spec = deployment["spec"]["template"]["spec"]
            pods.append(_run(cluster, image, spec, number, directory))
        cluster.apply(_endpoints([pod.address for pod in pods]))
        yield pods
    finally:
        for pod in pods:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pod.pid, signal.SIGKILL)


def _publish_volumes(cluster: RunningLab, spec: dict[str, Any], directory: Path) -> None:
    """The ConfigMap and the ServiceAccount's token, as files."""
    (directory / "config").mkdir(parents=True)
    (directory / "account").mkdir()
    (source,) = [v["configMap"]["name"] for v in spec["volumes"] if "configMap" in v]
    for file, text in cluster.get("configmap", source, "-n", SPACE)["data"].items():
        (directory / "config" / file).write_text(text)
    said = cluster.k("create", "token", spec["serviceAccountName"], "-n", SPACE)
    assert said.code == 0, said.err
    files = {
        "token": said.out.strip(),
        "namespace": SPACE,
        "ca.crt": (cluster.home.pki / "ca.crt").read_text(),
    }
    for file, text in files.items():
        (directory / "account" / file).write_text(text)


def _run(
    cluster: RunningLab, image: Image, spec: dict[str, Any], number: int, directory: Path
) -> Pod:
    (container,) = spec["containers"]
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    topology = cluster.lab.settings().topology
    name = f"controllers-{number}"
    argv = image.argv(
        spec["securityContext"]["runAsUser"],
        container["command"] + container["args"],
        ["/run", mounts["storage"]],
        mounts["keys"],
    )
    program = Program(
        name,
        tuple(argv),
        directory / f"{name}.log",
        hostname=name,
        tmpfs=("/run",),
        directories=(mounts["keys"],),
        binds=((f"{directory}/config", mounts["config"]), (f"{directory}/account", ACCOUNT)),
        env={
            **image.environment,
            "KUBERNETES_SERVICE_HOST": topology.control_plane,
            "KUBERNETES_SERVICE_PORT": "6443",
            **{entry["name"]: entry["value"] for entry in container["env"]},
        },
    )
    place = FIRST_ADDRESS + number
    switch = processes.inits(cluster.home.lab_id)[SWITCH]
    with processes.launch(cluster.home.lab_id, program) as pid:
        links.plug_node(switch, pid, name, place, topology)
    return Pod(name, pid, topology.node_address(place), program.log)


def _endpoints(addresses: list[str]) -> str:
    return json.dumps(
        {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {
                "name": f"{NAME}-by-hand",
                "namespace": SPACE,
                "labels": {"kubernetes.io/service-name": NAME},
            },
            "addressType": "IPv4",
            "ports": [{"name": "webhook", "port": 9443, "protocol": "TCP"}],
            "endpoints": [
                {"addresses": [address], "conditions": {"ready": True}} for address in addresses
            ],
        }
    )
