"""hbal, the balancer of Ganeti, on the same instances: from Debian's package, unpacked into the cache, never installed.

CPU is told in tenths of a core with a ratio of 1, VMs on shared storage ("ext"), anti-affinity as exclusion tags, a
tainted node as offline. Zones cannot be told. ``--ignore-dynu`` keeps it from balancing the number of VMs.
"""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import tempfile
import time
from pathlib import Path

from bench.rebalancing.instances import Instance

PACKAGES = ("ganeti-htools-3.0", "libpcre3")
UUID = "00000000-0000-4000-8000-000000000001"
_MOVE = re.compile(r"^\s*\d+\.\s+(vm-\d+)\s+(\S+)\s+=>\s+(\S+)\s")
Moves = list[tuple[str, str]]


def found(cache: Path) -> Path | None:
    """The program, fetched into ``cache`` when it is not there; None where Debian's archive cannot be reached."""
    home = cache / "hbal"
    program = home / "usr/lib/ganeti/3.0/usr/bin/hbal"
    if not program.exists():
        home.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(OSError, subprocess.SubprocessError):
            quiet = {"cwd": home, "capture_output": True, "timeout": 60, "check": True}
            subprocess.run(["apt-get", "download", *PACKAGES], **quiet)  # type: ignore[call-overload]
            for package in home.glob("*.deb"):
                subprocess.run(["dpkg", "-x", package.name, "."], **quiet)  # type: ignore[call-overload]
    return program if program.exists() else None


def text(instance: Instance) -> str:
    """Five sections: groups, nodes, instances, tags of the cluster, policy."""
    memory, cpu, count = ([0] * len(instance.nodes) for _ in range(3))
    for vm in instance.vms:
        memory[vm.node] += vm.memory
        cpu[vm.node] += vm.cpu
        count[vm.node] += 1
    nodes = [
        f"{n.name}|{n.memory}|0|{n.memory - memory[i]}|1000000|1000000|{n.cpu // 100}|"
        f"{'Y' if n.tainted else 'N'}|{UUID}|1||N|0|0|1.0"
        for i, n in enumerate(instance.nodes)
    ]
    vms = [
        f"{vm.name}|{vm.memory}|0|{max(vm.cpu // 100, 1)}|running|Y|"
        f"{instance.nodes[vm.node].name}||ext|{f'anti:g{vm.group}' if vm.group >= 0 else ''}|1|-|N"
        for vm in instance.vms
    ]
    most = "99999999,99999,99999999,16,8,99"
    policy = f"|1,1,1,1,1,1|1,1,0,0,0,0;{most}|ext|1.0|999.0"
    group = f"default|{UUID}|preferred||"
    return "\n\n".join([group, "\n".join(nodes), "\n".join(vms), "htools:iextags:anti", policy])


def run(
    program: Path, instance: Instance, limit_s: float, moves: int | None = None
) -> tuple[Moves, float, bool]:
    """Its moves (VM, target) in order, how long it took, and whether it ended before ``limit_s``."""
    with tempfile.TemporaryDirectory() as directory:
        data = Path(directory) / "cluster.data"
        data.write_text(text(instance) + "\n")
        libraries = next(program.parents[6].glob("lib/*-linux-gnu"), program.parent)
        command = [str(program), "-t", str(data), "--ignore-dynu", "-p"]
        command += ["-l", str(moves)] if moves is not None else []
        began = time.perf_counter()
        environment = {**os.environ, "LD_LIBRARY_PATH": str(libraries)}
        # Its lines come as it finds them: what was found before the limit counts.
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
        ) as process:
            try:
                output, _ = process.communicate(timeout=limit_s)
                ended = True
            except subprocess.TimeoutExpired:
                process.kill()
                output, _ = process.communicate()
                ended = False
        took = time.perf_counter() - began
    if ended and process.returncode not in (0, 1):
        raise SystemExit(f"hbal: {output[-500:]}")
    found_moves = [(m[1], m[3].split(":")[0]) for m in map(_MOVE.match, output.splitlines()) if m]
    return found_moves, took, ended
