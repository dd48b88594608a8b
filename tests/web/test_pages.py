"""What operations, a plan and a lost node look like in a real browser: numbers with units, over the modelled API."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from tests.web import browser as browsers
from tests.web.browser import opened
from tests.web.rig import Rig
from tests.web.test_browser import link, running, scene

from drover.api import scheme
from drover.api.scheme import Kind

if TYPE_CHECKING:
    from playwright.async_api import Locator

pytestmark = [browsers.wanted, pytest.mark.timeout(90)]
T0 = "2026-01-01T00:00:{:02}Z"


def put(rig: Rig, kind: Kind, name: str, spec: Any, status: Any) -> None:
    """As its controller has written it."""
    meta = {"name": name, "uid": name, "creationTimestamp": T0.format(0)}
    if kind.namespaced:
        meta["namespace"] = "default"
    head = {"apiVersion": kind.api_version, "kind": kind.kind, "metadata": meta}
    rig.api.store.put(kind, {**head, "spec": spec, "status": status})


def moved(rig: Rig, vm: str, name: str, vmop: Any, phase: str, source: Any) -> None:
    of = {"virtualMachineName": vm}
    put(rig, scheme.VMOP, name, {"type": "Evict", **of}, vmop)
    path = {"sourceNode": "n1", "operationName": name, **of}
    put(rig, scheme.VMM, name, path, {"phase": phase, "targetNode": "n2", "source": source})


async def tells(what: Locator, *words: str) -> None:
    said = await what.inner_text()
    for one in words:
        assert one in said, one


async def test_an_operation_tells_what_it_does_and_what_it_has_cost() -> None:
    async with scene() as (rig, browser):
        await running(rig, "one", "n1")
        copying = {"ramTotalBytes": 2**30, "ramRemainingBytes": 2**29, "ramTransferredBytes": 2**29,
                   "mbps": 800, "dirtyBytesPerSecond": 2**20, "iteration": 2}  # fmt: skip
        moved(rig, "one", "goes", {"phase": "InProgress", "progress": "50%"}, "Copying", copying)
        over = {"type": "Completed", "status": "True", "lastTransitionTime": T0.format(4)}
        ended = {"phase": "Completed", "conditions": [over]}
        moved(rig, "one", "gone", ended, "Succeeded", {**copying, "downtimeMs": 37})
        async with opened(browser, link(rig)) as page:
            await page.get_by_role("article", name="n1, ready").wait_for()
            await page.goto(f"{rig.base}/#/operations")
            under_way = page.get_by_role("region", name="Under way")
            await tells(
                under_way,
                "50 %",
                "512 MiB copied",
                "512 MiB to go",
                "1 MiB/s",
                "pass 2",
                "5.4 s left",
            )
            row = page.get_by_role("region", name="Over").get_by_role("row").last
            assert (await row.inner_text()).split("\t")[-3:] == ["4 s", "512 MiB", "37 ms"]
            await under_way.get_by_role("button", name="Abort").click()
            await page.get_by_text("operation default/goes is being aborted").wait_for()
        assert [o["metadata"]["name"] for o in rig.api.objects(scheme.VMOP)] == ["gone"]


async def test_a_plan_is_seen_before_it_is_approved() -> None:
    load = [
        {"node": "n1", "before": {"cpu": 90}, "after": {"cpu": 67.5}},
        {"node": "n2", "before": {"cpu": 10}, "after": {"cpu": 32.5}},
    ]
    move = {"virtualMachine": "default/one", "source": "n1", "target": "n2", "reason": "Overload",
            "why": "n1 is too full", "seconds": 8.6, "load": load,
            "rejected": [{"node": "n3", "why": "would be fuller"}]}  # fmt: skip
    spec = {"number": 1, "mode": "Approve", "approved": False, "hash": "a1", "moves": [move],
            "movesTotal": 1, "proved": True, "bytesTotal": 2**30, "secondsTotal": 8.6,
            "impossible": [{"what": "default/big", "blockedBy": "Insufficient cpu"}]}  # fmt: skip
    async with scene() as (rig, browser):
        put(rig, scheme.REBALANCEPLAN, "rebalance-1", spec, {})
        async with opened(browser, link(rig)) as page:
            await page.get_by_role("article", name="n1, ready").wait_for()
            await page.goto(f"{rig.base}/#/rebalance")
            plan = page.get_by_role("region", name="Open plan")
            await tells(
                plan,
                "1 GiB to copy",
                "8.6 s",
                "before 90 %",
                "after 68 %",
                "n1 is too full",
                "Insufficient cpu",
            )
            await plan.get_by_role("button", name="Approve").click()
            await page.get_by_text("rebalance-1 is approved").wait_for()
        [found] = rig.api.objects(scheme.REBALANCEPLAN)
        assert found["spec"]["approved"] is True


async def test_a_lost_node_is_told_moment_by_moment() -> None:
    spec = {"node": "n9", "incarnation": "a1", "group": "worker"}
    timeline = {
        name: T0.format(at) for name, at in (("lastSeen", 0), ("suspect", 4), ("fenced", 9))
    }
    again = {"namespace": "default", "name": "one", "node": "n2", "restarted": T0.format(11)}
    lost = [again, {"namespace": "default", "name": "two"}]
    status = {"phase": "Fenced", "timeline": timeline, "virtualMachines": lost}
    async with scene() as (rig, browser):
        put(rig, scheme.NODEFENCE, "n9-a1", spec, status)
        async with opened(browser, link(rig)) as page:
            await page.get_by_role("article", name="n9, fenced").wait_for()
            await page.goto(f"{rig.base}/#/failover")
            said = await page.get_by_role("article", name="n9, Fenced").inner_text()
            for words in ("after 4 s", "after 9 s", "1 of 2 VMs started again", "11 s", "not yet"):
                assert words in said, words
