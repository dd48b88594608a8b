"""A host learns of the cluster's servers, and remembers them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import msgspec
from tests.agent.test_join import replace_config

from drover.agent import servers
from drover.agent.config import AgentConfig
from drover.api import names, scheme
from drover.base.ids import SeededIds
from drover.base.log import Log
from drover.base.tasks import TaskScope
from drover.runtime.client import Client
from drover.sim.api import ApiModel
from drover.sim.clock import SimClock
from drover.sim.loop import run

A, B, C = (f"https://10.0.0.{last}:6443" for last in (1, 2, 3))


def config_at(directory: Path) -> AgentConfig:
    required = {field.name: "x" for field in msgspec.structs.fields(AgentConfig) if field.required}
    made = AgentConfig(**required)
    return replace_config(made, api_server=A, more_api_servers=[B], state_dir=str(directory))


def test_it_begins_with_its_configuration_and_goes_on_with_what_it_was_told(tmp_path: Path) -> None:
    used: list[Sequence[str]] = []

    async def main() -> None:
        clock = SimClock()
        client = Client(ApiModel(clock, SeededIds(1)).transport())
        config = config_at(tmp_path)
        assert servers.remembered(config) == (B,)
        keeper = servers.Servers(config, client, used.append, clock, Log(clock, lambda _: None))
        async with TaskScope("test") as scope:
            scope.guard(keeper.keep(), "servers")
            await asyncio.sleep(100)
            assert used == []  # nothing is said: the configuration stands
            meta = {"name": names.SERVERS, "namespace": names.SYSTEM_NAMESPACE}
            data = {"one": A, "three": C, "odd": "file:///etc"}
            await client.create(scheme.CONFIGMAP, {"metadata": meta, "data": data})
            await asyncio.sleep(200)
        assert used == [(A, C)]
        assert servers.remembered(config) == (C, B)

    run(main(), 0)


def test_a_damaged_note_counts_for_nothing(tmp_path: Path) -> None:
    for text in ("", "{", "3", '"x"'):
        (tmp_path / "api-servers.json").write_text(text)
        assert B in servers.remembered(config_at(tmp_path))


def test_a_disk_that_takes_no_note_ends_nothing(tmp_path: Path) -> None:
    """The directory of the state is gone: what was told counts all the same."""
    used: list[Sequence[str]] = []

    async def main() -> None:
        clock = SimClock()
        client = Client(ApiModel(clock, SeededIds(1)).transport())
        meta = {"name": names.SERVERS, "namespace": names.SYSTEM_NAMESPACE}
        await client.create(scheme.CONFIGMAP, {"metadata": meta, "data": {"one": A, "three": C}})
        config = config_at(tmp_path / "gone")
        keeper = servers.Servers(config, client, used.append, clock, Log(clock, lambda _: None))
        async with TaskScope("test") as scope:
            scope.guard(keeper.keep(), "servers")
            await asyncio.sleep(200)
            assert scope.failure is None

    run(main(), 0)
    assert used == [(A, C)]
