"""What a page is told, and what it may do: rows, changes, bounds, rights."""

from __future__ import annotations

import asyncio

import pytest
from tests.web.rig import ADMIN, LIMIT_S, TENANT, VIEWER, VM, everything, serving, until, vm

from drover.api import scheme
from drover.web import actions
from drover.web import feed as feeds
from drover.web.feed import Line


async def test_a_page_is_told_everything_and_then_what_changes() -> None:
    async with asyncio.timeout(LIMIT_S), serving() as rig, rig.browser(VIEWER) as browser:
        await rig.admin.create(VM, vm("one"))
        async with browser.live() as events:
            rows = await everything(events)
            row = rows.get((VM.kind, "default/one")) or await _row(events, "default/one")
            assert (row["phase"], row["node"]) == ("Pending", "")
            await rig.admin.create(VM, vm("two"))
            assert (await _row(events, "default/two"))["phase"] == "Pending"
            await rig.admin.delete(VM, "two", "default")
            assert await _row(events, "default/two") is None


async def _row(events: object, key: str) -> object:
    while True:
        for kind, found, row in await until(events, "changes"):  # type: ignore[arg-type]
            if (kind, found) == (VM.kind, key):
                return row


async def test_two_people_see_each_others_changes() -> None:
    async with asyncio.timeout(LIMIT_S), serving() as rig:
        await rig.admin.create(VM, vm("one"))
        async with rig.browser(ADMIN) as ada, rig.browser(VIEWER) as vic, vic.live() as events:
            await everything(events)
            assert (await ada.act(act="restart", namespace="default", name="one"))[0] == 200
            while True:
                for kind, _, row in await until(events, "changes"):
                    if kind == scheme.VMOP.kind:
                        assert (row["type"], row["vm"]) == ("Restart", "one")
                        return


async def test_a_viewer_cannot_act_and_is_told_so_in_the_apis_words() -> None:
    async with serving() as rig, rig.browser(VIEWER) as browser:
        await rig.admin.create(VM, vm("one"))
        told = (await browser.get("/api/session"))[1]
        assert set(told["may"].values()) == {False}
        for wish in (
            {"act": "stop", "namespace": "default", "name": "one"},
            {"act": "abort", "namespace": "default", "name": "some"},
            {"act": "maintain", "name": "node-1", "on": True},
            {"act": "approve", "name": "rebalance-1"},
            {"act": "rebalance", "on": True},
        ):
            status, answer = await browser.act(**wish)
            assert (status, answer["error"]) == (403, 'User "vic" cannot do this'), wish
        assert rig.api.objects(scheme.VMOP) == []


async def test_what_may_not_be_seen_is_named_and_done_without() -> None:
    async with asyncio.timeout(LIMIT_S), serving() as rig:
        await rig.admin.create(VM, vm("one"))
        async with rig.browser(TENANT, namespace="default") as browser, browser.live() as events:
            state = await until(events, "state")
            assert {"Node", "NodeFence"} <= set(state["missing"])
            assert VM.kind not in state["missing"]


async def test_buttons_make_what_the_commands_make() -> None:
    async with serving() as rig, rig.browser(ADMIN) as browser:
        await rig.admin.create(VM, vm("one"))
        status, told = await browser.act(
            act="migrate", namespace="default", name="one", node="n2", force=True
        )
        assert status == 200, told
        (vmop,) = rig.api.objects(scheme.VMOP)
        assert vmop["metadata"]["name"].startswith("one-")
        assert vmop["spec"] == {
            "type": "Migrate",
            "virtualMachineName": "one",
            "force": True,
            "migrate": {"nodeSelector": {"kubernetes.io/hostname": "n2"}},
        }
        name = vmop["metadata"]["name"]
        assert (await browser.act(act="abort", namespace="default", name=name))[0] == 200
        assert not [
            one
            for one in rig.api.objects(scheme.VMOP)
            if "deletionTimestamp" not in one["metadata"]
        ]


