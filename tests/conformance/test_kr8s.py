"""kr8s, an asynchronous client, with a class made on the spot."""

from __future__ import annotations

import asyncio
import contextlib
import gc
from collections.abc import AsyncIterator
from pathlib import Path

import kr8s
import pytest
from kr8s.asyncio.objects import new_class
from tests.conformance.conftest import GROUP, VERSION, a_disk, named

# It says so of every Kubernetes that is newer than itself. A connection of a watch that it has left stays open until it
# is collected.
pytestmark = [
    pytest.mark.engine,
    pytest.mark.filterwarnings("ignore:Kubernetes version .* is not supported:UserWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture
async def api(admin_config: Path) -> AsyncIterator[kr8s.asyncio.Api]:
    made = await kr8s.asyncio.api(kubeconfig=str(admin_config))
    yield made
    await made._session.aclose()  # it has no end of its own
    await asyncio.sleep(0.1)  # its connections close a moment later
    gc.collect()


async def test_an_object_lives_its_life(api: kr8s.asyncio.Api) -> None:
    disks = new_class(
        kind="VirtualDisk", version=f"{GROUP}/{VERSION}", namespaced=True, plural="virtualdisks"
    )
    name = named("kr8s")
    disk = await disks(a_disk(name, kr8s=name), api=api)
    await disk.create()
    assert await disk.exists()
    await disk.label({"app": "db"})
    found = [one async for one in disks.list(namespace="default", label_selector=f"kr8s={name}")]
    assert [one.name for one in found] == [name]
    assert found[0].labels["app"] == "db"
    await disk.patch({"metadata": {"annotations": {"note": "hello"}}})
    await disk.refresh()
    assert disk.annotations["note"] == "hello"
    await disk.delete()
    async with asyncio.timeout(10):
        await disk.wait("delete")
    assert not await disk.exists()


async def test_a_watch_begins_with_what_is_there(api: kr8s.asyncio.Api) -> None:
    disks = new_class(
        kind="VirtualDisk", version=f"{GROUP}/{VERSION}", namespaced=True, plural="virtualdisks"
    )
    name = named("kr8s")
    disk = await disks(a_disk(name, kr8s=name), api=api)
    await disk.create()
    async with asyncio.timeout(10):
        told = api.watch(disks, namespace="default", label_selector=f"kr8s={name}")
        async with contextlib.aclosing(told):
            event, seen = await anext(told)
    assert (event, seen.name) == ("ADDED", name)
    await disk.delete()
