"""Clusters from a seed, as plain data that can be told to drover, to hbal and to a scheduler alike.

Four in five nodes have 64 cores and 256 GiB, the others twice that, over four zones. VMs have 1 to 16 vCPU with 2 to
4 GiB each, a guaranteed share of CPU of 5 to 100 %, and dirty 5 to 300 MiB/s. One in twenty belongs to a group of two
to five that must be on different nodes, one in ten is bound to a zone; a few of these stand against their rule from
the beginning, and one node is tainted with its VMs on it. All CPU is then scaled to the load that the family
wants, node by node, in steps of 100 m.

| family | nodes |
|---|---|
| easy | mean 62 %: a fifth at 84 to 97 %, the others anywhere from 32 to 80 % |
| warm | mean 70 to 72 %: a quarter at 84 to 95 %, the others at 60 to 68 %; none below 50 % |
| tight | mean 76 to 77 %: a quarter at 84 to 96 %, the others at 69 to 74 % |
| rules | as easy without hot nodes |
| join | as warm, and a tenth more nodes that are empty |
| drain | as easy, and a tenth of the nodes tainted |
| impossible | every node at 79 to 90 % |
| churn | mean 66 %, by VMs that came to random nodes and went again, two in three of one vCPU and less than 2 GiB |
"""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random

FAMILIES = ("easy", "warm", "tight", "rules", "join", "drain", "impossible", "churn")
ZONES = 4
MIB_PER_GIB = 1024
CORES = (1, 2, 4, 8, 16)
CORE_WEIGHTS = (30, 30, 24, 12, 4)
FRACTIONS = (5, 10, 20, 25, 50, 50, 100, 100)
DIRTY_MIB_S = (5, 20, 80, 300)
CHURN_LOAD, CHURN_MOST = 0.66, 0.95  # of all CPU; of a node, where a VM still comes to
CHURN_ROUNDS, CHURN_SHARE = 5, 0.15


@dataclass
class Node:
    """CPU in thousandths, memory in MiB."""

    name: str
    cpu: int
    memory: int
    zone: int
    tainted: bool = False


@dataclass
class Vm:
    """``group``: those of one group are to be on different nodes; -1: none. ``zone``: its only one; -1: any."""

    name: str
    cpu: int
    memory: int
    dirty_mib_s: int
    node: int = -1
    group: int = -1
    zone: int = -1


@dataclass
class Instance:
    family: str
    seed: int
    nodes: list[Node] = field(default_factory=list)
    vms: list[Vm] = field(default_factory=list)
    born: int = 0  # VMs that ever were, of a churn


