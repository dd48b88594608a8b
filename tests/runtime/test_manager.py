"""Controllers, informers and events together against the modelled API, on virtual time."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import pytest

from drover.api.scheme import CONFIGMAP, key_of, split_key
from drover.api.status import Conflict, Forbidden, ServerError, Unanswered
from drover.base.checks import InvariantBroken
from drover.base.ids import SeededIds
from drover.base.log import BUG, Log, Sink
from drover.base.tasks import TaskScope
from drover.runtime.client import Client
from drover.runtime.controller import After, Controller, Done, Outcome
from drover.runtime.manager import Manager
from drover.sim.api import ApiModel
from drover.sim.clock import SimClock
from drover.sim.loop import run

if TYPE_CHECKING:
    from drover.api.wire import Object

Reconcile = Callable[[str], Awaitable[Outcome]]


def now() -> float:
    return round(asyncio.get_running_loop().time(), 3)


def new_manager(sink: Sink = lambda entry: None) -> Manager:
    clock = SimClock()
    client = Client(ApiModel(clock, SeededIds(0)).transport())
    return Manager(client, clock, SeededIds(1), Log(clock, sink))


def controlled(manager: Manager, reconcile: Reconcile, workers: int = 1) -> None:
    """A controller of ConfigMaps in namespace default."""
    maps = manager.informer(CONFIGMAP, namespace="default")
    controller = Controller("maps", reconcile, workers=workers)
    controller.watch(maps, lambda obj: [key_of(obj)])
    manager.add(controller)


def config(name: str, **data: str) -> Object:
    return {"metadata": {"namespace": "default", "name": name}, "data": data}


async def left_over() -> list[str]:
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    return sorted(task.get_name() for task in tasks)


def test_reconciles_what_was_there_what_comes_and_what_goes() -> None:
    async def main() -> None:
        manager = new_manager()
        maps = manager.informer(CONFIGMAP, namespace="default")
        seen: list[tuple[str, bool]] = []

        async def reconcile(key: str) -> Outcome:
            obj = maps.get(key)
            seen.append((key, obj is not None))
            if obj is not None and "owner" not in obj["data"]:
                namespace, name = split_key(key)
                patch = {"data": {"owner": "us"}}
                maps.observe(
                    await manager.client.patch(CONFIGMAP, name, namespace, patch, version=obj)
                )
            return Done()

        controlled(manager, reconcile)
        await manager.client.create(CONFIGMAP, config("old"))
        async with TaskScope("test") as scope:
            scope.guard(manager.run(), "manager")
            await maps.wait_synced()
            await manager.client.create(CONFIGMAP, config("new"))
            await asyncio.sleep(1)
            assert [obj["data"] for obj in maps.all()] == [{"owner": "us"}] * 2
            await manager.client.delete(CONFIGMAP, "old", "default")
            await asyncio.sleep(1)
            assert maps.get("default/old") is None
            assert seen[-1] == ("default/old", False)
            assert len(seen) <= 5
            assert scope.failure is None
        assert await left_over() == []

    run(main())


@pytest.mark.parametrize("error", [Unanswered("cut", sent=True), ServerError("x"), Forbidden("x")])
def test_api_errors_are_retried_with_growing_delays(error: Exception) -> None:
    async def main() -> None:
        manager, times = new_manager(), []

        async def reconcile(key: str) -> Outcome:
            times.append(now())
            if len(times) <= 14:
                raise error
            return Done()

        controlled(manager, reconcile)
        await manager.client.create(CONFIGMAP, config("a"))
        async with TaskScope("test") as scope:
            scope.guard(manager.run(), "manager")
            await asyncio.sleep(300)
            waits = [round(b - a, 3) for a, b in itertools.pairwise(times)]
            assert waits[:4] == [0.005, 0.01, 0.02, 0.04]
            assert waits[-1] == 30
            assert len(times) == 15
            assert scope.failure is None

    run(main())


def test_a_conflict_is_retried_soon_however_often_it_comes() -> None:
    async def main() -> None:
        manager, times = new_manager(), []

        async def reconcile(key: str) -> Outcome:
            times.append(now())
            raise Conflict("stale")

        controlled(manager, reconcile)
        await manager.client.create(CONFIGMAP, config("a"))
        async with TaskScope("test") as scope:
            scope.guard(manager.run(), "manager")
            await asyncio.sleep(20)
            assert times[-1] - times[-2] == pytest.approx(0.5)
            assert scope.failure is None

    run(main())


def test_after_comes_back_and_an_earlier_change_comes_first() -> None:
    async def main() -> None:
        manager, times = new_manager(), []

        async def reconcile(key: str) -> Outcome:
            times.append(now())
            return After(10)

        controlled(manager, reconcile)
        await manager.client.create(CONFIGMAP, config("a"))
        async with TaskScope("test") as scope:
            scope.guard(manager.run(), "manager")
            await asyncio.sleep(4)
            await manager.client.patch(CONFIGMAP, "a", "default", {"data": {"x": "1"}})
            await asyncio.sleep(17)
        assert [round(moment) for moment in times] == [0, 4, 10, 20]

    run(main())


def test_workers_are_bounded_and_do_not_overlap_on_a_key() -> None:
    async def main() -> None:
        manager = new_manager()
        running: list[str] = []
        most: list[int] = []

        async def reconcile(key: str) -> Outcome:
            assert key not in running
            running.append(key)
            most.append(len(running))
            await asyncio.sleep(1)
            running.remove(key)
            return Done()

        controlled(manager, reconcile, workers=3)
        async with TaskScope("test") as scope:
            scope.guard(manager.run(), "manager")
            for number in range(8):
                await manager.client.create(CONFIGMAP, config(f"m{number}"))
            for number in range(8):
                await manager.client.patch(CONFIGMAP, f"m{number}", "default", {"data": {"x": "1"}})
            await asyncio.sleep(60)
            assert scope.failure is None
        assert max(most) == 3

    run(main())


def test_an_object_that_finds_a_bug_stops_nobody_else() -> None:
    async def main() -> None:
        said: list[dict[str, Any]] = []
        manager, seen = new_manager(said.append), []

        async def reconcile(key: str) -> Outcome:
            seen.append(key)
            if key == "default/poison":
                raise KeyError("bug")
            return Done()

        controlled(manager, reconcile)
        await manager.client.create(CONFIGMAP, config("poison"))
        async with TaskScope("test") as scope:
            scope.guard(manager.run(), "manager")
            await asyncio.sleep(60)
            await manager.client.create(CONFIGMAP, config("b"))
            await asyncio.sleep(60)
            assert scope.failure is None
        assert seen.count("default/b") == 1
        assert 5 < seen.count("default/poison") < 20, "tried again, with a back-off"
        bug = next(entry for entry in said if entry["level"] == "error")
        assert (bug["msg"], bug["key"], bug["error"]) == (BUG, "default/poison", "KeyError('bug')")
        assert "in reconcile" in bug["traceback"]

    run(main())


def test_a_broken_invariant_in_reconcile_stops_everything() -> None:
    async def main() -> None:
        manager = new_manager()

        async def reconcile(key: str) -> Outcome:
            raise InvariantBroken("impossible")

        controlled(manager, reconcile)
        await manager.client.create(CONFIGMAP, config("a"))
        with pytest.raises(InvariantBroken) as caught:
            await manager.run()
        assert caught.value.__notes__ == ["in controller maps, key default/a"]
        assert await left_over() == []

    run(main())


def test_informers_and_controllers_may_join_a_running_manager() -> None:
    async def main() -> None:
        manager, seen = new_manager(), []

        async def reconcile(key: str) -> Outcome:
            seen.append(key)
            return Done()

        await manager.client.create(CONFIGMAP, config("a"))
        async with TaskScope("test") as scope:
            scope.guard(manager.run(), "manager")
            await asyncio.sleep(1)
            controlled(manager, reconcile)
            await asyncio.sleep(1)
            assert seen == ["default/a"]

    run(main())


def labelled(name: str, label: str, **data: str) -> Object:
    made = config(name, **data)
    return {**made, "metadata": {**made["metadata"], "labels": {"kind": label}}}


def test_a_part_of_a_kind_follows_the_whole_and_has_its_objects_once() -> None:
    async def main() -> None:
        manager = new_manager()
        part = manager.informer(CONFIGMAP, labels="kind=ours")
        whole = manager.informer(CONFIGMAP)
        changes: list[tuple[str, str]] = []

        def note(old: Object | None, new: Object | None) -> None:
            changes.append(tuple((obj or {}).get("data", {}).get("x", "") for obj in (old, new)))  # type: ignore[arg-type]

        part.add_handler(note)
        await manager.client.create(CONFIGMAP, labelled("mine", "ours", x="1"))
        async with TaskScope("test") as scope:
            scope.guard(manager.run(), "manager")
            await part.wait_synced()
            await manager.client.create(CONFIGMAP, labelled("other", "theirs"))
            answer = await manager.client.patch(CONFIGMAP, "mine", "default", {"data": {"x": "2"}})
            part.observe(answer)
            assert part.get("default/mine") == answer
            await asyncio.sleep(1)
            assert [key_of(obj) for obj in part.all()] == ["default/mine"]
            assert part.get("default/mine") is whole.get("default/mine")
            assert len(whole.all()) == 2
            unlabelled = {"metadata": {"labels": {"kind": None}}}
            await manager.client.patch(CONFIGMAP, "mine", "default", unlabelled)
            await asyncio.sleep(1)
            assert (part.all(), len(whole.all())) == ([], 2)
            await manager.client.patch(
                CONFIGMAP, "mine", "default", {"metadata": {"labels": {"kind": "ours"}}}
            )
            await asyncio.sleep(1)
            await manager.client.delete(CONFIGMAP, "mine", "default")
            await asyncio.sleep(1)
            assert part.all() == []
            assert changes == [("", "1"), ("1", "2"), ("2", ""), ("", "2"), ("2", "")]
            assert scope.failure is None
        assert await left_over() == []

    run(main())


def test_only_the_part_that_a_pass_reads_wakes_it_and_waits_are_counted() -> None:
    async def main() -> None:
        manager, woken = new_manager(), []

        async def reconcile(key: str) -> Outcome:
            woken.append(now())
            await asyncio.sleep(0.3)
            return Done()

        controller = Controller("maps", reconcile)
        maps = manager.informer(CONFIGMAP)
        controller.watch(maps, lambda _: ["a", "b"], lambda obj: obj["data"].get("x"))
        manager.add(controller)
        async with TaskScope("test") as scope:
            scope.guard(manager.run(), "manager")
            await manager.client.create(CONFIGMAP, config("one", x="1"))
            await asyncio.sleep(2)
            assert len(woken) == 2
            await manager.client.patch(CONFIGMAP, "one", "default", {"data": {"heartbeat": "7"}})
            await asyncio.sleep(2)
            assert len(woken) == 2
            await manager.client.patch(CONFIGMAP, "one", "default", {"data": {"x": "2"}})
            await asyncio.sleep(2)
            await manager.client.delete(CONFIGMAP, "one", "default")
            await asyncio.sleep(2)
            assert len(woken) == 6
            waits = dict(controller.waited.buckets())
            assert (waits["0.2"], waits["0.5"], waits["+Inf"]) == (3, 6, 6)
            assert controller.worked.total == pytest.approx(6 * 0.3, abs=0.01)
            assert scope.failure is None

    run(main())
