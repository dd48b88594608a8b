"""Where the API is and how we prove who we are: kubeconfig files, and the in-cluster account.

    load("~/.kube/config", context="lab")   -> Access
    in_cluster()                            -> Access

``Access.transport`` makes the connection. Understood: server, certificate authority, client
certificate and key (inline or files), tokens (inline or a file, read again as it rotates), exec
plugins (ExecCredential v1 and v1beta1; token or certificate), tls-server-name and
insecure-skip-tls-verify. Not understood, and refused: proxies, passwords, auth providers.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
import os
import ssl
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from drover.api.status import Unanswered
from drover.base.clock import Clock, parse_rfc3339
from drover.runtime.http_transport import HttpTransport

if TYPE_CHECKING:
    from drover.runtime.http_transport import Token

ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
TOKEN_READ_AGAIN_S = 60.0
EXEC_S = 60.0
REFUSED = ("username", "password", "auth-provider")


class BadKubeconfig(Exception):
    """The file is missing, or says something we cannot follow."""


@dataclass(frozen=True)
class ExecPlugin:
    """A command that prints an ExecCredential."""

    argv: tuple[str, ...]
    env: tuple[tuple[str, str], ...]
    api_version: str


@dataclass(frozen=True)
class Access:
    """How to reach one API server as one user. Certificates and keys are PEM."""

    server: str
    ca: bytes | None = None
    cert: bytes | None = None
    key: bytes | None = None
    token: str = ""
    token_file: Path | None = None
    plugin: ExecPlugin | None = None
    insecure: bool = False
    server_name: str | None = None
    namespace: str = "default"
    more_servers: tuple[str, ...] = ()  # of the same cluster, asked when the first does not answer

    async def transport(self, clock: Clock) -> HttpTransport:
        """A transport to close by the caller; runs the exec plugin once, if there is one."""
        if self.plugin is None:
            return self._connect(self.cert, self.key, self._tokens(clock))
        issued = _Issued(self.plugin, clock)
        first = await issued.credential()
        cert, key = first.get("clientCertificateData"), first.get("clientKeyData")
        token = issued.token if first.get("token") else None
        if cert and key:
            return self._connect(cert.encode(), key.encode(), token)
        return self._connect(self.cert, self.key, token)

    def _connect(self, cert: bytes | None, key: bytes | None, token: Token | None) -> HttpTransport:
        tls = self._tls(cert, key)
        return HttpTransport(self.server, tls, token, self.server_name, self.more_servers)

    def tls(self) -> ssl.SSLContext | None:
        """For a connection beside the transport's, such as a console. Exec plugins' certificates are not in it."""
        return self._tls(self.cert, self.key)

    async def bearer(self, clock: Clock) -> str:
        """The token to show beside ``tls``; empty when there is none."""
        if self.plugin is not None:
            return await _Issued(self.plugin, clock).token()
        token = self._tokens(clock)
        return await token() if token is not None else ""

    def _tls(self, cert: bytes | None, key: bytes | None) -> ssl.SSLContext | None:
        if not self.server.startswith("https:"):
            return None
        context = ssl.create_default_context(cadata=self.ca.decode() if self.ca else None)
        if self.insecure:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        if cert and key:
            # OpenSSL reads key pairs from files only; this one is ours alone and gone at once.
            with tempfile.NamedTemporaryFile() as pair:
                pair.write(cert + b"\n" + key)
                pair.flush()
                context.load_cert_chain(pair.name)
        return context

    def _tokens(self, clock: Clock) -> Token | None:
        if self.token_file is not None:
            return _Read(self.token_file, clock).token
        if self.token:
            return _Fixed(self.token).token
        return None


class _Fixed:
    def __init__(self, text: str) -> None:
        self._text = text

    async def token(self) -> str:
        return self._text


class _Read:
    """A token file, which the kubelet rewrites before the token ends."""

    def __init__(self, path: Path, clock: Clock) -> None:
        self._path = path
        self._clock = clock
        self._text = ""
        self._until_s = 0.0

    async def token(self) -> str:
        if not self._text or self._clock.monotonic() >= self._until_s:
            try:
                self._text = self._path.read_text().strip()  # a small local file
            except OSError as error:
                raise Unanswered(f"cannot read the token: {error}", sent=False) from error
            self._until_s = self._clock.monotonic() + TOKEN_READ_AGAIN_S
        return self._text


class _Issued:
    """Credentials from a plugin, asked for again when they end."""

    def __init__(self, plugin: ExecPlugin, clock: Clock) -> None:
        self._plugin = plugin
        self._clock = clock
        self._status: dict[str, Any] = {}
        self._lock = asyncio.Lock()

    async def token(self) -> str:
        try:
            return str((await self.credential()).get("token") or "")
        except BadKubeconfig as error:
            raise Unanswered(str(error), sent=False) from error

    async def credential(self) -> dict[str, Any]:
        async with self._lock:
            ends = self._status.get("expirationTimestamp")
            if not self._status or (ends and parse_rfc3339(ends) <= self._clock.wall() + 10):
                self._status = await _run(self._plugin)
            return self._status


async def _run(plugin: ExecPlugin) -> dict[str, Any]:
    """The status of the ExecCredential that the plugin prints."""
    asked = {
        "apiVersion": plugin.api_version,
        "kind": "ExecCredential",
        "spec": {"interactive": False},
    }
    env = {**os.environ, **dict(plugin.env), "KUBERNETES_EXEC_INFO": json.dumps(asked)}
    try:
        process = await asyncio.create_subprocess_exec(
            *plugin.argv, env=env, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE
        )
    except OSError as error:
        raise BadKubeconfig(f"exec plugin {plugin.argv[0]}: {error.strerror}") from error
    try:
        async with asyncio.timeout(EXEC_S):
            output, _ = await process.communicate()
        status = json.loads(output)["status"]
    except TimeoutError as error:
        process.kill()
        await process.wait()
        raise BadKubeconfig(f"exec plugin {plugin.argv[0]} took over {EXEC_S:.0f} s") from error
    except (ValueError, KeyError, TypeError) as error:
        raise BadKubeconfig(f"exec plugin {plugin.argv[0]} printed no ExecCredential") from error
    if process.returncode != 0 or not isinstance(status, dict):
        raise BadKubeconfig(f"exec plugin {plugin.argv[0]} failed ({process.returncode})")
    return status


def from_files(
    server: str, ca: Path, cert: Path, key: Path, more_servers: tuple[str, ...] = ()
) -> Access:
    """A client certificate in PEM files."""
    return Access(
        server,
        ca=ca.read_bytes(),
        cert=cert.read_bytes(),
        key=key.read_bytes(),
        more_servers=more_servers,
    )


def in_cluster(account: Path = ACCOUNT) -> Access:
    """The service account of the Pod we run in."""
    host, port = (
        os.environ.get("KUBERNETES_SERVICE_HOST"),
        os.environ.get("KUBERNETES_SERVICE_PORT"),
    )
    if not host or not port or not (account / "token").exists():
        raise BadKubeconfig(
            "not in a cluster: KUBERNETES_SERVICE_HOST or the token file is missing"
        )
    shown = f"[{host}]" if ":" in host else host
    return Access(
        f"https://{shown}:{port}",
        ca=(account / "ca.crt").read_bytes(),
        token_file=account / "token",
        namespace=(account / "namespace").read_text().strip(),
    )


def load(path: Path | str, context: str = "") -> Access:
    """One context of a kubeconfig file; the current one when none is named."""
    path = Path(path).expanduser()
    try:
        content = yaml.safe_load(path.read_text())
    except OSError as error:
        raise BadKubeconfig(f"cannot read {path}: {error.strerror}") from error
    except yaml.YAMLError as error:
        raise BadKubeconfig(f"{path} is no YAML: {error}") from error
    if not isinstance(content, dict):
        raise BadKubeconfig(f"{path} is no kubeconfig")
    chosen = _named(content, "contexts", "context", context or content.get("current-context"), path)
    cluster = _named(content, "clusters", "cluster", chosen.get("cluster"), path)
    user = _named(content, "users", "user", chosen.get("user"), path) if chosen.get("user") else {}
    refused = [field for field in REFUSED if user.get(field)] + ["proxy-url"] * (
        "proxy-url" in cluster
    )
    if refused:
        raise BadKubeconfig(f"{path}: {', '.join(refused)} is not supported")
    return Access(
        str(cluster.get("server") or ""),
        ca=_data(cluster, "certificate-authority", path),
        cert=_data(user, "client-certificate", path),
        key=_data(user, "client-key", path),
        token=str(user.get("token") or ""),
        token_file=path.parent / user["tokenFile"] if user.get("tokenFile") else None,
        plugin=_plugin(user["exec"], path) if user.get("exec") else None,
        insecure=bool(cluster.get("insecure-skip-tls-verify")),
        server_name=cluster.get("tls-server-name"),
        namespace=str(chosen.get("namespace") or "default"),
    )


def _named(content: dict[str, Any], many: str, one: str, name: Any, path: Path) -> dict[str, Any]:
    for entry in content.get(many) or []:
        if entry.get("name") == name and isinstance(entry.get(one), dict):
            return dict(entry[one])
    raise BadKubeconfig(f"{path}: no {one} {name!r}")


def _data(part: dict[str, Any], field: str, path: Path) -> bytes | None:
    """Inline base64, or a file beside the kubeconfig."""
    try:
        if inline := part.get(f"{field}-data"):
            return base64.b64decode(inline, validate=True)
        return (path.parent / part[field]).read_bytes() if part.get(field) else None
    except binascii.Error as error:
        raise BadKubeconfig(f"{path}: {field}-data is no base64") from error
    except OSError as error:
        raise BadKubeconfig(f"{path}: {field}: {error.strerror}") from error


def _plugin(entry: dict[str, Any], path: Path) -> ExecPlugin:
    command = str(entry["command"])
    if "/" in command:
        command = str(path.parent / command)
    env = tuple((item["name"], item["value"]) for item in entry.get("env") or [])
    return ExecPlugin((command, *(entry.get("args") or [])), env, str(entry["apiVersion"]))
