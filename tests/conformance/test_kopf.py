"""kopf, the operator framework: an operator of a user's own on VirtualMachines, with a user's rights."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import kopf
import pytest
from tests.conformance.conftest import GROUP, VERSION, a_vm, named
from tests.support.cluster import Cluster

from drover.api import scheme
from drover.api.status import NotFound
from drover.api.wire import Object

pytestmark = pytest.mark.engine


def an_operator(label: str, told: list[str]) -> kopf.OperatorRegistry:
    """Labels new VMs, notes changes, and holds a VM's deletion until it has been told."""
    registry = kopf.OperatorRegistry()
    its: dict[str, Any] = {"registry": registry, "labels": {label: "yes"}}

    @kopf.on.login(registry=registry)
    def login(**kwargs: Any) -> Any:
        return kopf.login_with_kubeconfig(**kwargs)

    @kopf.on.create(GROUP, VERSION, "virtualmachines", **its)
    def made(patch: kopf.Patch, **_: Any) -> None:
        told.append("create")
        patch.metadata.labels["adopted"] = "yes"

    @kopf.on.field(GROUP, VERSION, "virtualmachines", field="spec.cpu.cores", **its)
    def changed(old: Any, new: Any, **_: Any) -> None:
        if old is not None:
            told.append(f"cores {old} to {new}")

    @kopf.on.delete(GROUP, VERSION, "virtualmachines", **its)
    def going(**_: Any) -> None:
        told.append("delete")

    return registry


async def _until(cluster: Cluster, name: str, holds: Callable[[Object], bool]) -> Object:
    async with asyncio.timeout(20):
        while True:
            found = await cluster.admin.get(scheme.VM, name, "default")
            if holds(found):
                return found
            await asyncio.sleep(0.1)


async def _gone(cluster: Cluster, name: str) -> None:
    async with asyncio.timeout(20):
        with contextlib.suppress(NotFound):
            while True:
                await cluster.admin.get(scheme.VM, name, "default")
                await asyncio.sleep(0.1)


async def test_an_operator_of_a_users_own(
    cluster: Cluster, editor_config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBECONFIG", str(editor_config))
    name, told, stop = named("kopf"), [], asyncio.Event()
    settings = kopf.OperatorSettings()
    settings.posting.enabled = False
    # A user may not look at CRDs and namespaces; kopf would ask nine times.
    settings.scanning.disabled = True
    settings.networking.error_backoffs = ()
    running = asyncio.create_task(
        kopf.operator(
            registry=an_operator(name, told),
            settings=settings,
            namespaces=["default"],
            standalone=True,
            stop_flag=stop,
        )
    )
    try:
        await cluster.editor.create(scheme.VM, a_vm(name, **{name: "yes"}))
        found = await _until(cluster, name, lambda vm: "adopted" in vm["metadata"]["labels"])
        assert found["metadata"]["finalizers"] == ["kopf.zalando.org/KopfFinalizerMarker"]
        await cluster.editor.patch(scheme.VM, name, "default", {"spec": {"cpu": {"cores": 2}}})
        await _until(cluster, name, lambda vm: "cores 1 to 2" in told)
        await cluster.editor.delete(scheme.VM, name, "default")
        await _gone(cluster, name)
        assert told == ["create", "cores 1 to 2", "delete"]
    finally:
        stop.set()
        await running
