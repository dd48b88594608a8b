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

from tests.faults import lanes, stage
from tests.faults.cells import ABOUT, LOSSES, MAIN, REDUCED, Fault, Pair, Step, applies
from tests.faults.outcome import Cell

SHOWN_S = 0.5  # what took less is not told


def pairs(story: str = "evict", only: str = "", reduced: bool = False) -> list[Pair]:
    """What to play. ``only``: comma-separated words, each a step, a fault, or step/fault."""
    # Step by step: who has just been killed has time to live, since restarts are held back longer each time.
    chosen = {"losses": LOSSES, "evict": REDUCED if reduced else ()}[story]
    wanted = chosen or [(s, f) for s in Step for f in MAIN if applies(s, f)]
    words = [word for word in only.split(",") if word]
    plain = [(s, f) for s, f in wanted if reduced or f is not Fault.NONE or s is Step.DONE]
    return [p for p in plain if not words or any(_meant(word, p) for word in words)]


def _meant(word: str, pair: Pair) -> bool:
    step, slash, fault = word.partition("/")
    return (step, fault) == pair if slash else word in pair


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
    parser.add_argument("story", choices=["evict", "losses"])
    parser.add_argument("--only", default="", help="steps, faults or step/fault, by commas")
    parser.add_argument("--reduced", action="store_true", help="what the tests play")
    parser.add_argument("--labs", type=int, default=2, help="how many are used side by side")
    parser.add_argument("--home", default="", help="a lab that runs already")
    parser.add_argument("-o", "--output", choices=["table", "json"], default="table")
    given = parser.parse_args()
    wanted = pairs(given.story, given.only, given.reduced)
    if not wanted:
        parser.error(
            "nothing to play: steps are " + ", ".join(Step) + "; faults " + ", ".join(Fault)
        )
    began = time.monotonic()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that the labs are taken away
    cells: list[Cell] = []

    def tell(cell: Cell) -> None:
        cells.append(cell)
        print(f"{len(cells):3}/{len(wanted)} {_line(cell)}", file=sys.stderr, flush=True)

    if given.home:
        with stage.own_lab(given.home) as lab:
            asyncio.run(lanes.play_in(lab, wanted, tell))
    else:
        for cell in lanes.play(wanted, min(given.labs, len(wanted))):
            tell(cell)
    bad = [cell for cell in cells if not cell.good]
    played = {cell.fault for cell in cells}
    if given.output == "json":
        print(json.dumps([{**asdict(cell), "good": cell.good} for cell in cells], indent=2))
        return 1 if bad else 0
    print("\nEach cell: the longest pause that the guest saw.\n")
    print("\n".join(table(cells)))
    print("\n" + "\n".join(f"{fault:15} {ABOUT[fault]}" for fault in Fault if fault in played))
    seconds = time.monotonic() - began
    print(f"\n{len(cells) - len(bad)} of {len(cells)} cells OK, {seconds:.0f} s")
    return 1 if bad else 0
