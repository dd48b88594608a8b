"""bench/start: how long a warm `up` and a warm demo take, and what a fresh machine waits for.

The yardstick of `up` is the control plane alone: the same engine with the same manifests, started by a plain script, no
nodes. The demo's yardstick is its goal. What was built once is told by the records that the set-up keeps.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.support.engine import Engine

from bench import common
from drover.lab.home import Home, cache_dir

DEMO_GOAL_S = 60.0


def up(directory: Path) -> tuple[float, float]:
    """Seconds of the first `up` of a new home, and of the next one after a `down`."""
    home = Home.at(directory / "lab")
    try:
        first = _timed(home, "up")
        common.drover(home, "down")
        return first, _timed(home, "up")
    finally:
        common.drover(home, "reset", "--yes")


def _timed(home: Home, *arguments: str) -> float:
    began = time.monotonic()
    common.drover(home, *arguments)
    return time.monotonic() - began


def control_plane(directory: Path) -> float:
    """Seconds until the bare engine serves our kinds."""
    place = directory / "engine"
    place.mkdir()
    engine = Engine(Path(os.environ["DROVER_ENGINE"]), place)
    began = time.monotonic()
    try:
        engine.start()
        return time.monotonic() - began
    finally:
        engine.stop()
        shutil.rmtree(place)


def demo(directory: Path) -> float:
    """Seconds of the demo in a new home."""
    home = Home.at(directory / "demo")
    try:
        began = time.monotonic()
        command = [
            sys.executable,
            "-m",
            "drover.cli.main",
            "--home",
            str(home.path),
            "demo",
            "move",
        ]
        program = f"{sys.executable} -m drover.cli.main"
        done = subprocess.run(
            command,
            cwd=common.CHECKOUT,
            env={**os.environ, "DROVER_PROGRAM": program},
            capture_output=True,
            text=True,
            check=False,
        )
        took = time.monotonic() - began
        if done.returncode != 0:
            raise SystemExit(f"the demo failed:\n{done.stdout[-3000:]}{done.stderr}")
        print(done.stdout[done.stdout.index("== What happened") :])
        return took
    finally:
        common.drover(home, "reset", "--yes")


def set_up_times() -> list[tuple[str, int]]:
    """What was built once on this machine and how long each took; steps overlap."""
    records = sorted((cache_dir() / "took").glob("*"))
    return [(record.name, int(record.read_text())) for record in records]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-n", "--times", type=int, default=3)
    parser.add_argument("--no-demo", action="store_true")
    given = parser.parse_args()
    before = common.load()
    directory = Path(tempfile.mkdtemp(prefix="drover-bench-"))
    firsts, nexts, bares = [], [], []
    try:
        for number in range(given.times):
            bares.append(control_plane(directory))
            first, later = up(directory)
            firsts.append(first)
            nexts.append(later)
            print(
                f"{number + 1}: new lab {first:.1f} s, again {later:.1f} s, control plane alone "
                f"{bares[-1]:.1f} s",
                flush=True,
            )
        demos = [] if given.no_demo else [demo(directory)]
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    figures = [
        common.Figure("up, new lab", "s", firsts, bares, "<= 8 s"),
        common.Figure("up, after down", "s", nexts, bares, "<= 8 s"),
    ]
    figures += (
        [common.Figure("demo of a move, new lab", "s", demos, [DEMO_GOAL_S], "<= 60 s")]
        if demos
        else []
    )
    common.show(f"bench/start: {given.times} times each, medians", figures, before)
    for name, seconds in set_up_times():
        print(f"once, on a fresh machine: {name:<10} {seconds} s")


if __name__ == "__main__":
    main()