async def test_maintenance_cordons_and_asks_each_vm_to_leave(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(actions, "ANSWER_S", 0.1)
    async with asyncio.timeout(LIMIT_S), serving() as rig, rig.browser(ADMIN) as browser:
        await rig.admin.create(scheme.NODE, {"metadata": {"name": "n1"}})
        asked: list[str] = []

        async def review(pod: dict[str, object]) -> None:
            asked.append(pod["metadata"]["name"])  # type: ignore[index]
            await asyncio.Event().wait()  # held, as by the evacuation controller

        rig.api.eviction_review = review
        for name, labels in (
            ("d8v-vm-one-x", {"vm.kubevirt.internal.virtualization.deckhouse.io/name": "one"}),
            ("stranger", {}),
        ):
            meta = {"name": name, "namespace": "default", "labels": labels}
            await rig.admin.create(scheme.POD, {"metadata": meta, "spec": {"nodeName": "n1"}})
        status, told = await browser.act(act="maintain", name="n1", on=True)
        assert status == 200, told
        node = rig.api.objects(scheme.NODE)[0]
        assert node["spec"]["unschedulable"] is True
        assert asked == ["d8v-vm-one-x"]
        assert (await browser.act(act="maintain", name="n1", on=False))[0] == 200
        assert not rig.api.objects(scheme.NODE)[0]["spec"].get("unschedulable")


async def test_a_wish_of_another_shape_reaches_nobody() -> None:
    bad = [
        {"act": "format", "name": "one"},
        {"act": "stop"},
        {"act": "stop", "name": "../../secrets/x", "namespace": "default"},
        {"act": "stop", "name": "one", "namespace": "a/b"},
        {"act": "stop", "name": ["one"]},
        {"act": "stop", "name": "one", "force": "yes"},
        [],
    ]
    async with serving() as rig, rig.browser(ADMIN) as browser:
        for wish in bad:
            assert (await browser.post("/api/act", wish))[0] == 400, wish
        assert rig.api.objects(scheme.VMOP) == []


async def test_why_is_what_the_command_says() -> None:
    async with asyncio.timeout(LIMIT_S), serving() as rig, rig.browser(VIEWER) as browser:
        await rig.admin.create(VM, vm("one"))
        async with browser.live() as events:
            while not (await until(events, "state"))["synced"]:
                pass
        status, told = await browser.get("/api/why?name=one&namespace=default")
        assert status == 200
        assert told["subject"] == "VirtualMachine default/one"
        assert {"about", "says", "rule", "wayOut"} <= set(told["answers"][0])
        assert (await browser.get("/api/why?name=nobody&namespace=default"))[0] == 404


async def test_a_forecast_touches_nothing() -> None:
    async with serving() as rig, rig.browser(VIEWER) as browser:
        status, told = await browser.get("/api/forecast?node=nobody")
        assert (status, "no node" in told["error"]) == (404, True)


async def test_a_slow_page_is_told_everything_anew() -> None:
    line = Line()
    assert line.take() == (True, [])
    for number in range(feeds.MOST_PENDING):
        line.put(("VirtualMachine", f"default/{number}", {"n": number}))
    line.put(("VirtualMachine", "default/0", {"n": -1}))  # replaces, and so takes no room
    assert line.overflows == 0
    line.put(("VirtualMachine", "default/one-more", {}))
    assert line.overflows == 1
    assert line.take() == (True, [])
    line.put(("VirtualMachine", "default/0", None))
    assert line.take() == (False, [("VirtualMachine", "default/0", None)])


async def test_pages_of_one_log_in_are_limited() -> None:
    async with serving() as rig, rig.browser(VIEWER) as browser:
        open_ = [await browser.http.get("/api/live") for _ in range(feeds.MOST_LINES)]
        assert (await browser.get("/api/live"))[0] == 429
        for one in open_:
            one.close()
