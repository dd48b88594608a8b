"""The table steps x faults of one story: plays the cells one after the other, prints, and judges the whole."""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict

from tests.faults import stage
from tests.faults.cells import ABOUT, REDUCED, Fault, Step, applies
from tests.faults.outcome import Cell
from tests.faults.story import Story

from drover.lab.lab import Lab
from drover.runtime.client import Client

Pair = tuple[Step, Fault]
SHOWN_S = 0.5  # what took less is not told


def pairs(only: str = "", reduced: bool = False) -> list[Pair]:
    """What to play. ``only``: comma-separated words, each a step, a fault, or step/fault."""
    # Step by step: who has just been killed has time to live, since restarts are held back longer each time.
    wanted = REDUCED if reduced else [(s, f) for s in Step for f in Fault if applies(s, f)]
    words = [word for word in only.split(",") if word]
    plain = [(s, f) for s, f in wanted if reduced or f is not Fault.NONE or s is Step.DONE]
    return [p for p in plain if not words or any(_meant(word, p) for word in words)]


def _meant(word: str, pair: Pair) -> bool:
    step, slash, fault = word.partition("/")
    return (step, fault) == pair if slash else word in pair


class Player:
    """Plays cells in one lab, with a VM that is replaced when its own QEMU was the victim."""

    def __init__(self, lab: Lab, client: Client) -> None:
        self._lab = lab
        self._client = client
        self._story: Story | None = None
        self._number = 0

    async def play(self, pair: Pair) -> Cell:
        if self._story is None:
            self._number += 1
            name = f"faults-{int(time.time()) % 100000}-{self._number}"
            self._story = await stage.new_vm(self._lab, self._client, name)
        cell = await self._story.cell(*pair)
        if cell.restarted or not cell.good:
            await self.drop()
        return cell

    async def drop(self) -> None:
        if self._story is not None:
            await stage.drop_vm(self._client, self._story.name)
        self._story = None


async def play(lab: Lab, wanted: list[Pair]) -> list[Cell]:
    cells = []
    async with stage.connected(lab) as client:
        player = Player(lab, client)
        for number, pair in enumerate(wanted, start=1):
            cell = await player.play(pair)
            cells.append(cell)
            print(f"{number:3}/{len(wanted)} {_line(cell)}", file=sys.stderr, flush=True)
        await player.drop()
    return cells


def _line(cell: Cell) -> str:
    word = "OK" if cell.good else "WRONG"
    again = ", restarted" if cell.restarted else ""
    if cell.fell not in (None, cell.step):
        again += f", fell into {cell.fell}"
    line = (
        f"{cell.step:14} {cell.fault:15} {word:6} {cell.took_s:5.1f} s  pause {cell.pause_ms} ms, "
        f"ping gap {cell.gap_ms} ms, vmop {cell.vmop}{again}"
    )
    where = " ".join(f"{part} {spent}" for part, spent in cell.spent_s.items() if spent >= SHOWN_S)
    return "\n      ".join([f"{line}; {where}", *cell.wrong])


def table(cells: list[Cell]) -> Iterator[str]:
    """Steps across, faults down."""
    known = {(cell.step, cell.fault): cell for cell in cells}
    yield " ".join([f"{'':15}", *(f"{step:>13}" for step in Step)])
    for fault in Fault:
        row = [known.get((step, fault)) for step in Step]
        if any(row):
            yield " ".join([f"{fault:15}", *(f"{_word(cell):>13}" for cell in row)])


def _word(cell: Cell | None) -> str:
    if cell is None:
        return "-"
    return f"OK {cell.pause_ms} ms" if cell.good else "WRONG"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("story", choices=["evict"])
    parser.add_argument("--only", default="", help="steps, faults or step/fault, by commas")
    parser.add_argument("--reduced", action="store_true", help="what the tests play")
    parser.add_argument("--home", default="", help="a lab that runs already")
    parser.add_argument("-o", "--output", choices=["table", "json"], default="table")
    given = parser.parse_args()
    wanted = pairs(given.only, given.reduced)
    if not wanted:
        parser.error(
            "nothing to play: steps are " + ", ".join(Step) + "; faults " + ", ".join(Fault)
        )
    began = time.monotonic()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that the lab is taken away
    with stage.own_lab(given.home) as lab:
        cells = asyncio.run(play(lab, wanted))
    bad = [cell for cell in cells if not cell.good]
    if given.output == "json":
        print(json.dumps([{**asdict(cell), "good": cell.good} for cell in cells], indent=2))
        return 1 if bad else 0
    print("\nEach cell: the longest pause that the guest saw.\n")
    print("\n".join(table(cells)))
    print("\n" + "\n".join(f"{fault:15} {ABOUT[fault]}" for fault in Fault))
    seconds = time.monotonic() - began
    print(f"\n{len(cells) - len(bad)} of {len(cells)} cells OK, {seconds:.0f} s")
    return 1 if bad else 0
