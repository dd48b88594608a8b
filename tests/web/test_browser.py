"""The page in a real browser, over the modelled API: what people see and press, and what goes wrong under it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest
from tests.web import browser as browsers
from tests.web.browser import chromium, opened
from tests.web.rig import ADMIN, VIEWER, VM, Rig, serving, vm

from drover.api import names, scheme
from drover.web import sessions

pytestmark = [browsers.wanted, pytest.mark.timeout(90)]
VM_LABEL = "vm.kubevirt.internal.virtualization.deckhouse.io/name"
MARKUP = "<img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script>"


def node(name: str) -> dict[str, Any]:
    room = {"cpu": "8", "memory": "16Gi"}
    return {
        "metadata": {"name": name, "labels": {names.SCHEDULABLE_LABEL: "true"}},
        "status": {
            "allocatable": room,
            "conditions": [{"type": "Ready", "status": "True"}],
        },
    }


def pod(vm_name: str, on: str, cpu: str = "2") -> dict[str, Any]:
    wanted = {"requests": {"cpu": cpu, "memory": "1Gi"}}
    return {
        "metadata": {
            "name": f"d8v-vm-{vm_name}-x",
            "namespace": "default",
            "labels": {VM_LABEL: vm_name},
        },
        "spec": {"nodeName": on, "containers": [{"name": "c", "resources": wanted}]},
        "status": {"phase": "Running"},
    }


async def running(rig: Rig, name: str, on: str, cpu: str = "2", message: str = "") -> None:
    """A VM that runs, as its controllers would show it."""
    await rig.admin.create(scheme.POD, pod(name, on, cpu))
    told = {
        "phase": "Running",
        "nodeName": on,
        "conditions": [{"type": "Running", "status": "False", "reason": "X", "message": message}],
    }
    await rig.admin.create(VM, vm(name))
    await rig.admin.patch(VM, name, "default", {"status": told}, subresource="status")


@contextlib.asynccontextmanager
async def scene(nodes: int = 2) -> AsyncIterator[tuple[Rig, Any]]:
    async with serving() as rig, chromium() as browser:
        for number in range(1, nodes + 1):
            body = node(f"n{number}")
            await rig.admin.create(scheme.NODE, body)
            await rig.admin.patch(scheme.NODE, f"n{number}", "", body, subresource="status")
        yield rig, browser


def link(rig: Rig) -> str:
    return f"{rig.base}/#login={rig.codes[-1]}"


async def shows(part: Any, text: str) -> None:
    """Soon: each kind of object is heard of by a watch of its own."""
    from playwright.async_api import expect

    await expect(part).to_contain_text(text, timeout=15_000)


async def log_in(page: Any, token: str) -> None:
    await page.get_by_label("Token").fill(token)
    await page.get_by_role("button", name="Log in").click()
    await page.get_by_role("navigation", name="Pages").wait_for()


async def test_what_a_person_sees_and_does() -> None:
    async with scene() as (rig, browser), opened(browser, link(rig)) as page:
        await running(rig, "one", "n1", "7")
        bar = page.get_by_role("article", name="n1, ready")
        await bar.get_by_role("link", name="default/one: Running").wait_for()
        assert "login" not in page.url
        await shows(bar, "88 %")
        # The keyboard alone: find a VM, and decide about a question.
        await page.keyboard.press("/")
        await page.keyboard.type("one")
        await page.keyboard.press("Enter")
        await page.get_by_role("heading", name="one", exact=True).wait_for()
        await page.get_by_text("The guest does not run").first.wait_for()
        # What happens to it meanwhile appears by itself.
        about = {"kind": "VirtualMachine", "namespace": "default", "name": "one"}
        happened = {"metadata": {"name": "e", "namespace": "default"}, "involvedObject": about}
        await rig.admin.create(scheme.EVENT, {**happened, "reason": "Odd", "message": "it rained"})
        await page.get_by_role("region", name="History").get_by_text("it rained").wait_for()
        await page.get_by_role("button", name="Stop").click()
        await page.get_by_role("dialog").wait_for()
        await page.keyboard.press("Escape")
        await page.get_by_role("dialog").wait_for(state="detached")
        assert rig.api.objects(scheme.VMOP) == []
        await page.get_by_role("button", name="Stop").click()
        await page.get_by_role("dialog").get_by_role("button", name="Stop").click()
        await page.get_by_text("Stop of default/one is asked for").wait_for()
        assert [op["spec"]["type"] for op in rig.api.objects(scheme.VMOP)] == ["Stop"]
        await page.keyboard.press("2")
        await page.get_by_role("heading", name="Operations").wait_for()
        await page.get_by_text("Under way: 1").wait_for()


async def test_a_link_logs_in_whatever_becomes_of_the_address() -> None:
    """The code must be read before the first frame: a person, or a script, may have gone on by then."""
    onward = "addEventListener('DOMContentLoaded', () => { location.hash = '#/nodes'; });"
    async with scene() as (rig, browser), opened(browser, rig.base) as page:
        await page.get_by_label("Token").wait_for()
        await page.evaluate(f"location.hash = '#login={rig.codes[-1]}'")  # pasted into an open page
        await page.get_by_role("navigation", name="Pages").wait_for()
        await page.get_by_role("button", name="Log out").click()
        await page.get_by_text("you have logged out").wait_for()
    async with scene() as (rig, browser), opened(browser, "about:blank") as page:
        await page.add_init_script(onward)
        await page.goto(link(rig))
        await page.get_by_role("heading", name="Nodes").wait_for()


async def test_two_people_and_what_a_viewer_may() -> None:
    async with (
        scene() as (rig, browser),
        opened(browser, rig.base) as vic,
        opened(browser, rig.base) as ada,
    ):
        await running(rig, "one", "n1")
        await log_in(vic, VIEWER)
        await log_in(ada, ADMIN)
        for page in (vic, ada):
            await page.goto(f"{rig.base}/#/vm/default/one")
        stop = vic.get_by_role("button", name="Stop")
        await stop.wait_for()
        assert await stop.is_disabled()
        assert await stop.get_attribute("title") == "Your rights do not allow this"
        # A page that does not know better is refused by the API.
        said = await vic.evaluate(
            """async () => { const { store, ask } = await import("/static/store.js");
            return (await ask("POST", "/api/act", {act: "stop", namespace: "default", name: "one"})).status; }"""
        )
        assert said == 403
        await ada.get_by_role("button", name="Evict").click()
        await vic.get_by_text("Evict asked for").wait_for()
        await rig.admin.delete(VM, "one", "default")
        await vic.get_by_text("There is no VM default/one").wait_for()


async def test_markup_is_text_and_nothing_runs() -> None:
    async with scene() as (rig, browser), opened(browser, link(rig), refusals=True) as page:
        await running(rig, "one", "n1", message=MARKUP)
        await page.get_by_role(
            "article", name="n1, ready"
        ).wait_for()  # logged in: the link is in the address
        await page.goto(f"{rig.base}/#/vm/default/one")
        await page.get_by_text(MARKUP).first.wait_for()
        assert await page.title() == "drover"
        # The policy holds even what our own code would do wrong.
        refused = await page.evaluate(
            """() => { const one = document.createElement("script"); one.textContent = "document.title='owned'";
            document.body.append(one); return document.title; }"""
        )
        assert refused == "drover"


async def test_what_goes_away_under_an_open_page_is_told() -> None:
    async with scene() as (rig, browser), opened(browser, link(rig)) as page:
        await page.get_by_role("article", name="n1, ready").wait_for()
        rig.away.set()
        rig.api.break_watches()
        await page.get_by_text("The API does not answer").wait_for()
        rig.away.clear()
        await page.get_by_text("The API does not answer").wait_for(state="detached")
        await rig.admin.patch(scheme.NODE, "n2", "", {"spec": {"unschedulable": True}})
        await page.get_by_role("article", name="n2, maintenance").wait_for()
        rig.clock.ahead_s = sessions.LONGEST_S
        await page.get_by_text("this log-in has lasted its eight hours").wait_for()
        assert await page.get_by_label("Token").is_visible()


async def test_a_server_that_was_started_again_asks_to_log_in() -> None:
    async with scene() as (rig, browser), opened(browser, link(rig)) as page:
        await page.get_by_role("article", name="n1, ready").wait_for()
        await rig.server.sessions.aclose()  # what a stop does to them
        await page.get_by_text("You were logged out").wait_for()


async def test_many_nodes_are_a_heat_map_with_what_wants_attention() -> None:
    async with scene(nodes=40) as (rig, browser):
        await running(rig, "big", "n7", "7")
        async with opened(browser, link(rig)) as page:
            row = page.get_by_role("row").filter(
                has=page.get_by_role("link", name="n7", exact=True)
            )
            await row.wait_for()
            await shows(row, "88 %")
            assert await page.locator("canvas").count() == 1
            await row.get_by_role("link").click()
            await page.get_by_role("heading", name="n7", exact=True).wait_for()


async def test_no_page_is_wider_than_the_window() -> None:
    key = "default/one-with-a-rather-long-name-that-goes-on"
    pages = ("cluster", f"vm/{key}", "operations", "nodes", "node/n1", "rebalance", "failover")
    async with scene() as (rig, browser), opened(browser, link(rig)) as page:
        await running(rig, key.partition("/")[2], "n1", "1", "word" * 60)
        await page.get_by_role("article", name="n1, ready").wait_for()
        for size in (browsers.PHONE, browsers.WIDE):
            await page.set_viewport_size(size)
            for path in pages:
                await page.goto(f"{rig.base}/#/{path}")
                await asyncio.sleep(0.1)
                wide = await page.evaluate("document.documentElement.scrollWidth - innerWidth")
                assert wide <= 0, (path, size)
