"""What the benchmarks share: a lab, a running ping, and a table of ours, the yardstick and the ratio.

A figure is a list of samples; medians are compared. The load of the machine at the beginning and at the end is printed
with every table, since a figure without it is worth nothing.
"""

from __future__ import annotations

import contextlib
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from drover.lab.home import Home
from drover.lab.lab import Lab

CHECKOUT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Figure:
    """One line of the table."""

    name: str
    unit: str
    ours: Sequence[float]
    yardstick: Sequence[float]
    goal: str = ""


def drover(home: Home, *arguments: str) -> str:
    """Run ``./drover ARGUMENTS`` on a home; its output. Raises SystemExit with its words when it fails."""
    command = [sys.executable, "-m", "drover.cli.main", "--home", str(home.path), *arguments]
    env = {**os.environ, "PYTHONPATH": str(CHECKOUT / "src"), "NO_COLOR": "1"}
    done = subprocess.run(
        command, cwd=CHECKOUT, env=env, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(arguments)}: {done.stdout}{done.stderr}")
    return done.stdout


@contextlib.contextmanager
def lab_at(home: str) -> Iterator[Home]:
    """A lab that runs at ``home``, or one of our own that is removed afterwards."""
    if home:
        running = Home.at(home)
        Lab(running).require_running()
        yield running
        return
    directory = Path(tempfile.mkdtemp(prefix="drover-bench-"))
    own = Home.at(directory / "lab")
    try:
        print("starting a lab ...", flush=True)
        drover(own, "up")
        yield own
    finally:
        drover(own, "reset", "--yes")
        shutil.rmtree(directory, ignore_errors=True)


class Ping:
    """``ping`` to one guest, every 20 ms, while the block runs; ``lines`` afterwards."""

    def __init__(self, address: str) -> None:
        self._command = ["ping", "-D", "-n", "-i", "0.02", address]
        self.lines: list[str] = []

    def __enter__(self) -> Ping:
        self._process = subprocess.Popen(self._command, stdout=subprocess.PIPE, text=True)
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self.lines = self._process.communicate()[0].splitlines()


def answers(address: str, limit_s: float) -> bool:
    """Wait until a guest answers."""
    end = time.monotonic() + limit_s
    while time.monotonic() < end:
        one = ["ping", "-n", "-c", "1", "-W", "1", address]
        if subprocess.run(one, capture_output=True, check=False).returncode == 0:
            return True
        time.sleep(0.2)
    return False


def machine() -> str:
    """One line on where this was measured."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((x.split(":", 1)[1].strip() for x in lines if x.startswith("model name")), "?")
    return f"{os.cpu_count()} x {model}, Linux {platform.release()}"


def load() -> str:
    return " ".join(f"{value:.1f}" for value in os.getloadavg())


def show(title: str, figures: Sequence[Figure], load_before: str) -> None:
    """The table."""
    print(f"\n{title}\n{machine()}; load {load_before} before, {load()} after")
    head = (
        f"{'':<34} {'ours':>10} {'yardstick':>10} {'ratio':>7} {'difference':>11}   range of ours"
    )
    print(head)
    for figure in figures:
        ours, other = statistics.median(figure.ours), statistics.median(figure.yardstick)
        ratio = f"{ours / other:.2f}x" if other else "-"
        values = f"{ours:>10.1f} {other:>10.1f} {ratio:>7} {ours - other:>+11.1f}"
        spread = f"{min(figure.ours):.1f} to {max(figure.ours):.1f}"
        goal = f"   goal {figure.goal}" if figure.goal else ""
        print(f"{figure.name + ', ' + figure.unit:<34} {values}   {spread}{goal}")
