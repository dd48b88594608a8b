"""What a machine with a bootstrap token could make of it: line ``host.join``."""

from __future__ import annotations

import base64
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.controllers.joining.test_decide import JOIN, SERVE

from drover.api import names, scheme, status
from drover.base.clock import RealClock
from drover.controllers.joining.controller import wish_of
from drover.controllers.joining.decide import Deny, Nothing, View, decide
from drover.runtime import csr
from drover.runtime.client import Client
from drover.runtime.pki import Leaf

if TYPE_CHECKING:
    from tests.support.cluster import Cluster
    from tests.support.engine import Engine

pytestmark = pytest.mark.engine


async def test_host_join(engine: Engine, cluster: Cluster, tmp_path: Path) -> None:
    for wish in (
        replace(JOIN, common_name=names.CONTROLLERS_USER, organizations=()),
        replace(JOIN, organizations=("system:masters",)),
        replace(JOIN, dns=("kubernetes.default.svc",)),
        replace(SERVE, user=JOIN.user),
    ):
        assert isinstance(decide(View(wish)), Deny)
    assert isinstance(decide(View(JOIN, nodes=frozenset({"host-4"}))), Deny)
    assert isinstance(decide(View(JOIN, used_by="host-3 k3")), Deny)
    access = engine.access("system:bootstrap:abcdef", ("system:bootstrappers:drover",))
    transport = await access.transport(RealClock())
    try:
        await look_around(Client(transport), cluster, tmp_path)
    finally:
        await transport.aclose()


async def look_around(host: Client, cluster: Cluster, directory: Path) -> None:
    for kind, name, space in (
        (scheme.NODE, "node-a", ""),
        (scheme.SECRET, "bootstrap-token-abcdef", "kube-system"),
        (scheme.CONFIGMAP, "drover-cluster", "drover-system"),
    ):
        with pytest.raises(status.Forbidden):
            await host.get(kind, name, space)
    pem = csr.make_request(directory / "key", Leaf(directory, directory, names.CONTROLLERS_USER))
    spec = {
        "request": base64.b64encode(pem).decode(),
        "signerName": "kubernetes.io/kube-apiserver-client",
        "usages": ["client auth"],
    }
    made = await host.create(
        scheme.CSR,
        {"metadata": {"name": cluster.name("csr")}, "spec": {**spec, "username": "root"}},
    )
    assert made["spec"]["username"] == "system:bootstrap:abcdef"  # not as it says itself
    assert decide(View(wish_of(made))) == Nothing()  # nobody of ours approves that signer
    condition = {"type": "Approved", "status": "True", "reason": "x"}
    with pytest.raises(status.Forbidden):
        await host.replace(
            scheme.CSR, {**made, "status": {"conditions": [condition]}}, subresource="approval"
        )
    with pytest.raises(status.Forbidden):
        await cluster.node_a.replace(
            scheme.CSR, {**made, "status": {"conditions": [condition]}}, subresource="approval"
        )
    await cluster.admin.delete(scheme.CSR, made["metadata"]["name"])
