"""What is told at once, what later and what only when asked for: a large cluster's page does not wait for all of it."""

from __future__ import annotations

import asyncio

import pytest
from tests.web.rig import (
    ADMIN,
    LIMIT_S,
    TENANT,
    VIEWER,
    VM,
    everything,
    on_a_page,
    serving,
    until,
    vm,
)

from drover.api import scheme
from drover.api.wire import Object
from drover.web import feed, stream

NODE = {"metadata": {"name": "n1"}}


def event(name: str, about: str, kind: str = "VirtualMachine") -> Object:
    of = {"kind": kind, "name": about, "namespace": "default"}
    meta = {"name": name, "namespace": "default"}
    return {
        "metadata": meta,
        "involvedObject": of,
        "type": "Warning",
        "reason": "Odd",
        "message": name,
    }


async def test_conditions_and_events_of_a_vm_are_told_when_its_page_asks() -> None:
    async with on_a_page() as (rig, browser, events):
        await rig.admin.create(VM, vm("one"))
        told = {"conditions": [{"type": "Running", "status": "True"}], "ipAddress": "10.66.10.10"}
        await rig.admin.patch(VM, "one", "default", {"status": told}, subresource="status")
        spec = {"type": "Evict", "virtualMachineName": "one"}
        move = {"metadata": {"name": "move", "namespace": "default"}, "spec": spec}
        await rig.admin.create(scheme.VMOP, move)
        await rig.read()
        await rig.admin.create(scheme.EVENT, event("stranger", "another"))
        await rig.admin.create(scheme.EVENT, event("first", "one"))
        await rig.admin.create(scheme.EVENT, event("second", "move", scheme.VMOP.kind))
        heard: set[str] = set()
        while f"{scheme.VMOP.kind} default/move" not in heard:
            for kind, key, _ in await until(events, "changes"):
                heard |= {key} if kind == scheme.EVENT.kind else set()
        assert f"{VM.kind} default/one" in heard
        status, about = await browser.get("/api/about?namespace=default&name=one")
        assert (status, about["ip"], about["cores"]) == (200, "10.66.10.10", 2)
        assert [one["type"] for one in about["conditions"]] == ["Running"]
        assert {one["message"] for one in about["events"]} == {"first", "second"}
        assert (await browser.get("/api/about?namespace=default&name=nobody"))[0] == 404


async def test_nothing_is_told_that_ones_rights_hide() -> None:
    async with asyncio.timeout(LIMIT_S), serving() as rig:
        await rig.admin.create(scheme.NAMESPACE, {"metadata": {"name": "other"}})
        await rig.admin.create(VM, {**vm("one"), "metadata": {"name": "one", "namespace": "other"}})
        async with (
            rig.browser(ADMIN) as ada,
            rig.browser(TENANT, namespace="default") as ten,
            ada.live() as events,
        ):
            assert (VM.kind, "other/one") in await everything(events)
            assert (await ada.get("/api/about?namespace=other&name=one"))[0] == 200
            assert (await ten.get("/api/about?namespace=other&name=one"))[0] == 404


async def test_what_is_drawn_does_not_wait_for_what_only_answers_need(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(feed, "READ_S", 0.1)
    async with asyncio.timeout(LIMIT_S), serving() as rig:
        await rig.admin.create(VM, vm("one"))
        come = rig.held[scheme.VDISK.plural] = asyncio.Event()
        async with rig.browser(VIEWER) as browser, browser.live() as events:
            assert (VM.kind, "default/one") in await everything(events)
            # What could not be read is as what may not be: the answer does without.
            status, told = await browser.get("/api/why?name=one&namespace=default")
            assert (status, told["subject"]) == (200, "VirtualMachine default/one")
            come.set()
            while not (await until(events, "state"))["synced"]:
                pass


async def test_of_a_very_large_cluster_the_nodes_come_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(stream, "WHOLE_S", 0.1)
    async with asyncio.timeout(LIMIT_S), serving() as rig:
        await rig.admin.create(scheme.NODE, NODE)
        await rig.admin.create(VM, vm("one"))
        come = rig.held[VM.plural] = asyncio.Event()
        async with rig.browser(VIEWER) as browser, browser.live() as events:
            assert not (await until(events, "state"))["drawn"]
            rows = await everything(events)
            assert (scheme.NODE.kind, "n1") in rows
            assert (VM.kind, "default/one") not in rows
            come.set()
            while not (await until(events, "state"))["drawn"]:
                pass
            changes = await until(events, "changes")
            assert (VM.kind, "default/one") in {(kind, key) for kind, key, _ in changes}
