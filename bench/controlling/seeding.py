"""Thousands of VMs within seconds: one is made in the ordinary way, and what the API then holds of it is written to
etcd again and again, under other names, uids and addresses.

So every clone is what the controllers, the scheduler and an agent have made of a real one, with all its managedFields.
The clones come to the API server as changes of its store, as those of another API server would.
"""

from __future__ import annotations

import base64
import json
import re
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import aiohttp

from drover.api import names, scheme
from drover.api.scheme import Kind
from drover.api.wire import Object
from drover.base.clock import parse_rfc3339, rfc3339
from drover.runtime.client import Client

NAMESPACE = "default"
VM = "template-vm"
NODE = "template-node"
VM_KINDS = (scheme.VM, scheme.VDISK, scheme.VMIP, scheme.VMIPLEASE, scheme.VML, scheme.POD)
_MOST_OPS = 100
_MOST_BYTES = 900_000
_OTHER_NAMES = {scheme.NODE: "minions"}


@dataclass(frozen=True)
class Template:
    """All objects of one VM or node, as text, and what of it differs from clone to clone."""

    parts: tuple[tuple[Kind, str], ...]
    tokens: re.Pattern[str]
    uids: tuple[str, ...]

    @staticmethod
    def of(objects: Iterable[tuple[Kind, Object]], also: Iterable[str]) -> Template:
        parts, uids = [], []
        for kind, obj in objects:
            meta = {k: v for k, v in obj["metadata"].items() if k != "resourceVersion"}
            whole = {"apiVersion": kind.api_version, "kind": kind.kind, **obj, "metadata": meta}
            parts.append((kind, json.dumps(whole)))
            uids.append(str(meta["uid"]))
        tokens = sorted({*uids, *also}, key=len, reverse=True)
        return Template(tuple(parts), re.compile("|".join(map(re.escape, tokens))), tuple(uids))

    def clone(
        self, name: str, given: dict[str, str], age_s: float = 0.0
    ) -> Iterator[tuple[str, bytes]]:
        """Keys and values for etcd. ``given``: the new text of each token that is no uid. It was made, and everything
        happened to it, ``age_s`` before the template: equal times would be kept once in memory, and no two VMs of a
        real cluster have them.
        """
        fresh = {uid: _uid(f"{name} {number}") for number, uid in enumerate(self.uids)} | given
        for kind, text in self.parts:
            made = self.tokens.sub(lambda found: fresh[found[0]], text)
            made = _TIME.sub(lambda found: _earlier(found[0], age_s), made)
            meta = json.loads(made)["metadata"]
            yield _key(kind, meta.get("namespace", ""), meta["name"]), made.encode()


_TIME = re.compile(r"\b20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ")


def _earlier(at: str, seconds: float) -> str:
    return rfc3339(parse_rfc3339(at) - seconds)


def _uid(text: str) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_OID, text))


def _key(kind: Kind, namespace: str, name: str) -> str:
    plural = _OTHER_NAMES.get(kind, kind.plural)
    builtin = "." not in kind.group or kind.group.endswith("k8s.io")
    group = "" if builtin else f"{kind.group}/"
    return "/".join(part for part in (f"/registry/{group}{plural}", namespace, name) if part)


async def vm_template(client: Client) -> tuple[Template, str]:
    """And the address of that VM."""
    pod_name = next(
        pod["metadata"]["name"]
        for pod in (await client.list(scheme.POD, NAMESPACE, labels=names.VM_NAME_LABEL))[0]
    )
    address = (await client.get(scheme.VM, VM, NAMESPACE))["status"]["ipAddress"]
    dashed = "ip-" + address.replace(".", "-")
    named = {scheme.POD: pod_name, scheme.VMIPLEASE: dashed}
    objects = [
        (kind, await client.get(kind, named.get(kind, VM), NAMESPACE if kind.namespaced else ""))
        for kind in VM_KINDS
    ]
    lease = await client.get(scheme.LEASE, NODE, names.NODE_LEASE_NAMESPACE)
    life = lease["metadata"]["annotations"][names.INCARNATION_ANNOTATION]
    return Template.of(objects, (VM, NODE, address, dashed, life)), address


async def node_template(client: Client) -> Template:
    node = await client.get(scheme.NODE, NODE)
    lease = await client.get(scheme.LEASE, NODE, names.NODE_LEASE_NAMESPACE)
    life = lease["metadata"]["annotations"][names.INCARNATION_ANNOTATION]
    return Template.of([(scheme.NODE, node), (scheme.LEASE, lease)], (NODE, life, "10.67.0.1"))


def disk() -> Object:
    meta = {"name": VM, "namespace": NAMESPACE}
    return {"metadata": meta, "spec": {"persistentVolumeClaim": {"size": "64Mi"}}}


def vm() -> Object:
    return {
        "metadata": {"name": VM, "namespace": NAMESPACE},
        "spec": {
            "runPolicy": "AlwaysOn",
            "virtualMachineClassName": "generic",
            "cpu": {"cores": 1, "coreFraction": "50%"},
            "memory": {"size": "512Mi"},
            "blockDeviceRefs": [{"kind": "VirtualDisk", "name": VM}],
        },
    }


def vm_name(number: int) -> str:
    return f"vm-{number:05}"


def node_name(number: int) -> str:
    return f"node-{number:04}"


def life_of(number: int) -> str:
    return f"life-{number:04}"


def address_of(number: int) -> str:
    number += 1000
    return f"10.{64 + number // 62500}.{number % 62500 // 250}.{number % 250 + 1}"


def everything(
    vms: int, nodes: int, vm: Template, node: Template, address: str, life: str
) -> Iterator[tuple[str, bytes]]:
    """All keys and values. VM number i is on node i modulo ``nodes``."""
    for number in range(nodes):
        home = f"10.67.{201 + number // 250}.{number % 250 + 1}"
        given = {NODE: node_name(number), life: life_of(number), "10.67.0.1": home}
        yield from node.clone(node_name(number), given)
    for number in range(vms):
        home = number % nodes
        mine = address_of(number)
        given = {
            VM: vm_name(number),
            NODE: node_name(home),
            life: life_of(home),
            address: mine,
            "ip-" + address.replace(".", "-"): "ip-" + mine.replace(".", "-"),
        }
        yield from vm.clone(vm_name(number), given, 7.0 * (number + 1))


async def write(etcd: str, pairs: Iterable[tuple[str, bytes]]) -> tuple[int, int]:
    """Put all into etcd; how many, and how many bytes."""
    count = size = 0
    batch: list[dict[str, object]] = []
    batch_bytes = 0
    async with aiohttp.ClientSession() as session:

        async def flush() -> None:
            async with session.post(f"{etcd}/v3/kv/txn", json={"success": batch}) as answer:
                if answer.status != 200:
                    raise RuntimeError(f"etcd refuses: {await answer.text()}")

        for key, value in pairs:
            if len(batch) >= _MOST_OPS or batch_bytes + len(value) > _MOST_BYTES:
                await flush()
                batch, batch_bytes = [], 0
            put = {"key": _b64(key.encode()), "value": _b64(value)}
            batch.append({"requestPut": put})
            batch_bytes += len(value)
            count, size = count + 1, size + len(value)
        if batch:
            await flush()
    return count, size


def _b64(raw: bytes) -> str:
    return base64.b64encode(raw).decode()
