"""``python -m tests.web.shots DIR``: pictures of every page, taken on a live lab of its own.

The lab is started below ``--home`` (a new directory), shown empty, played through moves, maintenance, a plan and a lost
node, and removed at the end unless ``--keep``. The heat map is of a modelled cluster. Takes about five minutes.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING

from tests.web.browser import PHONE, WIDE, chromium
from tests.web.rig import serving

from bench import web
from drover.api import scheme

if TYPE_CHECKING:
    from playwright.async_api import Page

ROOT = Path(__file__).resolve().parents[2]
SCENES = (
    "heat",
    "empty",
    "still",
    "move",
    "console",
    "screen",
    "maintenance",
    "rebalance",
    "failover",
)


class Studio:
    """One lab, one server, one page."""

    def __init__(self, home: Path, out: Path, page: Page, base: str) -> None:
        self.home, self.out, self.page, self.base = home, out, page, base

    def drover(self, *words: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "drover.cli.main", "--home", str(self.home), *words],
            cwd=ROOT, capture_output=True, text=True, check=False, timeout=300,
        )  # fmt: skip
        if done.returncode:
            print(f"drover {' '.join(words)}: {done.stderr.strip()}", file=sys.stderr)
        return done.stdout

    async def go(self, path: str) -> None:
        await self.page.goto(f"{self.base}#/{path}")
        await self.page.wait_for_timeout(900)

    async def shot(self, name: str, *, every: bool = False) -> None:
        """``every``: also in the dark, and on a phone."""
        await self.page.screenshot(path=self.out / f"{name}.png")
        if every:
            await self.page.emulate_media(color_scheme="dark")
            await self.page.screenshot(path=self.out / f"{name}-dark.png")
            await self.page.emulate_media(color_scheme="light")
            await self.page.set_viewport_size(PHONE)
            await self.page.wait_for_timeout(300)
            await self.page.screenshot(path=self.out / f"{name}-phone.png", full_page=True)
            await self.page.set_viewport_size(WIDE)
        print(name)

    # --- scenes ---

    async def empty(self) -> None:
        """Before there is any VM; the last act makes some."""
        for name in ("cluster", "operations", "failover"):
            await self.go(name)
            await self.shot(f"{name}-empty", every=name == "cluster")
        self.fill()

    def fill(self) -> None:
        for name in ("linux-vm", "busy-vm", "crowd"):
            self.drover("k", "apply", "-f", f"examples/{name}.yaml")
        running = "--for=jsonpath={.status.phase}=Running"
        self.drover("k", "wait", "vm", "--all", running, "--timeout=120s")

    async def still(self) -> None:
        await self.go("cluster")
        await self.shot("cluster", every=True)
        await self.go("vm/default/linux-vm")
        await self.page.get_by_text("It is on").first.wait_for()
        await self.shot("vm", every=True)
        for name in ("nodes", "rebalance"):
            await self.go(name)
            await self.shot(f"{name}-still", every=name == "nodes")
        await self.go("node/virtlab-pt-2")
        await self.page.get_by_text("Rule:").first.wait_for()
        await self.shot("node")

    async def move(self) -> None:
        await self.go("vm/default/busy-vm")
        await self.page.get_by_role("button", name="Evict").click()
        await self.go("cluster")
        await self.page.locator(".block.target").first.wait_for(timeout=60_000)
        await self.page.wait_for_timeout(6_000)
        await self.shot("move-cluster", every=True)
        await self.go("operations")
        await self.page.locator(".chart canvas").wait_for(timeout=60_000)
        await self.page.wait_for_timeout(8_000)
        await self.shot("move-operations", every=True)
        await self.go("vm/default/busy-vm")
        await self.shot("move-vm")
        abort = self.page.get_by_role("button", name="Abort the move")
        if await abort.count():
            await abort.click()
            await self.page.get_by_role("button", name="Evict").wait_for(timeout=60_000)

    async def console(self) -> None:
        await self.go("vm/default/linux-vm")
        await (
            self.page.get_by_role("region", name="Serial console")
            .get_by_role("button", name="Open")
            .click()
        )
        await self.page.get_by_text("attached").wait_for()
        prompt = self.page.locator(".xterm-rows").get_by_text("#").first
        for _ in range(60):  # the guest may still be starting
            await self.page.keyboard.press("Enter")
            with contextlib.suppress(Exception):
                await prompt.wait_for(timeout=2_000)
                break
        await self.page.keyboard.type("uname -a; uptime\n", delay=30)
        await self.page.wait_for_timeout(2_500)
        await self.page.locator(".screen").scroll_into_view_if_needed()
        await self.shot("console")

    async def screen(self) -> None:
        await self.go("vm/default/linux-vm")
        await (
            self.page.get_by_role("region", name="Screen", exact=True)
            .get_by_role("button", name="Open")
            .click()
        )
        await self.page.locator(".vnc canvas").wait_for()
        await self.page.wait_for_timeout(3_000)
        await self.page.locator(".vnc").scroll_into_view_if_needed()
        await self.shot("screen")

    async def maintenance(self) -> None:
        await self.go("nodes")
        await (
            self.page.get_by_role("article", name="virtlab-pt-1")
            .get_by_role("button", name="Maintenance")
            .click()
        )
        await self.page.get_by_role("dialog").wait_for()
        await self.shot("maintenance-forecast")
        await self.page.get_by_role("button", name="Begin maintenance").click()
        await self.page.wait_for_timeout(4_000)
        await self.shot("maintenance")
        await self.go("cluster")
        await self.shot("maintenance-cluster")
        await self.go("nodes")
        with contextlib.suppress(Exception):
            await self.page.get_by_text("can be serviced").wait_for(timeout=60_000)
        await self.shot("maintenance-done")
        await self.page.get_by_role("button", name="End maintenance").click()
        await self.page.wait_for_timeout(1_000)

    async def rebalance(self) -> None:
        """All of the crowd onto one node first, which is too much for it."""
        for name in ("crowd-1", "crowd-2", "crowd-3"):
            self.drover("migrate", name, "--target-node-name", "virtlab-pt-2", "-y", "-w")
        self.drover("rebalance", "on", "--approve", "--settle", "1")
        await self.go("rebalance")
        await self.page.get_by_role("button", name="Approve").wait_for(timeout=90_000)
        await self.shot("rebalance", every=True)
        await self.go("cluster")
        await self.shot("rebalance-cluster")
        await self.go("rebalance")
        await self.page.get_by_role("button", name="Approve").click()
        await self.page.wait_for_timeout(3_000)
        await self.shot("rebalance-moves")
        self.drover("rebalance", "off")

    async def failover(self) -> None:
        watchdog = {"spec": {"fencing": {"mode": "Watchdog"}}}
        words = ("nodegroup", "worker", "--type=merge", "-p", json.dumps(watchdog))
        self.drover("k", "patch", *words)
        await self.page.wait_for_timeout(5_000)  # the nodes arm their watchdogs
        self.drover("lab", "power-off", "virtlab-pt-1")
        await self.go("cluster")
        await self.page.locator(".s-away, .s-suspect").first.wait_for(timeout=90_000)
        await self.shot("failover-suspect")
        await self.page.locator(".s-fenced").first.wait_for(timeout=120_000)
        await self.page.wait_for_timeout(1_500)
        await self.shot("failover-cluster", every=True)
        await self.go("failover")
        await self.page.wait_for_timeout(8_000)
        await self.shot("failover", every=True)
        self.drover("lab", "power-on", "virtlab-pt-1")


@contextlib.asynccontextmanager
async def server(home: Path) -> AsyncIterator[str]:
    """`drover web` on that lab; the link that logs in."""
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "drover.cli.main", "--home", str(home), "web", "--port", "0", "--open", "no",
        cwd=ROOT, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert child.stdout is not None
    try:
        async with asyncio.timeout(60):
            while not (
                found := re.search(r"http\S+#login=\S+", (await child.stdout.readline()).decode())
            ):
                pass
        yield found[0]
    finally:
        with contextlib.suppress(ProcessLookupError):
            child.terminate()
        await child.wait()


async def heat(out: Path) -> None:
    """A thousand nodes, of which some want attention, of a modelled cluster."""
    async with serving() as rig, chromium() as browser:
        web.fill(rig, 1_000, 20_000, 30)
        for number in range(0, 1_000, 97):
            old = rig.api.store.get(scheme.NODE, "", f"node-{number:04}")
            assert old is not None
            rig.api.store.put(scheme.NODE, {**old, "spec": {"unschedulable": True}})
        studio = Studio(out, out, await browser.new_page(viewport=WIDE), rig.base)
        await studio.page.goto(f"{rig.base}/#login={rig.codes[-1]}")
        await studio.page.get_by_text("of 20000 VMs").wait_for(timeout=120_000)
        await studio.page.locator(".heat canvas").hover(position={"x": 200, "y": 100})
        await studio.shot("heat", every=True)


async def take(home: Path, out: Path, scenes: list[str]) -> None:
    async with server(home) as link, chromium() as browser:
        context = await browser.new_context(viewport=WIDE, color_scheme="light")
        page = await context.new_page()
        page.on(
            "console",
            lambda said: (
                print(f"console: {said.text}", file=sys.stderr) if said.type == "error" else None
            ),
        )
        studio = Studio(home, out, page, link.partition("#")[0])
        if "still" in scenes:
            await page.goto(studio.base)
            await page.get_by_label("Token").wait_for()
            await studio.shot("login", every=True)
            await page.goto("about:blank")
        if "empty" not in scenes:
            studio.fill()
        await page.goto(link)
        await page.get_by_role("navigation", name="Pages").wait_for()
        for name in scenes:
            await getattr(studio, name)()
        await context.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("dir", type=Path)
    parser.add_argument("--home", type=Path, help="of the lab; a new directory unless it is given")
    parser.add_argument("--keep", action="store_true", help="leave the lab running")
    parser.add_argument("--only", choices=SCENES, action="append")
    given = parser.parse_args()
    given.dir.mkdir(parents=True, exist_ok=True)
    os.environ.setdefault("DROVER_PROGRAM", "drover")
    # A time limit ends it by SIGTERM; the lab is to go then, too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    scenes = [name for name in SCENES if name in (given.only or SCENES)]
    if "heat" in scenes:
        asyncio.run(heat(given.dir))
    if live := [name for name in scenes if name != "heat"]:
        home = given.home or Path(tempfile.mkdtemp(prefix="drover-shots-"))
        studio = Studio(home, given.dir, None, "")  # type: ignore[arg-type]
        try:
            studio.drover("up")
            asyncio.run(take(home, given.dir, live))
        finally:
            if not given.keep:
                studio.drover("reset", "--yes")
                shutil.rmtree(home, ignore_errors=True)
    taken = len(list(given.dir.glob("*.png")))
    print(f"{taken} pictures in {given.dir.resolve()}")


if __name__ == "__main__":
    main()