def make(family: str, nodes: int, per_node: int, seed: int) -> Instance:
    """The same for the same arguments on every machine."""
    random = Random(f"{family} {nodes} {per_node} {seed}")
    made = Instance(family, seed, _nodes(nodes, random))
    if family == "churn":
        _arrive(made, random)
        for _ in range(CHURN_ROUNDS):
            churn(made, random)
        _spoil(made, random)
        return made
    loads = _loads(family, made.nodes, random)
    _place(made, loads, nodes * per_node, random)
    _scale(made, loads)
    _spoil(made, random)
    if family == "join":
        extra = _nodes(max(nodes // 10, 1), random)
        for number, node in enumerate(extra):
            node.name = f"new-{number:04}"
        made.nodes += extra
    tainted = max(nodes // 10, 1) if family == "drain" else 1
    for node in random.sample(made.nodes[:nodes], tainted):
        node.tainted = True
    return made


def _nodes(count: int, random: Random) -> list[Node]:
    found = []
    for number in range(count):
        size = 2 if random.random() < 0.2 else 1
        found.append(
            Node(f"node-{number:04}", 64_000 * size, 256 * MIB_PER_GIB * size, number % ZONES)
        )
    return found


def _loads(family: str, nodes: list[Node], random: Random) -> list[float]:
    """The CPU wanted of each node, as a share."""
    hot: tuple[float, float] = (0.84, 0.97)
    share, rest = 0.25, (0.60, 0.68)
    match family:
        case "easy" | "drain":
            share, rest = 0.20, (0.32, 0.80)
        case "rules":
            share, rest = 0.0, (0.45, 0.78)
        case "warm" | "join":
            hot = (0.84, 0.95)
        case "tight":
            hot, rest = (0.84, 0.96), (0.69, 0.74)
        case "impossible":
            share, rest = 0.25, (0.79, 0.80)
    heated = set(random.sample(range(len(nodes)), round(share * len(nodes))))
    return [random.uniform(*(hot if i in heated else rest)) for i in range(len(nodes))]


def _place(made: Instance, loads: list[float], count: int, random: Random) -> None:
    """VMs as they come, to nodes by what is wanted of them; memory never above 97 %."""
    left = [made.nodes[i].cpu * share for i, share in enumerate(loads)]
    memory = [node.memory * 0.97 for node in made.nodes]
    weights = [max(one, 1.0) for one in left]
    group, members, taken = -1, 0, set[int]()
    for number in range(count):
        vm = _vm(number, random)
        if members == 0 and random.random() < 0.02:
            group, members, taken = group + 1, random.randint(2, 5), set()
        if members:
            vm.group, members = group, members - 1
        elif random.random() < 0.1:
            vm.zone = random.randrange(ZONES)
        vm.node = _node_for(made, vm, (weights, memory, taken), random)
        if vm.group >= 0:
            taken.add(vm.node)
        memory[vm.node] -= vm.memory
        weights[vm.node] = max(weights[vm.node] - vm.cpu * 1.5, 500.0)
        made.vms.append(vm)


def _vm(number: int, random: Random) -> Vm:
    cores = random.choices(CORES, CORE_WEIGHTS)[0]
    memory = min(cores * random.choice((2, 3, 4)), 128) * MIB_PER_GIB
    cpu = cores * 1000 * random.choice(FRACTIONS) // 100
    return Vm(f"vm-{number:05}", max(cpu, 100), memory, random.choice(DIRTY_MIB_S))


def _node_for(
    made: Instance, vm: Vm, state: tuple[list[float], list[float], set[int]], random: Random
) -> int:
    weights, memory, taken = state

    def fits(node: int) -> bool:
        zone = vm.zone < 0 or made.nodes[node].zone == vm.zone
        return zone and memory[node] >= vm.memory and (vm.group < 0 or node not in taken)

    for _ in range(30):
        node = random.choices(range(len(made.nodes)), weights)[0] if len(made.nodes) < 300 else 0
        if len(made.nodes) >= 300:  # choices() sums all weights anew each time
            node = max(random.sample(range(len(made.nodes)), 4), key=weights.__getitem__)
        if fits(node):
            return node
    return max(filter(fits, range(len(made.nodes))), key=weights.__getitem__)


def churn(made: Instance, random: Random) -> None:
    """Some VMs end, and others come to nodes at random."""
    ending = set(random.sample(range(len(made.vms)), round(CHURN_SHARE * len(made.vms))))
    made.vms = [vm for number, vm in enumerate(made.vms) if number not in ending]
    _arrive(made, random)


def _arrive(made: Instance, random: Random) -> None:
    cpu, memory = [0] * len(made.nodes), [0] * len(made.nodes)
    for vm in made.vms:
        cpu[vm.node] += vm.cpu
        memory[vm.node] += vm.memory
    wanted = CHURN_LOAD * sum(node.cpu for node in made.nodes)
    while sum(cpu) < wanted:
        cores = 1 if random.random() < 0.67 else random.choice((2, 2, 4, 8, 16))
        gib = random.choice((1, 1.5)) if cores == 1 else cores * random.choice((2, 4))
        made.born += 1
        vm = Vm(
            f"vm-{made.born:06}", cores * 1000, int(gib * MIB_PER_GIB), random.choice(DIRTY_MIB_S)
        )
        node = random.randrange(len(made.nodes))
        full = cpu[node] + vm.cpu > CHURN_MOST * made.nodes[node].cpu
        if full or memory[node] + vm.memory > made.nodes[node].memory:
            continue
        vm.node = node
        cpu[node] += vm.cpu
        memory[node] += vm.memory
        made.vms.append(vm)


def _scale(made: Instance, loads: list[float]) -> None:
    """Give each node the CPU that is wanted of it, a VM at most 32 cores."""
    on: list[list[Vm]] = [[] for _ in made.nodes]
    for vm in made.vms:
        on[vm.node].append(vm)
    for number, there in enumerate(on):
        wanted = made.nodes[number].cpu * loads[number]
        factor = wanted / max(sum(vm.cpu for vm in there), 1)
        for vm in there:
            vm.cpu = min(max(round(vm.cpu * factor / 100) * 100, 100), 32_000)


def _spoil(made: Instance, random: Random) -> None:
    """Two in a hundred of the VMs with rules stand against them, by exchange of rules: nobody moves."""
    count = max(round(0.005 * len(made.vms)), 1)
    bound = [vm for vm in made.vms if vm.zone >= 0]
    for vm in random.sample(bound, min(count, len(bound))):
        vm.zone = (made.nodes[vm.node].zone + 1 + random.randrange(ZONES - 1)) % ZONES
    groups: dict[int, list[Vm]] = {}
    for vm in made.vms:
        groups.setdefault(vm.group, []).append(vm)
    groups.pop(-1, None)
    numbers = sorted(number for number, vms in groups.items() if len(vms) < 5)
    for number in random.sample(numbers, min(count // 2, len(numbers))):
        home = groups[number][0].node
        plain = [vm for vm in made.vms if vm.node == home and vm.group < 0 and vm.zone < 0]
        if plain:
            random.choice(plain).group = number
