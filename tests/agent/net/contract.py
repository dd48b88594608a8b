"""What every Network must do. Each function takes a network and a spec; the real one and the simulated one pass."""

from __future__ import annotations

from drover.agent.ports import MachineSpec, Network


async def attach_twice_is_as_once(network: Network, spec: MachineSpec) -> None:
    await network.attach("copy-a", spec)
    await network.attach("copy-a", spec)
    await network.detach("copy-a")


async def detach_of_the_unknown_is_harmless(network: Network, spec: MachineSpec) -> None:
    await network.detach("copy-a")
    await network.attach("copy-a", spec)
    await network.detach("copy-a")
    await network.detach("copy-a")


async def two_copies_of_one_vm_live_side_by_side(network: Network, spec: MachineSpec) -> None:
    await network.attach("copy-a", spec)
    await network.attach("copy-b", spec)
    await network.detach("copy-a")
    await network.detach("copy-b")


ALL = (
    attach_twice_is_as_once,
    detach_of_the_unknown_is_harmless,
    two_copies_of_one_vm_live_side_by_side,
)
