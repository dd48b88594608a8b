"""A host becomes a node: it learns whom to trust, gets its certificates, and writes its agent's configuration.

    1. ConfigMap cluster-info, over a connection that trusts nobody: the authority. Its hash is compared with the one
       that the operator brought by another way; from here on nothing is believed that this authority has not signed.
    2. with the token: a certificate of the identity system:node:NAME. The token is this host's from here on.
    3. with that identity: certificates of its endpoints and of migration streams, and what the cluster's VMs share.
    4. the configuration, last and at once. Until it is there the host has not joined.

Every step may be repeated: keys stay, and with the same key the former answer is found again. A join that broke off
goes on where it was. It does not promise that the agent starts: that is the service's part.
"""

from __future__ import annotations

import base64
import hashlib
import re
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from drover.agent.config import AgentConfig
from drover.agent.servers import known
from drover.api import names, scheme
from drover.api.status import ApiError, Forbidden, NotFound, Unanswered, Unauthorized
from drover.api.wire import Request
from drover.base import config_file
from drover.base.clock import Clock
from drover.runtime import certificates, csr, pki
from drover.runtime.client import Client
from drover.runtime.http_transport import HttpTransport
from drover.runtime.kubeconfig import Access, from_files
from drover.runtime.server_clock import clock_fault, server_time

CLUSTER_INFO = "/api/v1/namespaces/kube-public/configmaps/cluster-info"
LIMIT_S = 30.0
CONFIG_FILE = "agent.toml"
USES = ("digital signature", "key encipherment")
SERVES, ASKS = "server auth", "client auth"
_TOKEN = re.compile(r"[a-z0-9]{6}\.[a-z0-9]{16}")
_HASH = re.compile(r"sha256:[0-9a-f]{64}")


class JoinError(Exception):
    """The host did not join; ``str()`` says why and how to go on."""


@dataclass(frozen=True)
class Wanted:
    """What the operator says. ``directory`` holds configuration and keys."""

    server: str
    token: str
    ca_hash: str
    node: str
    address: str
    disks_dir: str
    directory: Path
    state_dir: str = "/var/lib/drover"
    run_dir: str = "/run/drover"

    @property
    def config_file(self) -> Path:
        return self.directory / CONFIG_FILE

    @property
    def pki(self) -> Path:
        return self.directory / "pki"


Progress = Callable[[str], None]


def check(wanted: Wanted) -> None:
    """What can be known before anything is asked. Raises JoinError."""
    if not re.fullmatch(r"https://[^/]+", wanted.server):
        raise JoinError(
            f"{wanted.server} is no address of an API server, such as https://10.0.0.1:6443"
        )
    if not _TOKEN.fullmatch(wanted.token):
        raise JoinError(
            "the token is not one: 6 characters, a point, 16 characters, as `drover token create` shows it"
        )
    if not _HASH.fullmatch(wanted.ca_hash):
        raise JoinError(
            "the hash of the authority is not one: sha256: and 64 digits, as `drover token create` shows it"
        )
    if wanted.config_file.exists():
        try:
            node = config_file.load(wanted.config_file, AgentConfig).node
        except config_file.BadConfig as error:
            raise JoinError(f"{error}: mend it, or remove the file and join again") from error
        raise JoinError(
            f"this host has joined as {node} ({wanted.config_file}); to join anew drain it, stop its agent and "
            "remove that file"
        )


async def join(wanted: Wanted, clock: Clock, progress: Progress) -> AgentConfig:
    """Raises JoinError."""
    check(wanted)
    theirs_s = await server_time(wanted.server)
    if theirs_s is not None and (fault := clock_fault(wanted.server, theirs_s, clock.wall())):
        raise JoinError(fault)
    try:
        ca = await _authority(wanted)
        progress("the cluster's authority is the one with that hash")
        await _identity(wanted, ca, clock)
        progress(f"this host is node {wanted.node} from now on")
        config = await _rest(wanted, clock)
    except certificates.Refused as error:
        raise JoinError(str(error)) from error
    except Unauthorized as error:
        raise JoinError(
            "the token is wrong, has expired or was revoked; `drover token create` makes a new one"
        ) from error
    except (ApiError, Unanswered) as error:
        raise JoinError(f"{wanted.server}: {error}") from error
    config_file.save(wanted.config_file, config)
    progress(f"wrote {wanted.config_file}")
    return config


async def _authority(wanted: Wanted) -> bytes:
    blind = ssl.create_default_context()
    blind.check_hostname = False
    blind.verify_mode = ssl.CERT_NONE
    transport = HttpTransport(wanted.server, blind)
    try:
        answer = await transport.send(Request("GET", CLUSTER_INFO))
    finally:
        await transport.aclose()
    try:
        config = yaml.safe_load(answer.body["data"]["kubeconfig"])
        ca = base64.b64decode(config["clusters"][0]["cluster"]["certificate-authority-data"])
        found = csr.authority_hash(ca)
    except (KeyError, TypeError, IndexError, ValueError, yaml.YAMLError) as error:
        raise JoinError(
            f"{wanted.server} does not tell its authority (ConfigMap cluster-info in kube-public, answer "
            f"{answer.status}); `drover token create` on the server puts it there"
        ) from error
    if found != wanted.ca_hash:
        raise JoinError(
            f"the authority of {wanted.server} has the hash {found}, not {wanted.ca_hash}: the hash is wrong, or "
            "somebody stands between this host and the server. Nothing was sent there"
        )
    return ca


