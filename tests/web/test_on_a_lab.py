"""`drover web` on a real lab, in a real browser: the printed link, a move seen crossing over, the serial console."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import aiohttp
import pytest
from tests.e2e.vms import Vm, make
from tests.support.lab import RunningLab
from tests.web import browser as browsers
from tests.web.browser import chromium, opened
from tests.web.shots import server

from drover.web import door

pytestmark = [pytest.mark.e2e, pytest.mark.slow, browsers.wanted]


@pytest.fixture
def moving(lab: RunningLab) -> Iterator[Vm]:
    vm = make(lab, "web-vm")
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
    assert vm.status["nodeName"] != source
