"""What users may write must stop nobody but themselves, and what they take away must not be missed for ever."""

from __future__ import annotations

import pytest
from tests.sim.stage import Stage, tell

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
