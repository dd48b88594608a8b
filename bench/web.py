"""How the page stands up to a large cluster: ``python -m bench.web [--nodes N] [--vms N] [--moves N] [--rounds N]``.

A modelled API holds the nodes and running VMs; the web server and a real Chromium are real, on this machine. Told are,
as medians of rounds with a new server each: how long from the log-in to the first full picture, the same after a
reload, and what was sent for it; once: how many frames a second the page draws while that many moves tell their
progress each half second, and the memory of server and model. Wants ``./test``'s browser on PYTHONPATH.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import resource
import statistics
import time
from typing import Any

from tests.web.browser import chromium
from tests.web.rig import Rig, serving
from tests.web.test_browser import node, pod

from drover.api import scheme
from drover.base.tasks import TaskScope
from drover.web import stream

WATCH_S = 10.0
# Of a VM that runs, as its controllers tell them.
CONDITIONS = [
    {"type": kind, "status": status, "reason": kind, "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"}
    for kind, status in (
        ("Running", "True"), ("Migratable", "True"), ("FirmwareUpToDate", "True"), ("AgentReady", "False"),
        ("VirtualMachineIPAddressReady", "True"), ("VirtualMachineClassReady", "True"), ("BlockDevicesReady", "True"),
        ("ConfigurationApplied", "True"), ("SizingPolicyMatched", "True"),
    )
]  # fmt: skip
FRAMES = """(ms) => new Promise((done) => { let count = 0, longest = 0, last = performance.now(); const end = last + ms;
  const step = (now) => { count += 1; longest = Math.max(longest, now - last); last = now;
    now < end ? requestAnimationFrame(step) : done({ count, longest }); }; requestAnimationFrame(step); })"""


def fill(rig: Rig, nodes: int, vms: int, moves: int) -> None:
    """Straight into the model's store: what matters here is behind it."""

    def make(kind: Any, body: Any) -> None:
        meta = {**body["metadata"], "uid": f"{kind.plural}-{body['metadata']['name']}"}
        rig.api.store.put(
            kind, {"apiVersion": kind.api_version, "kind": kind.kind, **body, "metadata": meta}
        )

    for number in range(nodes):
        make(scheme.NODE, node(f"node-{number:04}"))
    for number in range(vms):
        name, on = f"vm-{number:05}", number % nodes
        spec = {"cpu": {"cores": 1}, "memory": {"size": "512Mi"}}
        meta = {"name": name, "namespace": "default"}
        told = {"phase": "Running", "nodeName": f"node-{on:04}", "conditions": CONDITIONS}
        make(scheme.VM, {"metadata": meta, "spec": spec, "status": told})
        make(scheme.POD, pod(name, f"node-{on:04}", f"{250 + on % 100}m"))
    for number in range(moves):
        meta = {"name": f"move-{number}", "namespace": "default"}
        of = {"virtualMachineName": f"vm-{number:05}"}
        make(scheme.VMOP, {"metadata": meta, "spec": {"type": "Evict", **of}})
        path = {"sourceNode": f"node-{number:04}", "operationName": f"move-{number}", **of}
        told = {"phase": "Copying", "targetNode": f"node-{number + moves:04}"}
        make(scheme.VMM, {"metadata": meta, "spec": path, "status": told})


async def progress(rig: Rig, moves: int) -> None:
    """Every move tells of itself each half second, for ever."""
    percent = 0
    while True:
        percent = (percent + 1) % 100
        for number in range(moves):
            vmop = {"phase": "InProgress", "progress": f"{percent}%"}
            copied = {"ramTotalBytes": 2**29, "ramRemainingBytes": 2**29 - percent * 2**20}
            for kind, more in ((scheme.VMOP, vmop), (scheme.VMM, {"source": copied})):
                old = rig.api.store.get(kind, "default", f"move-{number}")
                assert old is not None
                status = {**(old.get("status") or {}), **more}
                rig.api.store.put(kind, {**old, "status": status})
        await asyncio.sleep(0.5)


async def first_picture(rig: Rig, browser: Any, vms: int) -> tuple[Any, dict[str, float]]:
    """Log in and wait until every VM is counted; then again after a reload."""
    page = await browser.new_page(viewport={"width": 1440, "height": 900})
    page.set_default_timeout(120_000)

    async def drawn(begin: Any) -> float:
        began_s = time.monotonic()
        await begin
        await page.locator("canvas, article.node").first.wait_for()
        await page.get_by_text(f"of {vms} VMs", exact=False).first.wait_for()
        return time.monotonic() - began_s

    login_s = await drawn(page.goto(f"{rig.base}/#login={rig.codes[-1]}"))
    reload_s = await drawn(page.reload())
    sent = sum(map(len, stream.everything(_feed(rig))))
    return page, {"login": login_s, "reload": reload_s, "sent": sent}


async def measure(nodes: int, vms: int, moves: int, rounds: int) -> dict[str, Any]:
    found: list[dict[str, float]] = []
    async with chromium() as browser:
        for number in range(rounds):
            async with serving() as rig:
                fill(rig, nodes, vms, moves)
                page, times = await first_picture(rig, browser, vms)
                found.append(times)
                if number == rounds - 1:
                    async with TaskScope("bench") as scope:
                        scope.spawn(progress(rig, moves), "progress")
                        frames = await page.evaluate(FRAMES, WATCH_S * 1000)
                await page.close()

    def middle(what: str) -> float:
        return statistics.median(one[what] for one in found)

    return {
        "nodes": nodes, "vms": vms, "moves": moves, "rounds": rounds, "load": os.getloadavg()[0],
        "loginToPictureSeconds": round(middle("login"), 2),
        "slowest": round(max(one["login"] for one in found), 2),
        "reloadToPictureSeconds": round(middle("reload"), 2),
        "sent": f"{middle('sent') / 2**20:.1f} MiB",
        "framesPerSecond": round(frames["count"] / WATCH_S, 1),
        "longestFrameMs": round(frames["longest"]),
        "processMiB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }  # fmt: skip


def _feed(rig: Rig) -> Any:
    return next(iter(rig.server.sessions._by_key.values())).feed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nodes", type=int, default=1_000)
    parser.add_argument("--vms", type=int, default=20_000)
    parser.add_argument("--moves", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    measured = measure(given.nodes, given.vms, given.moves, given.rounds)
    print(json.dumps(asyncio.run(measured), indent=2))


if __name__ == "__main__":
    main()
