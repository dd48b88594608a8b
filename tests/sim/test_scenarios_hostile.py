"""What users may write must stop nobody but themselves, and what they take away must not be missed for ever."""

from __future__ import annotations

import asyncio

import pytest
from tests.sim.stage import Stage, large, tell

from drover.agent import acts
from drover.agent.keeper import Keeper
from drover.agent.steps import Step
from drover.agent.view import CopyView
from drover.api import names
from drover.api.scheme import VMOP
from drover.api.status import Forbidden

pytestmark = pytest.mark.sim


@pytest.mark.parametrize("key", [names.PLAN_ANNOTATION, "drover.dev/firmware-rollout"])
def test_a_forged_note_on_an_operation_is_refused(key: str) -> None:
    async def story(stage: Stage) -> None:
        s = stage.s
        await s.running_vm("a")
        meta = {"name": "rebalance-x", "namespace": "default", "annotations": {key: "{"}}
        spec = {"type": "Evict", "virtualMachineName": "a"}
        with pytest.raises(Forbidden):
            await stage.world.user.create(VMOP, {"metadata": meta, "spec": spec})

    tell(story)


@pytest.mark.parametrize("step", ["migration.copying", "evict.completed"])
def test_a_bug_that_one_vm_finds_leaves_the_agent_to_the_others(
    step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An agent that ends again and again renews too little, and its node is fenced with all its VMs."""

    async def story(stage: Stage) -> None:
        s, world = stage.s, stage.world
        await s.running_vm("a", guest=large())
        node = s.node_of("a")
        await s.running_vm("b", nodeSelector={"kubernetes.io/hostname": node})
        operation = await s.evict("a")
        await s.at(step)
        agent, act = world.nodes[node].agent, acts.act

        async def poisoned(keeper: Keeper, step: Step, view: CopyView) -> bool:
            if keeper.vm == "default/a":
                raise KeyError("port")
            return await act(keeper, step, view)

        monkeypatch.setattr("drover.agent.acts.act", poisoned)
        await asyncio.sleep(20)
        assert "KeyError" in world.broken[0]
        world.broken.clear()
        stage.judge.first = None
        assert world.nodes[node].agent is agent
        monkeypatch.setattr("drover.agent.acts.act", act)
        await s.finished(operation, 200)
        await s.until(lambda: s.runs("a") and s.runs("b"), "both run", 60)

    tell(story)
