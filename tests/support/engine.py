"""A real control plane of its own for one test session: etcd, API server, controller manager and
scheduler of the engine binary, on loopback ports, with everything under one temporary directory.

``DROVER_ENGINE`` names the binary; tests that want the fixture ``engine`` carry the marker of
that name and are skipped without it. ``Engine.access(user, groups)`` gives the credentials of any
identity, signed on the spot. Our manifests are applied. At the end every process is stopped and
the directory is removed.
"""

from __future__ import annotations

import asyncio
import datetime
import json
import os
import shutil
import socket
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from drover.base.clock import RealClock
from drover.runtime import kubeconfig
from drover.runtime.client import Client
from drover.runtime.pki import Leaf, ensure_authority, ensure_key, ensure_leaf
from drover.server.bootstrap import apply_manifests, wait_api, wait_service_account
from drover.server.credentials import write_kubeconfig
from drover.server.parts import SERVICE_RANGE, concurrency_flags

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

ADMIN = ("drover-admin", ("system:masters",))
START_S = 120.0


class Engine:
    """One running control plane."""

    def __init__(self, binary: Path, directory: Path, node_grace_s: int = 6) -> None:
        """``node_grace_s``: so long after its last renewal a Node becomes Unknown."""
        self._binary = binary
        self._node_grace_s = node_grace_s
        self.directory = directory
        self._pki = directory / "pki"
        self._children: list[subprocess.Popen[bytes]] = []
        self._etcd_port, self._peer_port, self._api_port = _free_ports(3)
        self.server = f"https://127.0.0.1:{self._api_port}"
        self.etcd = f"http://127.0.0.1:{self._etcd_port}"
        self._authority = ensure_authority(self._pki, "ca", _now())
        self._leaves: dict[str, kubeconfig.Access] = {}

    def start(self) -> None:
        """Start all four parts and wait until Pods can be created."""
        self._write_credentials()
        self._spawn("etcd", [f"--config-file={self._write_etcd_config()}"])
        self._spawn("apiserver", self._apiserver_flags())
        asyncio.run(self._wait_ready())

    def leave_etcd(self) -> None:
        """Stop all parts but etcd, whose content may be changed then; ``again`` starts them."""
        for child in reversed(self._children[1:]):
            child.kill()
            child.wait()
        del self._children[1:]

    async def again(self) -> None:
        """Start what ``leave_etcd`` has stopped."""
        self._spawn("apiserver", self._apiserver_flags())
        await self._wait_ready()

    async def _wait_ready(self) -> None:
        clock = RealClock()
        transport = await self.access(*ADMIN).transport(clock)
        try:
            await wait_api(transport, clock, START_S, self._check_children)
            # Only now: on a busy machine the manager gives up before the API server is ready.
            self._spawn("controller-manager", self._manager_flags())
            scheduler = ["--leader-elect=false", "--secure-port=0"]
            self._spawn("scheduler", [f"--kubeconfig={self._pki}/scheduler.kubeconfig", *scheduler])
            client = Client(transport)
            await apply_manifests(client, clock)
            await wait_service_account(client, clock, START_S)
        finally:
            await transport.aclose()

    def _check_children(self) -> None:
        for child in self._children:
            if child.poll() is not None:
                raise RuntimeError(f"a part of the engine ended: {child.args!r}")

    def access(self, user: str, groups: Iterable[str] = ()) -> kubeconfig.Access:
        """Credentials of an identity: ``await engine.access(...).transport(clock)``."""
        organizations = tuple(groups)
        key = "_".join((user, *organizations)).replace(":", "-").replace("/", "-")
        if key not in self._leaves:
            cert, pem = self.files(user, organizations)
            self._leaves[key] = kubeconfig.from_files(self.server, self.ca, cert, pem)
        return self._leaves[key]

    @property
    def ca(self) -> Path:
        return self._pki / "ca.crt"

    def files(self, user: str, groups: Iterable[str] = (), server: str = "") -> tuple[Path, Path]:
        """Certificate and key of an identity, or of a server with that name or address."""
        organizations = tuple(groups)
        key = "_".join((user, *organizations)).replace(":", "-").replace("/", "-")
        cert, pem = self._pki / f"{key}.crt", self._pki / f"{key}.key"
        organization = organizations[0] if organizations else ""
        names = (server,) if server else ()
        leaf = Leaf(cert, pem, user, organization, names, server=bool(server), client=not server)
        ensure_leaf(self._authority, leaf, _now())
        return cert, pem

    def pids(self) -> dict[str, int]:
        """Of its living parts."""
        return {str(child.args[1]): child.pid for child in self._children}  # type: ignore[index]

    def kubeconfig(self, user: str, groups: Iterable[str] = ()) -> Path:
        """The same in a file, for programs that take one."""
        cert, key = self.files(user, groups)
        who = {"client-certificate": str(cert), "client-key": str(key)}
        at = {"server": self.server, "certificate-authority": str(self.ca)}
        content = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "engine", "cluster": at}],
            "users": [{"name": "user", "user": who}],
            "contexts": [{"name": "engine", "context": {"cluster": "engine", "user": "user"}}],
            "current-context": "engine",
        }
        path = self.directory / f"{user.replace(':', '-')}.kubeconfig"
        path.write_text(json.dumps(content))
        return path

    def kubectl(self, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """The engine's own kubectl as an administrator."""
        config = self.kubeconfig(*ADMIN)
        options = [f"--kubeconfig={config}", f"--cache-dir={self.directory / 'kubectl'}"]
        return subprocess.run(
            [str(self._binary), "kubectl", *options, *arguments],
            input=stdin,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def stop(self) -> None:
        """Kill what was started, last first, and reap it. Nothing of it is kept, so none may
        linger.
        """
        for child in reversed(self._children):
            child.kill()
            child.wait()
        self._children.clear()

    def _spawn(self, part: str, flags: list[str]) -> None:
        with (self.directory / f"{part}.log").open("wb") as log:
            self._children.append(
                subprocess.Popen(
                    [str(self._binary), part, *flags],
                    stdout=log,
                    stderr=log,
                    stdin=subprocess.DEVNULL,
                    start_new_session=True,  # Ctrl-C reaches pytest alone, which stops us in order
                )
            )

    def _write_credentials(self) -> None:
        ensure_key(self._pki / "service-accounts.key")
        names = ("kubernetes", "kubernetes.default.svc", "127.0.0.1")
        for leaf in (
            self._leaf("apiserver", "apiserver", names=names, server=True),
            self._leaf("controller-manager", "system:kube-controller-manager", client=True),
            self._leaf("scheduler", "system:kube-scheduler", client=True),
        ):
            ensure_leaf(self._authority, leaf, _now())
        for user in ("controller-manager", "scheduler"):
            write_kubeconfig(self._pki / f"{user}.kubeconfig", self._pki, user, self.server)

    def _leaf(
        self,
        file: str,
        common_name: str,
        names: tuple[str, ...] = (),
        *,
        server: bool = False,
        client: bool = False,
    ) -> Leaf:
        cert, key = self._pki / f"{file}.crt", self._pki / f"{file}.key"
        return Leaf(cert, key, common_name, names=names, server=server, client=client)

    def _write_etcd_config(self) -> Path:
        client, peer = self.etcd, f"http://127.0.0.1:{self._peer_port}"
        config = {
            "name": "drover",
            "data-dir": str(self.directory / "etcd"),
            "listen-client-urls": client,
            "advertise-client-urls": client,
            "listen-peer-urls": peer,
            "initial-advertise-peer-urls": peer,
            "initial-cluster": f"drover={peer}",
            "log-level": "warn",
            # Nanoseconds; without it a configuration *file* means 0, and every request is logged.
            "warning-unary-request-duration": 300_000_000,
        }
        path = self.directory / "etcd.yaml"
        path.write_text(json.dumps(config))
        return path

    def _apiserver_flags(self) -> list[str]:
        pki = self._pki
        return [
            f"--etcd-servers={self.etcd}",
            "--bind-address=127.0.0.1",
            "--advertise-address=127.0.0.1",
            f"--secure-port={self._api_port}",
            "--endpoint-reconciler-type=none",
            f"--tls-cert-file={pki}/apiserver.crt",
            f"--tls-private-key-file={pki}/apiserver.key",
            f"--cert-dir={pki}",
            f"--client-ca-file={pki}/ca.crt",
            "--authorization-mode=Node,RBAC",
            "--enable-admission-plugins=NodeRestriction",
            "--enable-bootstrap-token-auth",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-key-file={pki}/service-accounts.pub",
            f"--service-account-signing-key-file={pki}/service-accounts.key",
            f"--service-cluster-ip-range={SERVICE_RANGE}",
            "--profiling=false",
            *concurrency_flags(),
        ]

    def _manager_flags(self) -> list[str]:
        pki = self._pki
        return [
            f"--kubeconfig={pki}/controller-manager.kubeconfig",
            "--leader-elect=false",
            "--secure-port=0",
            "--use-service-account-credentials",
            f"--service-account-private-key-file={pki}/service-accounts.key",
            f"--root-ca-file={pki}/ca.crt",
            f"--cluster-signing-cert-file={pki}/ca.crt",
            f"--cluster-signing-key-file={pki}/ca.key",
            # A node whose Lease is not renewed becomes Unknown, found within 1 s.
            "--node-monitor-period=1s",
            f"--node-monitor-grace-period={self._node_grace_s}s",
        ]

    def logs(self) -> str:
        """The last lines of each part, for a failed start."""
        ends = [
            f"--- {path.stem}\n" + "\n".join(path.read_text(errors="replace").splitlines()[-8:])
            for path in sorted(self.directory.glob("*.log"))
        ]
        return "\n".join(ends)


def _free_ports(count: int) -> list[int]:
    """Ports that were free a moment ago; all are held at once, so that they differ."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    try:
        return [int(one.getsockname()[1]) for one in sockets]
    finally:
        for one in sockets:
            one.close()


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)


async def connections_closed() -> None:
    """The last act of a loop's only user: TLS connections say good-bye first, and a loop that closes before leaves them
    to the collector, who complains."""
    selector = asyncio.get_running_loop()._selector  # type: ignore[attr-defined]
    async with asyncio.timeout(START_S):
        while len(selector.get_map()) > 1:  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0.02)


@pytest.fixture(scope="session")
def engine() -> Iterator[Engine]:
    """The control plane of this session. About five seconds to start."""
    binary = os.environ.get("DROVER_ENGINE", "")
    if not binary:
        pytest.skip("DROVER_ENGINE names no engine binary; ./test sets it")
    directory = Path(tempfile.mkdtemp(prefix="drover-engine-"))
    running = Engine(Path(binary), directory)
    try:
        try:
            running.start()
        except BaseException as error:
            error.add_note(running.logs())
            raise
        yield running
    finally:
        running.stop()
        shutil.rmtree(directory)
