"""bench/soak: a lab under a random mix of all stories and faults, on real QEMU, and what is true afterwards.

VMs keep a ledger on their disks from their first boot on. For some minutes people move, abort, stop, start, restart and
drain, firmware goes to and fro, the rebalancer is on, and one thing after the other breaks: nodes lose power, cables
are pulled, agents freeze, the API server falls silent, processes are killed. Then everything is mended, and all must
come to rest. The judges (bench/soaking/checkers.py) ask whether any VM ran twice, whether all run, whether nothing is
left open, and whether nothing leaks. What happens and when follows from the seed; how the machine takes it does not.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import shutil
import tempfile
import time
from pathlib import Path

from tests.faults.stage import connected

from bench import common
from bench.soaking.story import Soak
from drover.cli import accel
from drover.lab.home import Home
from drover.lab.lab import Lab, UpOptions
from drover.server.parts import find_engine


async def _play(lab: Lab, seed: int, work_s: float, vm_count: int) -> list[str]:
    async with connected(lab) as client:
        soak = Soak(lab, client, seed, work_s, vm_count)
        await soak.play()
        return soak.wrong


def soak(seed: int, work_s: float, vm_count: int) -> list[str]:
    """What is wrong; nothing: it is good. Raises LabError when there is no lab to be had."""
    directory = Path(tempfile.mkdtemp(prefix="drover-soak-"))
    lab = Lab(Home.at(directory / "lab"))
    image = Path(os.environ["DROVER_IMAGE"]) / "drover-linux.qcow2"
    try:
        up = UpOptions(find_engine(os.environ), 3, image, "tcg", accel.QEMU, accel.more_qemus())
        lab.up(up, lambda *_: None)
        wrong = asyncio.run(_play(lab, seed, work_s, vm_count))
        if wrong and (kept := os.environ.get("DROVER_KEEP")):
            shutil.copytree(lab.home.logs, Path(kept) / f"logs-{seed}", dirs_exist_ok=True)
        return wrong
    finally:
        lab.reset(lambda *_: None)
        shutil.rmtree(directory, ignore_errors=True)


OVERHEAD_S = 150.0  # of the minutes: the lab, its VMs, and coming to rest


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=8.0, help="in all, about; default 8")
    parser.add_argument("--seed", type=int, default=0, help="default: from the clock, and told")
    parser.add_argument("--vms", type=int, default=4, help="default 4")
    given = parser.parse_args()
    seed = given.seed or int(time.time()) % 100_000
    work_s = max(20.0, 60 * given.minutes - OVERHEAD_S)
    print(f"bench/soak --minutes {given.minutes:g} --seed {seed} --vms {given.vms}\n"
          f"{common.machine()}; load {common.load()} before", flush=True)  # fmt: skip
    wrong = soak(seed, work_s, given.vms)
    print(f"load {common.load()} after")
    for words in wrong:
        print(f"WRONG: {words}")
    print("good" if not wrong else f"{len(wrong)} things are wrong")
    raise SystemExit(1 if wrong else 0)


if __name__ == "__main__":
    main()