async def _identity(wanted: Wanted, ca: bytes, clock: Clock) -> None:
    pki.write_private(wanted.pki / "ca.crt", ca)
    had = wanted.pki / "client.crt"
    if had.exists() and pki.ends(had).timestamp() > clock.wall():
        return  # of a join that broke off later
    access = Access(wanted.server, ca=ca, token=wanted.token)
    transport = await access.transport(clock)
    try:
        asked = identity_request(wanted.pki, wanted.node)
        cert = await certificates.obtain(Client(transport), clock, asked, LIMIT_S)
    finally:
        await transport.aclose()
    pki.write_private(had, cert)


async def _rest(wanted: Wanted, clock: Clock) -> AgentConfig:
    own = wanted.pki
    access = from_files(wanted.server, own / "ca.crt", own / "client.crt", own / "client.key")
    transport = await access.transport(clock)
    try:
        client = Client(transport)
        for file, asked in (
            (own / "serving.crt", serving_request(own, wanted.node, wanted.address)),
            (own / "migration" / "cert.pem", migration_request(own, wanted.node, wanted.address)),
        ):
            cert = await certificates.obtain(client, clock, asked, LIMIT_S)
            pki.write_private(file, cert)
        try:
            facts = await client.get(scheme.CONFIGMAP, "drover-cluster", names.SYSTEM_NAMESPACE)
            servers = await known(client)
        except (NotFound, Forbidden) as error:
            raise JoinError(
                "the cluster does not tell what its VMs share (ConfigMap drover-cluster in drover-system): do "
                "drover's controllers run?"
            ) from error
    finally:
        await transport.aclose()
    _place_migration(own / "migration", facts["data"]["migration-ca.crt"])
    return config_of(wanted, facts["data"], servers)


def _place_migration(directory: Path, ca: str) -> None:
    """Under the names that QEMU wants. One pair for both ends."""
    pki.write_private(directory / "ca-cert.pem", ca.encode())
    for side in ("server", "client"):
        for part in ("cert", "key"):
            link = directory / f"{side}-{part}.pem"
            link.unlink(missing_ok=True)
            link.symlink_to(f"{part}.pem")


def config_of(wanted: Wanted, facts: dict[str, Any], servers: tuple[str, ...] = ()) -> AgentConfig:
    return AgentConfig(
        node=wanted.node,
        address=wanted.address,
        api_server=wanted.server,
        more_api_servers=[one for one in servers if one != wanted.server],
        ca_file=f"{wanted.pki}/ca.crt",
        client_cert_file=f"{wanted.pki}/client.crt",
        client_key_file=f"{wanted.pki}/client.key",
        serving_cert_file=f"{wanted.pki}/serving.crt",
        serving_key_file=f"{wanted.pki}/serving.key",
        migration_pki_dir=f"{wanted.pki}/migration",
        state_dir=wanted.state_dir,
        run_dir=wanted.run_dir,
        disks_dir=wanted.disks_dir,
        vm_cidr=facts["vm-cidr"],
        vm_gateway=facts["vm-gateway"],
        renew=True,
    )


def identity_request(directory: Path, node: str) -> certificates.Request:
    leaf = _leaf(directory, "client", names.NODE_USER_PREFIX + node, names.NODES_GROUP)
    return _request(leaf, names.CLIENT_SIGNER, ASKS)


def serving_request(directory: Path, node: str, address: str) -> certificates.Request:
    user = names.NODE_USER_PREFIX + node
    leaf = _leaf(directory, "serving", user, names.NODES_GROUP, (node, address))
    return _request(leaf, names.SERVING_SIGNER, SERVES)


def migration_request(directory: Path, node: str, address: str) -> certificates.Request:
    cert, key = directory / "migration" / "cert.pem", directory / "migration" / "key.pem"
    leaf = pki.Leaf(cert, key, node, names=(node, address))
    return _request(leaf, names.MIGRATION_SIGNER, SERVES, ASKS)


def _leaf(
    directory: Path, file: str, user: str, group: str, named: tuple[str, ...] = ()
) -> pki.Leaf:
    return pki.Leaf(directory / f"{file}.crt", directory / f"{file}.key", user, group, named)


def _request(leaf: pki.Leaf, signer: str, *uses: str) -> certificates.Request:
    """The name tells key, signer and what is certified, so the same question has the same name."""
    pem = csr.make_request(leaf.key, leaf)
    said = " ".join((csr.read_request(pem).key, signer, leaf.common_name, *leaf.names))
    digest = hashlib.sha256(said.encode()).hexdigest()[:20]
    return certificates.Request(f"{names.REQUEST_PREFIX}{digest}", signer, pem, (*USES, *uses))
