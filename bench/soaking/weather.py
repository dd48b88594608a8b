"""What happens in a soak and when: drawn from a seed before it begins, so that one line repeats it.

Two rows of acts run side by side: people at work, and one fault at a time. Each act names its node and VM by number.
"""

from __future__ import annotations

from dataclasses import dataclass

from drover.sim.parts import Dice

THINK_S = (1.0, 7.0)
CALM_S = (3.0, 12.0)
PEOPLE = (
    *("evict",) * 5,
    *("abort",) * 4,
    *("migrate",) * 2,
    *("restart",) * 2,
    *("stop",) * 2,
    *("start",) * 2,
    "delete-pod",
    *("drain",) * 3,
    *("firmware",) * 2,
)
# How long each lasts, at least and at most. A lost node is fenced after nine seconds.
FAULTS: dict[str, tuple[float, float]] = {
    "power-off": (1.0, 20.0),
    "isolate": (1.0, 15.0),
    "freeze": (0.5, 12.0),
    "api-down": (0.5, 8.0),
    "cut": (1.0, 8.0),
    "kill-controllers": (0.0, 0.0),
    "kill-agent": (0.0, 0.0),
    "kill-etcd": (0.0, 0.0),
    "kill-qemu": (0.0, 0.0),
}
MOST_KILLS = 1  # of one VM's QEMU: the next restarts are held back for minutes


@dataclass(frozen=True)
class Act:
    """``last_s``: how long a fault lasts; how long somebody waits before the second half of what they do."""

    at_s: float
    what: str
    vm: int
    node: int
    last_s: float = 0.0

    def __str__(self) -> str:
        return f"{self.at_s:6.1f} {self.what} vm{self.vm + 1} n{self.node + 1} {self.last_s:.1f} s"


def plan(seed: int, seconds: float, vms: int, nodes: int) -> list[Act]:
    """In order of time."""
    return sorted(
        [*_people(seed, seconds, vms, nodes), *_faults(seed, seconds, vms, nodes)],
        key=lambda act: act.at_s,
    )


def _people(seed: int, seconds: float, vms: int, nodes: int) -> list[Act]:
    dice, now_s, acts = Dice(f"people-{seed}"), 0.0, []
    while (now_s := now_s + dice.between(*THINK_S)) < seconds:
        last_s = dice.between(0.0, dice.pick((0.2, 1.5, 6.0)))
        vm, node = dice.pick(range(vms)), dice.pick(range(nodes))
        acts.append(Act(now_s, dice.pick(PEOPLE), vm, node, last_s))
    return acts


def _faults(seed: int, seconds: float, vms: int, nodes: int) -> list[Act]:
    dice, now_s, acts = Dice(f"faults-{seed}"), 0.0, []
    killed = [0] * vms
    while (now_s := now_s + dice.between(*CALM_S)) < seconds:
        what, vm, node = dice.pick(list(FAULTS)), dice.pick(range(vms)), dice.pick(range(nodes))
        last_s = dice.between(*FAULTS[what])
        if what == "kill-qemu":
            killed[vm] += 1
            if killed[vm] > MOST_KILLS:
                continue
        acts.append(Act(now_s, what, vm, node, last_s))
        now_s += last_s
    return acts
