"""bench/rebalance: fewest moves, GiB, balance and time, beside hbal (Debian's ganeti-htools) on the same clusters.

    bench/rebalance --quick        the table, within two minutes
    bench/rebalance --seeds 50     every family at 40 nodes, and one seed of the large sizes; hours, for hbal's sake
    bench/rebalance --no-hbal      ours alone

Lines of one cluster share its name. ``bound``: no plan has fewer moves; a plan is proved when it has just as many.
``over``: nodes left above 80 % CPU. ``rules``: VMs left in the wrong zone / beside one they must be apart from / on a
tainted node; hbal cannot be told zones. ``bad``: steps that filled a target above 80 % / above what it has. ``sd``:
standard deviation of CPU + memory over the nodes. Seconds are of this machine, under the load that is printed.
"""

from __future__ import annotations

import argparse
import os
import resource
import time
from pathlib import Path
from random import Random

from bench import common
from bench.rebalancing import hbal
from bench.rebalancing.evaluator import Verdict, judge
from bench.rebalancing.instances import FAMILIES, Instance, churn, make
from bench.rebalancing.ours import GOAL, cluster_of
from drover.planner import Budget, Plan, rebalance

PER_NODE = 20
HEAD = (
    f"{'cluster':<22} {'planner':<22} {'moves':>5} {'bound':>5} {'GiB':>6} {'over':>4} {'rules':>8}"
    f" {'bad':>6} {'sd cpu+mem':>12} {'seconds':>8}"
)


def line(name: str, who: str, verdict: Verdict, bound: str, took: str) -> None:
    rules = f"{verdict.zone}/{verdict.apart}/{verdict.taint}"
    print(
        f"{name:<22} {who:<22} {verdict.moves:>5} {bound:>5} {verdict.gib:>6.0f} {verdict.over:>4}"
        f" {rules:>8} {f'{verdict.filled}/{verdict.illegal}':>6}"
        f" {f'{verdict.sd_cpu:.1f}+{verdict.sd_memory:.1f}':>12} {took:>8}",
        flush=True,
    )


def ours(instance: Instance, name: str, who: str, budget: Budget) -> Plan:
    """One line, judged by the evaluator, not by the plan."""
    cluster, vms = cluster_of(instance)
    began = time.process_time()
    plan = rebalance(cluster, vms, GOAL, budget)
    took = time.process_time() - began
    verdict = judge(instance, [(m.vm.split("/")[1], m.target) for m in plan.moves])
    line(name, who, verdict, f"{plan.lower_bound}{'=' if plan.proved else ''}", f"{took:.2f}")
    return plan


def beside_hbal(instance: Instance, name: str, limit_s: float) -> None:
    """hbal, and ours with as many moves."""
    program = hbal.found(Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "drover")
    if program is None:
        print(f"{name:<22} hbal                   cannot be fetched from Debian's archive")
        return
    moves, took, ended = hbal.run(program, instance, limit_s)
    line(name, "hbal", judge(instance, moves), "", f"{took:.1f}{'' if ended else '+'}")
    plan = ours(instance, name, "drover", Budget(rounds=0))
    more = len(moves) - len(plan.moves)
    if more > 0:
        budget = Budget(rounds=0, improve_moves=more, gain_per_gib=0)
        ours(instance, name, f"drover, {more} to balance", budget)


def days(nodes: int, rounds: int) -> None:
    """A churn that goes on: a plan, its moves, then VMs that end and others that come, again and again."""
    instance, random = make("churn", nodes, PER_NODE, 1), Random("days")
    moves = bound = left = 0
    began = time.process_time()
    for _ in range(rounds):
        plan = rebalance(*cluster_of(instance), GOAL, Budget(rounds=0))
        found = judge(instance, [(m.vm.split("/")[1], m.target) for m in plan.moves])
        moves, bound, left = moves + found.moves, bound + plan.lower_bound, left + found.over
        number = {node.name: i for i, node in enumerate(instance.nodes)}
        target = {m.vm.split("/")[1]: number[m.target] for m in plan.moves}
        for vm in instance.vms:
            vm.node = target.get(vm.name, vm.node)
        churn(instance, random)
    took = time.process_time() - began
    print(
        f"churn of {nodes} nodes, {rounds} rounds: {moves} moves, bound {bound}, nodes left above"
        f" {left}, {took:.1f} s"
    )


def quick() -> None:
    """Small enough for hbal to end."""
    for family in ("easy", "warm", "tight"):
        beside_hbal(make(family, 10, PER_NODE, 1), f"{family} 10x200", 15)
    for family in FAMILIES:
        ours(
            make(family, 40, PER_NODE, 1), f"{family} 40x800", "drover, no proof", Budget(rounds=0)
        )
    ours(make("easy", 40, PER_NODE, 4), "easy 40x800", "drover, proof", Budget())
    ours(make("easy", 200, PER_NODE, 1), "easy 200x4000", "drover", Budget())
    days(10, 20)


def whole(seeds: int, with_hbal: bool) -> None:
    for family in FAMILIES:
        for seed in range(1, seeds + 1):
            instance = make(family, 40, PER_NODE, seed)
            name = f"{family} 40x800 #{seed}"
            if with_hbal and seed <= 3:
                beside_hbal(instance, name, 900)
            ours(instance, name, "drover, no proof", Budget(rounds=0))
            ours(instance, name, "drover, proof", Budget())
    for nodes in (200, 1000, 3000):
        for seed in range(1, 4 if nodes < 3000 else 2):
            instance = make("easy", nodes, PER_NODE, seed)
            ours(instance, f"easy {nodes}x{nodes * PER_NODE} #{seed}", "drover", Budget())
    days(40, 96)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="the table within two minutes")
    parser.add_argument("--seeds", type=int, default=50)
    parser.add_argument("--no-hbal", action="store_true")
    given = parser.parse_args()
    print(f"bench/rebalance: {common.machine()}; load {common.load()}\n{HEAD}", flush=True)
    if given.quick:
        quick()
    else:
        whole(given.seeds, not given.no_hbal)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"load {common.load()} after; largest memory {peak:.0f} MiB")


if __name__ == "__main__":
    main()
