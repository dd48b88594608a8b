"""S8: an address has one holder: no two VMs that run have the same one."""

from __future__ import annotations

from drover.sim.checkers.base import Checker


class OneHolder(Checker):
    name = "S8 one holder of an address"

    def on_step(self) -> str:
        holders: dict[str, str] = {}
        for vm, copies in self.world.site.ledger.running.items():
            for copy in copies:
                address = self.world.site.qemu(copy).spec.ip
                if holders.setdefault(address, vm) != vm:
                    return f"{vm} and {holders[address]} both run with {address}"
        return ""
