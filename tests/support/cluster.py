"""A control plane with all manifests applied, and everybody who talks to it.

What the tests make they leave behind under names of their own; the control plane ends with the
session.
"""

from __future__ import annotations

import asyncio
import itertools
import secrets
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio
from tests.api import samples

from drover.api import names, scheme, status
from drover.api.status import error_from
from drover.api.wire import Object, Request
from drover.base.clock import RealClock
from drover.runtime.client import Client

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.support.engine import Engine

    from drover.api.scheme import Kind
    from drover.runtime.transport import Transport

_RUN = secrets.token_hex(2)  # a control plane may outlive a run when tests are being written
_NUMBERS = itertools.count(1)
_EDITOR_ROLES = (
    "drover-view",
    "drover-edit",
    "system:aggregate-to-view",
    "system:aggregate-to-edit",
)
EDITOR = "alice"


class Caller(Client):
    """A client that can also ask what would happen."""

    def __init__(self, transport: Transport) -> None:
        super().__init__(transport)
        self._dry = transport

    async def create_dry(self, kind: Kind, obj: Object) -> Object:
        """Validated and admitted like a real one, and not stored."""
        return await self._try(
            "POST", kind.path(obj["metadata"].get("namespace", "")), _whole(kind, obj)
        )

    async def put_dry(self, kind: Kind, obj: Object) -> Object:
        """The same in the place of one that is there: of some kinds there is one object only."""
        try:
            return await self.create_dry(kind, obj)
        except status.AlreadyExists:
            found = await self.get(kind, obj["metadata"]["name"])
        meta = {**obj["metadata"], "resourceVersion": found["metadata"]["resourceVersion"]}
        path = kind.path("", meta["name"])
        return await self._try("PUT", path, _whole(kind, {**obj, "metadata": meta}))

    async def _try(self, verb: str, path: str, body: Object) -> Object:
        query = {"dryRun": "All", "fieldValidation": "Strict"}
        answer = await self._dry.send(Request(verb, path, query, body))
        if answer.status >= 300:
            raise error_from(answer.status, answer.body)
        made: Object = answer.body
        return made


def _whole(kind: Kind, obj: Object) -> Object:
    return {"apiVersion": kind.api_version, "kind": kind.kind, **obj}


class Cluster:
    """One caller per identity."""

    def __init__(self, transports: dict[str, Transport]) -> None:
        self.admin = Caller(transports["admin"])
        self.controllers = Caller(transports["controllers"])
        self.node_a = Caller(transports["node-a"])
        self.node_b = Caller(transports["node-b"])
        self.scheduler = Caller(transports["scheduler"])
        self.collector = Caller(transports["collector"])
        self.editor = Caller(transports["editor"])

    def name(self, start: str) -> str:
        return f"{start}-{_RUN}-{next(_NUMBERS)}"

    async def make(self, kind: Kind, obj: Object, by: Caller | None = None) -> Object:
        """Create it, as the controllers unless told otherwise."""
        return await (by or self.controllers).create(kind, obj)

    async def a_sample(self, kind: Kind) -> Object:
        """A new object of one of the users' kinds."""
        meta: Object = {"name": self.name("sample")}
        if kind.namespaced:
            meta["namespace"] = "default"
        return await self.admin.create(
            kind, {"metadata": meta, "spec": samples.works(kind.kind)[0]}
        )

    async def prepare(self) -> None:
        """Who the tests are about: two nodes, and a user who may edit a namespace."""
        for node, caller in (("node-a", self.node_a), ("node-b", self.node_b)):
            await _once(caller, scheme.NODE, {"metadata": {"name": node}})
        for role in _EDITOR_ROLES:
            await _once(self.admin, scheme.ROLEBINDING, _binding("default", role))
        # More than users get, so that only the policy stands between them and a node's Lease.
        await _once(self.admin, scheme.CLUSTERROLE, _LEASE_EDITOR)
        await _once(
            self.admin, scheme.ROLEBINDING, _binding("kube-node-lease", "test-lease-editor")
        )
        await self._policies_hold()

    async def _policies_hold(self) -> None:
        """The API server takes new policies up a moment after they were made."""
        lease = {
            "metadata": {"name": "x", "namespace": "default"},
            "spec": {"holder": "", "epoch": 0},
        }
        async with asyncio.timeout(20):
            while True:
                try:
                    await self.admin.create_dry(scheme.VML, lease)
                except status.Forbidden:
                    return
                await asyncio.sleep(0.1)


_LEASE_EDITOR: Object = {
    "metadata": {"name": "test-lease-editor"},
    "rules": [{"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["*"]}],
}


def _binding(namespace: str, role: str) -> Object:
    group = "rbac.authorization.k8s.io"
    return {
        "metadata": {"name": f"test-{role.replace(':', '-')}", "namespace": namespace},
        "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": role},
        "subjects": [{"apiGroup": group, "kind": "User", "name": EDITOR}],
    }


async def _once(who: Caller, kind: Kind, obj: Object) -> None:
    with suppress(status.AlreadyExists):
        await who.create(kind, obj)


IDENTITIES = {
    "admin": ("drover-admin", ("system:masters",)),
    "controllers": (names.CONTROLLERS_USER, (names.CONTROLLERS_USER,)),
    "node-a": (names.NODE_USER_PREFIX + "node-a", (names.NODES_GROUP,)),
    "node-b": (names.NODE_USER_PREFIX + "node-b", (names.NODES_GROUP,)),
    "scheduler": ("system:kube-scheduler", ()),
    "collector": ("system:serviceaccount:kube-system:generic-garbage-collector", ()),
    "editor": (EDITOR, ()),
}


@asynccontextmanager
async def everybody(engine: Engine) -> AsyncIterator[Cluster]:
    async with AsyncExitStack() as stack:
        transports = {}
        for who, (user, groups) in IDENTITIES.items():
            transport = await engine.access(user, groups).transport(RealClock())
            stack.push_async_callback(transport.aclose)
            transports[who] = transport
        yield Cluster(transports)


@pytest.fixture(scope="session")
def prepared(engine: Engine) -> Engine:
    async def prepare() -> None:
        async with everybody(engine) as cluster:
            await cluster.prepare()

    asyncio.run(prepare())
    return engine


@pytest_asyncio.fixture
async def cluster(prepared: Engine) -> AsyncIterator[Cluster]:
    async with everybody(prepared) as made:
        yield made
