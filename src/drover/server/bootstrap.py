"""What a fresh API server needs before it serves a lab, and how we know that it does.

All of it can be repeated at any time: manifests are put only when their hash differs from the one noted in the
ConfigMap ``drover-manifests``, and the note is written last, so a crash half way only means to begin again.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Awaitable, Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from drover import __version__
from drover.api import manifest_files, names, scheme
from drover.api.scheme import Kind
from drover.api.status import AlreadyExists, ApiError, Conflict, NotFound, Unanswered
from drover.api.wire import Object, Request
from drover.base.clock import Clock, parse_rfc3339
from drover.base.tasks import all_of
from drover.runtime.client import Client
from drover.runtime.transport import Transport
from drover.server.errors import ControlPlaneError

BUILTIN_IMAGE = "drover-linux"
NODE_GROUP = "worker"
_NOTE = "drover-manifests"
_POLL_S = 0.1
_KINDS = {(kind.api_version, kind.kind): kind for kind in scheme.ALL}


async def until(
    clock: Clock, limit_s: float, what: str, check: Callable[[], Awaitable[bool]]
) -> None:
    """Poll until ``check`` holds; refusals and silence count as "not yet". Raises ControlPlaneError."""
    deadline = clock.monotonic() + limit_s
    last = ""
    while clock.monotonic() < deadline:
        try:
            if await check():
                return
            last = ""
        except (ApiError, Unanswered) as error:
            last = f": {error}"
        await clock.sleep(_POLL_S)
    raise ControlPlaneError(f"{what} within {limit_s:.0f} s{last}")


async def wait_api(
    transport: Transport, clock: Clock, limit_s: float, hopeless: Callable[[], None]
) -> None:
    """Until the API server says that it is ready; ``hopeless`` raises when there is no point in waiting."""

    async def ready() -> bool:
        hopeless()
        return (await transport.send(Request("GET", "/readyz", timeout_s=2.0))).status == 200

    await until(clock, limit_s, "the API server is not ready", ready)


async def wait_service_account(client: Client, clock: Clock, limit_s: float) -> None:
    """Until Pods can be created in the namespace default."""

    async def there() -> bool:
        await client.get(scheme.SERVICEACCOUNT, "default", "default")
        return True

    await until(clock, limit_s, "there is no default ServiceAccount", there)


async def apply_manifests(client: Client, clock: Clock) -> bool:
    """Put every manifest: kinds first, then what uses them. True when there was something to do.

    Those of a later version stay: servers are upgraded one after the other, and an old one may start meanwhile.
    """
    digest = _manifests_digest()
    noted = await _noted(client)
    if noted.get("sha256") == digest or _release(noted.get("version", "")) > _release(__version__):
        return False
    objects = manifest_files.load()
    kinds = [obj for obj in objects if obj["kind"] == scheme.CRD.kind]
    spaces = [obj for obj in objects if obj["kind"] == scheme.NAMESPACE.kind]
    rest = [obj for obj in objects if obj not in kinds and obj not in spaces]
    await all_of(*(upsert(client, obj) for obj in [*kinds, *spaces]))
    await until(clock, 20, "the kinds are not established", lambda: _established(client, kinds))
    await all_of(*(_upsert_when_served(client, clock, obj) for obj in rest))
    note = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": _NOTE, "namespace": "kube-system"},
        "data": {"sha256": digest, "version": __version__},
    }
    await upsert(client, note)
    return True


def _manifests_digest() -> str:
    """Of the files, since parsing them takes longer than a start may."""
    digest = hashlib.sha256()
    for path in sorted(manifest_files.ROOT.rglob("*.yaml")):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


async def _noted(client: Client) -> dict[str, str]:
    try:
        note = await client.get(scheme.CONFIGMAP, _NOTE, "kube-system")
    except NotFound:
        return {}
    return dict(note.get("data") or {})


def _release(version: str) -> tuple[int, ...]:
    """To compare by; of what is no version nothing is later."""
    return tuple(int(part) for part in version.split(".") if part.isdigit())


async def _established(client: Client, kinds: Iterable[Object]) -> bool:
    wanted = {str(kind["metadata"]["name"]) for kind in kinds}
    found, _ = await client.list(scheme.CRD)
    return wanted <= {crd["metadata"]["name"] for crd in found if _condition(crd, "Established")}


def _condition(obj: Object, kind: str) -> bool:
    conditions: list[dict[str, Any]] = obj.get("status", {}).get("conditions") or []
    return any(entry["type"] == kind and entry["status"] == "True" for entry in conditions)


async def _upsert_when_served(client: Client, clock: Clock, obj: Object) -> None:
    """A kind is served a moment after it is established: a 404 on create means "not yet"."""

    async def put() -> bool:
        await upsert(client, obj)
        return True

    await until(clock, 15, f"{obj['kind']} {obj['metadata']['name']} cannot be put", put)


# Objects that are there to be changed: an upgrade leaves them as their administrator has made them.
_ADMINISTRATORS = (scheme.DESCHEDULER,)


async def upsert(client: Client, obj: Object) -> None:
    """Create, or replace what is there. Another writer in between: once more."""
    kind = kind_of(obj)
    meta = obj["metadata"]
    for _ in range(5):
        try:
            await client.create(kind, obj)
            return
        except AlreadyExists:
            if kind in _ADMINISTRATORS:
                return
        try:
            found = await client.get(kind, meta["name"], meta.get("namespace", ""))
            kept = {key: found["metadata"][key] for key in ("uid", "resourceVersion")}
            await client.replace(kind, {**obj, "metadata": {**meta, **kept}})
            return
        except (Conflict, NotFound):
            continue
    raise ControlPlaneError(f"{kind.kind} {meta['name']} is changed by somebody else all the time")


def kind_of(obj: Object) -> Kind:
    """The registered kind, or one with the usual plural, such as Role."""
    known = _KINDS.get((obj["apiVersion"], obj["kind"]))
    if known:
        return known
    group, _, version = str(obj["apiVersion"]).rpartition("/")
    plural = str(obj["kind"]).lower() + "s"
    return Kind(group, version, obj["kind"], plural, "namespace" in obj["metadata"])


async def _make_unless_there(client: Client, kind: Kind, obj: Object) -> None:
    """What is there stays as it is."""
    with contextlib.suppress(AlreadyExists):
        await client.create(kind, obj)


async def ensure_builtin_image(client: Client, image: Path) -> None:
    """The tiny Linux that comes with drover, as a ClusterVirtualImage."""
    obj = {
        "metadata": {"name": BUILTIN_IMAGE},
        "spec": {"dataSource": {"type": "HTTP", "http": {"url": image.as_uri()}}},
    }
    await _make_unless_there(client, scheme.CVIMAGE, obj)


async def ensure_module_config(client: Client) -> None:
    """The object that holds the settings, without any; what an administrator wrote there stays."""
    obj = {
        "metadata": {"name": names.MODULE_CONFIG},
        "spec": {"enabled": True, "version": 1},
    }
    await _make_unless_there(client, scheme.MODULECONFIG, obj)


async def ensure_node_group(client: Client) -> None:
    """The group of all nodes of the lab; what an administrator wrote there stays."""
    obj = {
        "metadata": {"name": NODE_GROUP},
        "spec": {"nodeType": "Static"},
    }
    await _make_unless_there(client, scheme.NODEGROUP, obj)


async def wait_nodes(
    client: Client,
    clock: Clock,
    wanted: Sequence[str],
    since_wall_s: float,
    ready: Callable[[str], None],
    last_words: Callable[[str], str],
    limit_s: float,
) -> None:
    """Until every node is Ready and has renewed its Lease after ``since_wall_s``. Raises ControlPlaneError with the
    last words of those that are not.

    The Ready condition alone proves nothing after a restart: it is what the last life left behind.
    """
    left = set(wanted)

    async def all_ready() -> bool:
        leases, _ = await client.list(scheme.LEASE, names.NODE_LEASE_NAMESPACE)
        nodes, _ = await client.list(scheme.NODE)
        alive = {lease["metadata"]["name"] for lease in leases if _renewed(lease) >= since_wall_s}
        good = {node["metadata"]["name"] for node in nodes if _condition(node, "Ready")}
        for name in sorted(left & alive & good):
            left.discard(name)
            ready(name)
        return not left

    try:
        await until(clock, limit_s, "nodes are not ready", all_ready)
    except ControlPlaneError as error:
        words = "; ".join(f"{name} says: {last_words(name)}" for name in sorted(left))
        raise ControlPlaneError(f"{', '.join(sorted(left))}: {error}. {words}") from error


def _renewed(lease: Object) -> float:
    text = lease.get("spec", {}).get("renewTime")
    return parse_rfc3339(text) if text else 0.0
