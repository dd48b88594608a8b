"""`drover web` on a real lab, in a real browser: the printed link, each thing that a page can do, a move that console
and screen follow."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import TYPE_CHECKING

import aiohttp
import pytest
from tests.e2e.vms import Vm, make
from tests.support.lab import RunningLab, a_lab
from tests.web import browser as browsers
from tests.web.browser import chromium, opened
from tests.web.shots import server

from drover.web import door

if TYPE_CHECKING:
    from playwright.async_api import Page

pytestmark = [pytest.mark.e2e, pytest.mark.slow, browsers.wanted, pytest.mark.timeout(400)]
LIMIT_MS = 150_000.0


@pytest.fixture
def moving(lab: RunningLab) -> Iterator[Vm]:
    vm = make(lab, "web-vm", "AlwaysOnUnlessStoppedManually")
    vm.wait_booted()
    yield vm
    vm.delete()


def test_a_vm_is_moved_and_typed_at(lab: RunningLab, moving: Vm) -> None:
    asyncio.run(_story(lab, moving))


def test_the_page_of_a_lab_is_there_and_a_link_to_it_logs_in_once(lab: RunningLab) -> None:
    page = door.ask(lab.home.lab_id, door.ADDRESS)
    link = lab.drover("web", "--open", "no").out.split()[-1]
    assert link.startswith(f"{page}#login=")
    assert asyncio.run(_logged_in(page, link.partition("=")[2])) == [200, 403]


async def _logged_in(page: str, code: str) -> list[int]:
    found = []
    async with aiohttp.ClientSession(headers={"Origin": page.rstrip("/")}) as client:
        for _ in range(2):
            async with client.post(f"{page}api/login", json={"code": code}) as answer:
                found.append(answer.status)
    return found


async def _story(lab: RunningLab, vm: Vm) -> None:
    source = vm.status["nodeName"]
    async with server(lab.home.path) as link, chromium() as browser, opened(browser, link) as page:
        await page.get_by_role("link", name=f"default/{vm.name}: Running").wait_for()
        await page.goto(f"{link.partition('#')[0]}#/vm/default/{vm.name}")
        await page.get_by_text(f"It is on {source}").first.wait_for()
        console = page.get_by_role("region", name="Serial console")
        await console.get_by_role("button", name="Open").click()
        await page.get_by_text("attached").wait_for()
        await page.keyboard.type("\necho typed-$((6*7))\n", delay=20)
        await console.get_by_text("typed-42").first.wait_for()
        await page.get_by_role("button", name="Evict").click()
        await page.get_by_text(f"Host changed: {source} →").wait_for(timeout=120_000)
        # The console has followed the guest to its new host.
        await page.get_by_text("attached").wait_for()
        await console.locator(".screen").click()
        await page.keyboard.type("\necho moved-$((6*7))\n", delay=20)
        await console.get_by_text("moved-42").first.wait_for(timeout=60_000)
        screen = page.get_by_role("region", name="Screen", exact=True)
        await screen.get_by_role("button", name="Open").click()
        await screen.get_by_text("connected").wait_for(timeout=60_000)
        assert await screen.locator("canvas").count() == 1
        assert vm.status["nodeName"] != source
        await _started_and_stopped(lab, vm, page)
        await page.reload()
        await _deleted_under_its_console(vm, page)


async def _started_and_stopped(lab: RunningLab, vm: Vm, page: Page) -> None:
    """Abort, stop, start, restart; each question of the page is answered with yes."""
    here = vm.status["nodeName"]
    others = [name for name in nodes(lab) if name != here]
    lab.k("cordon", *others)  # so that the move waits
    try:
        await press(page, "Evict")
        await press(page, "Abort the move")
        await page.get_by_role("button", name="Evict").wait_for()
    finally:
        lab.k("uncordon", *others)
    await press(page, "Stop", sure=True)
    await page.locator(".head").get_by_text("Stopped", exact=True).wait_for(timeout=LIMIT_MS)
    await press(page, "Start")
    await page.get_by_text("Start completed").wait_for(timeout=LIMIT_MS)
    await press(page, "Restart", sure=True)
    await page.get_by_text("Restart completed").wait_for(timeout=LIMIT_MS)


async def _deleted_under_its_console(vm: Vm, page: Page) -> None:
    """Console and screen end with their VM, and the page says where it has gone; `opened` fails on what it logs."""
    for name, says in (("Serial console", "attached"), ("Screen", "connected")):
        region = page.get_by_role("region", name=name, exact=True)
        await region.get_by_role("button", name="Open").click(timeout=LIMIT_MS)
        await region.get_by_text(says).wait_for(timeout=60_000)
    await asyncio.to_thread(vm.delete)
    await page.get_by_text(f"There is no VM default/{vm.name}").wait_for(timeout=60_000)
    assert await page.get_by_role("region", name="Serial console").count() == 0


def nodes(lab: RunningLab) -> list[str]:
    return [node["metadata"]["name"] for node in lab.get("nodes")["items"]]


async def press(page: Page, name: str, within: str = "", sure: bool = False) -> None:
    where = page.get_by_role("article", name=within, exact=True) if within else page
    await where.get_by_role("button", name=name, exact=True).click(timeout=LIMIT_MS)
    if sure:
        await page.get_by_role("dialog").locator("button.strong").click()


def test_nodes_are_serviced_and_a_plan_is_approved() -> None:
    """In a lab of its own: every node is serviced, and what other tests left on one would change the plan."""
    with a_lab() as own:
        # Two that together are too much for one node.
        asyncio.run(_serviced(own, [Vm(own, "web-crowd-a"), Vm(own, "web-crowd-b")]))


async def _serviced(lab: RunningLab, crowd: list[Vm]) -> None:
    full, *others = nodes(lab)
    async with server(lab.home.path) as link, chromium() as browser, opened(browser, link) as page:
        base = link.partition("#")[0]
        await page.goto(f"{base}#/nodes")
        for name in others:
            await press(page, "Maintenance…", name)
            await page.get_by_text("It takes no new ones until maintenance ends").wait_for()
            await press(page, "Begin maintenance")
            await page.get_by_role("article", name=name).get_by_text("can be serviced").wait_for()
        for vm, cores in zip(crowd, (4, 3), strict=True):
            make(lab, vm.name, cpu={"cores": cores, "coreFraction": "100%"})
            assert vm.wait("Running")["nodeName"] == full
        for name in others:
            await press(page, "End maintenance", name)
        await page.goto(f"{base}#/rebalance")
        await press(page, "Switch on, ask before it acts")
        await page.get_by_text("on, asks first").wait_for()
        assert lab.drover("rebalance", "on", "--approve", "--settle", "1").code == 0
        await press(page, "Approve")
        await page.get_by_text("1 of 1", exact=True).wait_for(timeout=LIMIT_MS)
        await press(page, "Switch off")
        await page.get_by_text("Rebalancing is off", exact=True).wait_for()
        # The one that stayed leaves for maintenance, which the forecast has told.
        await page.goto(f"{base}#/nodes")
        await press(page, "Maintenance…", full)
        await page.get_by_role("dialog").get_by_text("1 VM would move").wait_for()
        await press(page, "Begin maintenance")
        left = page.get_by_role("article", name=full).get_by_text("can be serviced")
        await left.wait_for(timeout=LIMIT_MS)
        await press(page, "End maintenance", full)
        await page.get_by_role("article", name=full).get_by_text("ready", exact=True).wait_for()
