"""``drover token``: bootstrap tokens, with which hosts join. Kubernetes' own kind of Secret, each for one host.

Only ``create`` shows a token's secret half, once.
"""

from __future__ import annotations

import base64
import json
import re
import secrets
import string
from dataclasses import dataclass
from typing import Any

import click

from drover.api import names, scheme
from drover.api.meta import annotations_of
from drover.api.status import AlreadyExists, Conflict, NotFound
from drover.api.wire import Object
from drover.base.clock import parse_rfc3339, rfc3339
from drover.cli.connect import Api, with_api
from drover.cli.drain_plan import duration
from drover.cli.session import PROGRAM, Session, say, say_table
from drover.runtime import csr
from drover.runtime.kubeconfig import load

SPACE = "kube-system"
PREFIX = "bootstrap-token-"
TYPE = "bootstrap.kubernetes.io/token"
MOST_TTL_S = 7 * 86400
_TTL = re.compile(r"([0-9]{1,4})([smhd])")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_LETTERS = string.ascii_lowercase + string.digits


@dataclass(frozen=True)
class Token:
    """What may be shown of one."""

    id: str
    expires: str
    used_by: str
    description: str

    @property
    def left_s(self) -> float:
        return parse_rfc3339(self.expires) if self.expires else 0.0


@click.group(epilog=f"Example: {PROGRAM} token create --ttl 30m")
def token() -> None:
    """Tokens with which hosts join the cluster; each serves one host."""


@token.command(epilog=f"Example: {PROGRAM} token create --ttl 30m --description 'rack 4, host 2'")
@click.option(
    "--ttl", default="1h", show_default=True, help="How long it can be used: 30m, 12h, 2d."
)
@click.option("--description", default="", help="For what; shown by list.")
@click.pass_obj
def create(session: Session, ttl: str, description: str) -> None:
    """Make a token and show the command that a host joins with."""
    ttl_s = seconds(ttl)
    access = load(session.kubeconfig())

    async def work(api: Api) -> str:
        assert access.ca is not None
        await ensure_cluster_info(api, access.server, access.ca)
        return await make(api, ttl_s, description)

    made = with_api(session, work)
    assert access.ca is not None
    say(f"A host joins within {ttl} by this command, as root:")
    say()
    say(f"  drover agent join {access.server} \\")
    say(f"    --token {made} --ca-hash {csr.authority_hash(access.ca)}")


@token.command("list", epilog=f"Example: {PROGRAM} token list -o json")
@click.option("-o", "--output", type=click.Choice(["table", "json"]), default="table")
@click.pass_obj
def list_tokens(session: Session, output: str) -> None:
    """Show the tokens there are, without what makes them work."""
    found, now_s = with_api(session, _listed)
    if output == "json":
        click.echo(json.dumps([vars(one) for one in found], indent=2))
        return
    rows = ["ID      LEFT    USED-BY               DESCRIPTION"]
    for one in found:
        left_s = one.left_s - now_s
        left = duration(left_s) if left_s > 0 else "expired"
        rows.append(f"{one.id:<7} {left:<7} {one.used_by or '-':<21} {one.description}")
    say_table(rows)


@token.command(epilog=f"Example: {PROGRAM} token revoke a1b2c3")
@click.argument("id")
@click.pass_obj
def revoke(session: Session, id: str) -> None:
    """Remove a token; hosts that joined with it stay."""

    async def work(api: Api) -> None:
        name = PREFIX + id.partition(".")[0]
        try:
            await api.client.delete(scheme.SECRET, name, SPACE)
        except NotFound as error:
            raise click.ClickException(
                f"there is no token {id}; `{PROGRAM} token list` shows those there are"
            ) from error

    with_api(session, work)
    say(f"token {id.partition('.')[0]} is revoked")


def seconds(text: str) -> int:
    """Raises ClickException for what is no duration, or too long a one."""
    match = _TTL.fullmatch(text)
    found = int(match.group(1)) * _SECONDS[match.group(2)] if match else 0
    if not 0 < found <= MOST_TTL_S:
        raise click.ClickException(f"--ttl {text!r} is no time from 1s to 7d, such as 30m or 12h")
    return found


async def make(api: Api, ttl_s: int, description: str) -> str:
    """The token, whole."""
    halves = ["".join(secrets.choice(_LETTERS) for _ in range(size)) for size in (6, 16)]
    data = {
        "token-id": halves[0],
        "token-secret": halves[1],
        "expiration": rfc3339(api.clock.wall() + ttl_s),
        "usage-bootstrap-authentication": "true",
        "auth-extra-groups": names.BOOTSTRAP_GROUP,
        "description": description,
    }
    meta = {"name": PREFIX + halves[0], "namespace": SPACE}
    await api.client.create(scheme.SECRET, {"metadata": meta, "type": TYPE, "stringData": data})
    return ".".join(halves)


async def _listed(api: Api) -> tuple[list[Token], float]:
    found, _ = await api.client.list(scheme.SECRET, SPACE, fields=f"type={TYPE}")
    return sorted((shown(one) for one in found), key=lambda one: one.expires), api.clock.wall()


def shown(secret: Object) -> Token:
    """Never the secret half."""
    data = secret.get("data") or {}

    def text(key: str) -> str:
        return base64.b64decode(data.get(key, "")).decode(errors="replace")

    used_by = annotations_of(secret).get(names.TOKEN_USED_ANNOTATION, "").partition(" ")[0]
    return Token(text("token-id"), text("expiration"), used_by, text("description"))


async def ensure_cluster_info(api: Api, server: str, ca: bytes) -> None:
    """ConfigMap cluster-info in kube-public, for all to read: where the API is, and its authority. What is there, as
    in a cluster that kubeadm made, stays."""
    cluster = {"server": server, "certificate-authority-data": base64.b64encode(ca).decode()}
    config: dict[str, Any] = {"apiVersion": "v1", "kind": "Config"}
    config["clusters"] = [{"name": "", "cluster": cluster}]
    meta = {"name": "cluster-info", "namespace": "kube-public"}
    rule = {"apiGroups": [""], "resources": ["configmaps"], "resourceNames": ["cluster-info"]}
    group = "rbac.authorization.k8s.io"
    ours = {"name": "drover-cluster-info", "namespace": "kube-public"}
    role = scheme.Kind(group, "v1", "Role", "roles")
    binding = {
        "metadata": ours,
        "roleRef": {"apiGroup": group, "kind": "Role", "name": ours["name"]},
        "subjects": [{"apiGroup": group, "kind": "User", "name": "system:anonymous"}],
    }
    wanted: list[tuple[scheme.Kind, Object]] = [
        (scheme.CONFIGMAP, {"metadata": meta, "data": {"kubeconfig": json.dumps(config)}}),
        (role, {"metadata": ours, "rules": [{**rule, "verbs": ["get"]}]}),
        (scheme.ROLEBINDING, binding),
    ]
    for kind, obj in wanted:
        try:
            await api.client.create(kind, obj)
        except (AlreadyExists, Conflict):
            continue
