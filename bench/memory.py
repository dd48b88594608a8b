"""bench/memory: the memory of one agent with 0, 4 and 8 VMs, against 60 MiB and 10 MiB for each VM.

A lab of one node; guests of 128 MiB that boot and idle. Told of the agent: RSS, which counts all that is shared
with others in full, and PSS, which counts its part. Of the node's first process PSS alone, since it is told apart.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import time
from pathlib import Path

from bench import common
from drover.lab import processes
from drover.lab.home import Home
from drover.lab.lab import Lab

BASE_MIB, EACH_MIB = 60, 10
COUNTS = (0, 4, 8)
SETTLE_S = 12.0  # guests boot, reports are written, garbage is collected
_VM = """\
apiVersion: virtualization.deckhouse.io/v1alpha2
kind: VirtualDisk
metadata: {{name: {name}}}
spec: {{dataSource: {{type: ObjectRef, objectRef: {{kind: ClusterVirtualImage, name: drover-linux}}}}}}
---
apiVersion: virtualization.deckhouse.io/v1alpha2
kind: VirtualMachine
metadata: {{name: {name}}}
spec:
  runPolicy: AlwaysOn
  virtualMachineClassName: generic
  cpu: {{cores: 1, coreFraction: 10%}}
  memory: {{size: 128Mi}}
  blockDeviceRefs: [{{kind: VirtualDisk, name: {name}}}]
"""


def mib_of(pid: int, what: str) -> float:
    """``Rss`` or ``Pss``."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith(f"{what}:"):
            return int(line.split()[1]) / 1024
    raise SystemExit(f"{pid} has no {what}")


def grow(home: Home, file: Path, names: list[str]) -> None:
    file.write_text("---\n".join(_VM.format(name=name) for name in names))
    common.drover(home, "k", "apply", "-f", str(file))
    running = "--for=jsonpath={.status.phase}=Running"
    common.drover(home, "k", "wait", *(f"vm/{name}" for name in names), running, "--timeout=240s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.parse_args()
    before = common.load()
    directory = Path(tempfile.mkdtemp(prefix="drover-bench-"))
    home = Home.at(directory / "lab")
    rows = []
    try:
        common.drover(home, "up", "--nodes", "1")
        lab = Lab(home)
        (node,) = lab.settings().node_names
        made = 0
        for count in COUNTS:
            if names := [f"small-{number}" for number in range(made, count)]:
                grow(home, directory / "vms.yaml", names)
            made = count
            time.sleep(SETTLE_S)
            (agent,) = processes.agents(lab.lab_id, node)
            first = processes.inits(lab.lab_id)[node]
            rows.append((count, mib_of(agent, "Rss"), mib_of(agent, "Pss"), mib_of(first, "Pss")))
    finally:
        common.drover(home, "reset", "--yes")
        shutil.rmtree(directory, ignore_errors=True)
    print(f"{common.machine()}; load {before} before, {common.load()} after")
    print(f"{'VMs':>4} {'RSS':>8} {'PSS':>8} {'goal':>8} {'first process, PSS':>20}   MiB")
    for count, rss, pss, first_pss in rows:
        goal = BASE_MIB + EACH_MIB * count
        print(f"{count:>4} {rss:>8.1f} {pss:>8.1f} {goal:>8} {first_pss:>20.1f}")


if __name__ == "__main__":
    main()
