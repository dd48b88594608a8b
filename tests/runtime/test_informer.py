"""Cache and watch: resume, relist, silence, and what is newer than what. On virtual time."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from tests.runtime.fake_api import LOST, FakeApi, pod

from drover.api.scheme import POD
from drover.api.status import Forbidden, Gone, ServerError, Unanswered
from drover.api.wire import Object, Response
from drover.base.ids import SeededIds
from drover.base.log import Log
from drover.base.tasks import TaskScope
from drover.runtime.client import Client
from drover.runtime.forms import Form, Packed, Plain
from drover.runtime.informer import Informer
from drover.runtime.reflector import SILENT_S, Selection, paced
from drover.sim.clock import SimClock
from drover.sim.loop import run

Story = Callable[[FakeApi, Informer], Awaitable[Any]]


Play = Callable[..., list[dict[str, Any]]]


@pytest.fixture(params=[Plain, Packed])
def play(request: pytest.FixtureRequest) -> Play:
    """Runs a story with a following informer; returns the log."""
    made: Callable[[], Form] = request.param
    return lambda story, **how: _play(story, made(), **how)


def _play(story: Story, form: Form, *, start: bool = True, **chosen: str) -> list[dict[str, Any]]:
    logged: list[dict[str, Any]] = []

    async def main() -> None:
        api, clock = FakeApi(), SimClock()
        log = Log(clock, logged.append)
        selection = Selection(POD, **chosen)
        informer = Informer(Client(api), clock, SeededIds(1), log, selection, form)
        async with TaskScope("test") as scope:
            if start:
                scope.guard(informer.run(), "informer")
                await informer.wait_synced()
                await asyncio.sleep(0.01)
            await story(api, informer)
            assert scope.failure is None
        left = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        assert not left

    run(main())
    return logged


def names(informer: Informer) -> list[str]:
    return [obj["metadata"]["name"] for obj in informer.all()]


def lists(api: FakeApi) -> int:
    return sum("watch" not in request.query for request in api.requests)


def test_follows_in_key_order_and_resumes_after_a_break(play: Play) -> None:
    async def story(api: FakeApi, informer: Informer) -> None:
        api.emit("ADDED", pod("b", 101))
        api.emit("ADDED", pod("a", 102))
        await asyncio.sleep(1)
        assert names(informer) == ["a", "b"]
        api.end_watches(LOST)
        api.emit("MODIFIED", pod("a", 103, node="n1"))
        api.emit("DELETED", pod("b", 104))
        await asyncio.sleep(10)
        assert names(informer) == ["a"]
        assert informer.all()[0]["spec"] == {"node": "n1"}
        assert lists(api) == 1
        assert api.requests[-1].query["resourceVersion"] == "102"
        assert api.requests[-1].query["allowWatchBookmarks"] == "true"
        assert int(api.requests[-1].query["timeoutSeconds"]) >= 240

    play(story)


def test_bookmarks_move_the_version_to_resume_from(play: Play) -> None:
    async def story(api: FakeApi, informer: Informer) -> None:
        api.emit("BOOKMARK", {"metadata": {"resourceVersion": "150", "name": ""}})
        await asyncio.sleep(1)
        api.end_watches()
        await asyncio.sleep(10)
        assert api.requests[-1].query["resourceVersion"] == "150"

    play(story)


@pytest.mark.parametrize("how", ["at entry", "as an event"])
def test_gone_lists_again_and_tells_handlers_what_vanished(play: Play, how: str) -> None:
    async def story(api: FakeApi, informer: Informer) -> None:
        api.emit("ADDED", pod("a", 101))
        api.emit("ADDED", pod("b", 102))
        await asyncio.sleep(1)
        heard: list[tuple[str | None, str | None]] = []
        informer.add_handler(lambda old, new: heard.append((version(old), version(new))))
        assert heard == [(None, "101"), (None, "102")]
        heard.clear()
        api.objects = {"b": pod("b", 120), "c": pod("c", 121)}
        api.version, api.oldest, api.history = 130, 130, []
        if how == "as an event":
            status = {
                "kind": "Status",
                "code": 410,
                "metadata": {"name": "", "resourceVersion": "130"},
            }
            api.emit("ERROR", status)
        else:
            api.end_watches()
        await asyncio.sleep(10)
        assert heard == [("101", None), ("102", "120"), (None, "121")]
        assert lists(api) == 2

    play(story)


def test_a_restored_store_replaces_everything_known(play: Play) -> None:
    """Versions turned back: the watch is refused, and the list is of an older version."""

    async def story(api: FakeApi, informer: Informer) -> None:
        api.emit("ADDED", pod("a", 150))
        api.emit("ADDED", pod("b", 160))
        await asyncio.sleep(1)
        api.objects, api.version, api.history = {"a": pod("a", 40, old=True)}, 50, []
        api.answers = [ServerError("Too large resource version")]
        api.end_watches()
        await asyncio.sleep(10)
        assert [*informer.all()] == [{"apiVersion": "v1", "kind": "Pod", **pod("a", 40, old=True)}]
        informer.observe(pod("a", 51))
        assert version(informer.get("a/a")) == "51"

    play(story)


def version(obj: Object | None) -> str | None:
    return None if obj is None else str(obj["metadata"]["resourceVersion"])


def test_a_silent_watch_is_restarted_without_a_list(play: Play) -> None:
    async def story(api: FakeApi, informer: Informer) -> None:
        await asyncio.sleep(SILENT_S * 2 + 5)
        assert api.watches == 3
        assert lists(api) == 1

    assert [entry["msg"] for entry in play(story)] == ["watch was silent"] * 2


def test_refusals_and_losses_are_waited_out_with_growing_delays() -> None:
    async def story(api: FakeApi, informer: Informer) -> None:
        status = {"code": 403, "reason": "Forbidden", "message": "no"}
        api.answers = [LOST, Response(403, status), Response(500, None), LOST]
        async with TaskScope("late") as scope:
            scope.guard(informer.run(), "informer")
            await informer.wait_synced()
            times = [entry["failures"] for entry in logged]
            assert times == [1, 2, 3, 4]
            assert asyncio.get_running_loop().time() >= 0.1 + 0.2 + 0.4 + 0.8

    logged: list[dict[str, Any]] = []

    async def main() -> None:
        api, clock = FakeApi(), SimClock()
        log = Log(clock, logged.append)
        await story(api, Informer(Client(api), clock, SeededIds(1), log, Selection(POD)))

    run(main())
    assert Forbidden.__name__ in logged[1]["error"]
    assert ServerError.__name__ in logged[2]["error"]


def test_a_server_that_ends_watches_at_once_is_not_hammered(play: Play) -> None:
    async def story(api: FakeApi, informer: Informer) -> None:
        for _ in range(200):
            api.end_watches()
            await asyncio.sleep(0.05)
        assert api.watches < 12

    play(story)


def test_an_own_write_is_seen_at_once_and_not_overwritten_by_older_events(play: Play) -> None:
    async def story(api: FakeApi, informer: Informer) -> None:
        api.emit("ADDED", pod("a", 101))
        await asyncio.sleep(1)
        heard: list[str | None] = []
        informer.add_handler(lambda old, new: heard.append(version(new)))
        informer.observe(pod("a", 105, mine=True))
        assert informer.get("a/a") == pod("a", 105, mine=True)
        api.emit("MODIFIED", pod("a", 103))  # of somebody else, before ours
        api.emit("MODIFIED", pod("a", 105, mine=True))  # our own, coming back
        await asyncio.sleep(1)
        assert informer.get("a/a") == pod("a", 105, mine=True)
        api.emit("MODIFIED", pod("a", 106))
        await asyncio.sleep(1)
        assert heard == ["101", "105", "106"]

    play(story)


def test_the_deletion_of_an_older_incarnation_spares_the_newer(play: Play) -> None:
    async def story(api: FakeApi, informer: Informer) -> None:
        api.emit("ADDED", pod("a", 101, uid="first"))
        await asyncio.sleep(1)
        informer.observe(pod("a", 105, uid="second"))
        api.emit("DELETED", pod("a", 104, uid="first"))
        await asyncio.sleep(1)
        found = informer.get("a/a")
        assert found is not None
        assert found["metadata"]["uid"] == "second"

    play(story)


def test_the_end_of_what_was_never_known_is_told_to_nobody(play: Play) -> None:
    async def story(api: FakeApi, informer: Informer) -> None:
        heard: list[str | None] = []
        informer.add_handler(lambda old, new: heard.append(version(old)))
        api.emit("DELETED", pod("a", 102))
        await asyncio.sleep(1)
        assert heard == []

    play(story)


def test_an_answer_that_comes_after_the_deletion_does_not_bring_the_object_back(play: Play) -> None:
    """The watch is often faster than the answer of the write that removed the last finalizer."""

    async def story(api: FakeApi, informer: Informer) -> None:
        api.emit("ADDED", pod("a", 101))
        api.emit("DELETED", pod("a", 103))
        await asyncio.sleep(1)
        informer.observe(pod("a", 102))
        informer.observe(pod("a", 103))
        assert informer.get("a/a") is None

    play(story)


def test_a_list_taken_before_an_own_write_does_not_undo_it(play: Play) -> None:
    async def story(api: FakeApi, informer: Informer) -> None:
        api.objects = {"b": pod("b", 90)}
        api.list_gate.clear()
        async with TaskScope("late") as scope:
            scope.guard(informer.run(), "informer")
            await asyncio.sleep(1)  # the list is answered at version 100, and on its way
            informer.observe(pod("a", 101))
            informer.observe(pod("b", 102, mine=True))
            api.list_gate.set()
            await informer.wait_synced()
            assert names(informer) == ["a", "b"]
            assert informer.get("a/b") == pod("b", 102, mine=True)

    play(story, start=False)


def test_observe_minds_the_selection(play: Play) -> None:
    async def story(api: FakeApi, informer: Informer) -> None:
        informer.observe(pod("a", 200, nodeName="n2"))
        informer.observe({**pod("b", 201, nodeName="n1"), "metadata": {
            **pod("b", 201)["metadata"], "namespace": "other"}})  # fmt: skip
        assert names(informer) == []
        informer.observe(pod("c", 202, nodeName="n1"))
        assert names(informer) == ["c"]

    play(story, namespace="a", fields="spec.nodeName=n1")


def test_indices_follow_every_change(play: Play) -> None:
    async def story(api: FakeApi, informer: Informer) -> None:
        api.emit("ADDED", pod("b", 101, node="n1"))
        await asyncio.sleep(1)
        informer.add_index("node", lambda obj: [obj["spec"]["node"]])
        api.emit("ADDED", pod("a", 102, node="n1"))
        api.emit("ADDED", pod("c", 103, node="n2"))
        await asyncio.sleep(1)
        assert [obj["metadata"]["name"] for obj in informer.by_index("node", "n1")] == ["a", "b"]
        api.emit("MODIFIED", pod("a", 104, node="n2"))
        api.emit("DELETED", pod("b", 105, node="n1"))
        await asyncio.sleep(1)
        assert informer.by_index("node", "n1") == []
        assert [obj["metadata"]["name"] for obj in informer.by_index("node", "n2")] == ["a", "c"]

    play(story)


def test_objects_are_kept_without_the_fields_that_nobody_reads(play: Play) -> None:
    async def story(api: FakeApi, informer: Informer) -> None:
        for name, version in (("a", 101), ("b", 102)):
            made = pod(name, version)
            made["metadata"]["managedFields"] = [{"manager": "kubectl"}]
            api.emit("ADDED", made)
        answer = pod("a", 103)
        answer["metadata"]["managedFields"] = [{"manager": "us"}]
        await asyncio.sleep(1)
        informer.observe(answer)
        assert names(informer) == ["a", "b"]
        assert all("managedFields" not in obj["metadata"] for obj in informer.all())
        assert answer["metadata"]["managedFields"]  # the caller's own stays as it was

    play(story)


class Fields(list[Object]):
    """A list whose end can be seen."""


def test_of_a_listed_page_only_what_is_kept_waits_for_the_next(play: Play) -> None:
    """Ten thousand whole objects at once would leave a large heap full of holes behind."""
    made = pod("a", 1)
    fields = made["metadata"]["managedFields"] = Fields([{"manager": "kubectl"}])
    seen = weakref.ref(fields)
    first = {"metadata": {"resourceVersion": "100", "continue": "more"}, "items": [made]}
    pages = [Response(200, first)]
    del made, fields, first

    async def story(api: FakeApi, informer: Informer) -> None:
        api.answers = pages
        api.list_gate.clear()
        async with TaskScope("slow") as scope:
            scope.spawn(informer.run(), "informer")
            await asyncio.sleep(1)
            assert len(api.requests) == 2
            assert seen() is None
            api.list_gate.set()
            await informer.wait_synced()
        assert names(informer) == ["a"]

    play(story, start=False)


def test_a_busy_server_is_asked_for_smaller_pages(play: Play) -> None:
    """To give up a page after 10 s and ask for the same again would never get there."""

    async def story(api: FakeApi, informer: Informer) -> None:
        api.emit("ADDED", pod("a", 101))
        api.item_s = 0.03
        async with TaskScope("busy") as scope:
            running = scope.spawn(informer.run(), "informer")
            await asyncio.wait_for(informer.wait_synced(), 30)
            running.cancel()
        assert names(informer) == ["a"]
        asked = [int(one.query["limit"]) for one in api.requests if "watch" not in one.query]
        assert asked == [500, 125]

    play(story, start=False)


def test_pages_are_as_large_as_they_are_answered_in_good_time() -> None:
    """One that grew after every answer would soon be too large again."""
    assert paced(500, 0.1) == 500
    assert paced(50, 0.1) == 100
    assert paced(500, 8.0) == 125
    assert paced(125, 2.0) == 125
    assert paced(50, 9.0) == 50


@pytest.mark.parametrize("kept", [True, False])
def test_of_a_list_that_fails_on_the_way_what_was_read_stays(play: Play, kept: bool) -> None:
    """Not when the server says that it is void."""
    first = {"metadata": {"resourceVersion": "7", "continue": "more"}, "items": [pod("a", 1)]}
    second = {"metadata": {"resourceVersion": "7", "continue": "last"}, "items": [pod("b", 2)]}
    last = {"metadata": {"resourceVersion": "7"}, "items": [pod("c", 3)]}
    failure = Unanswered("no answer", sent=True) if kept else Gone("expired")
    again = [second, last] if kept else [first, second, last]

    async def story(api: FakeApi, informer: Informer) -> None:
        api.answers = [Response(200, first), failure, *(Response(200, page) for page in again)]
        async with TaskScope("failing") as scope:
            running = scope.spawn(informer.run(), "informer")
            await asyncio.wait_for(informer.wait_synced(), 30)
            running.cancel()
        assert names(informer) == ["a", "b", "c"]
        asked = [one.query for one in api.requests if "watch" not in one.query]
        pages = [(int(query["limit"]), query.get("continue", "")) for query in asked]
        then = [(125, "more"), (250, "last")] if kept else [(500, ""), (500, "more"), (500, "last")]
        assert pages == [(500, ""), (500, "more"), *then]

    play(story, start=False)
