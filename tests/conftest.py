"""Shared by all tests: the engine, and the rule that no asynchronous test leaves a task behind."""

from __future__ import annotations

import asyncio
import inspect
import signal
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

# One control plane and one lab for the whole session, each started by the first test that wants it.
pytest_plugins = ["tests.support.engine", "tests.support.lab", "tests.support.cluster"]

ENGINE_TEST_S = 180  # whoever comes first waits for its start
LAB_TEST_S = 300


def pytest_configure() -> None:
    """A shell's background job ignores SIGINT and hands that on: tests that press Ctrl+C would wait for ever."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    _leave_out(config, items, "guests")
    for item in items:
        if item.get_closest_marker("timeout"):
            continue
        for marker, limit_s in (("e2e", LAB_TEST_S), ("engine", ENGINE_TEST_S)):
            if item.get_closest_marker(marker):
                item.add_marker(pytest.mark.timeout(limit_s))
                break


def _leave_out(config: pytest.Config, items: list[pytest.Item], marker: str) -> None:
    """Tests of minutes that nobody asked for by their marker."""
    if marker in config.option.markexpr:
        return
    left = [item for item in items if item.get_closest_marker(marker)]
    if left:
        config.hook.pytest_deselected(items=left)
        items[:] = [item for item in items if item not in left]


@pytest_asyncio.fixture
async def _task_check() -> AsyncIterator[None]:
    yield
    left = [task.get_name() for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    assert not left, f"tasks left behind: {sorted(left)}"


@pytest.fixture(autouse=True)
def _no_leftover_tasks(request: pytest.FixtureRequest) -> None:
    if inspect.iscoroutinefunction(getattr(request.node, "obj", None)):
        request.getfixturevalue("_task_check")
