"""The simulated network keeps the contract of the real one."""

from __future__ import annotations

import pytest
from tests.agent.net import contract

from drover.agent.ports import MachineSpec
from drover.sim.parts import SimNetwork

SPEC = MachineSpec(
    "default/a", "u", 1, 2**27, "52:54:00:00:00:0a", "10.66.10.10", "10.66.10.254", 24
)


@pytest.mark.parametrize("promise", contract.ALL, ids=lambda promise: promise.__name__)
async def test_contract(promise):
    network = SimNetwork()
    await promise(network, SPEC)
    assert network.attached == {}
