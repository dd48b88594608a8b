"""``drover top``: what nodes and VMs take of CPU and memory, and how fast guests that move dirty their memory.

Figures are reservations, which placement goes by; drover does not measure use. On a terminal the view is drawn again
every few seconds until Ctrl+C; else it is printed once.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from drover.cli.session import Session, examples, say

if TYPE_CHECKING:
    from drover.answers.overview import NodeRow, Overview, VmRow
    from drover.cli.connect import Api

MIB = 2**20
_HOME_AND_CLEAR = "\x1b[H\x1b[J"
SORTS: dict[str, Callable[[Any], Any]] = {
    "name": lambda row: row.name,
    "cpu": lambda row: (-row.cpu_milli, row.name),
    "memory": lambda row: (-row.memory_bytes, row.name),
}


@click.command(epilog=examples("top", "top vms --sort cpu", "top nodes --once", "top vms -o json"))
@click.argument("what", type=click.Choice(["nodes", "vms"]), default="nodes")
@click.option("--sort", type=click.Choice(list(SORTS)), default="name", show_default=True)
@click.option("--once", is_flag=True, help="Print it once, also on a terminal.")
@click.option(
    "--every",
    type=click.FloatRange(0.5, 3600),
    default=2.0,
    show_default=True,
    help="Seconds between two looks.",
)
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text")
@click.pass_obj
def command(session: Session, what: str, sort: str, once: bool, every: float, output: str) -> int:
    """Show how much of CPU and memory nodes or VMs have reserved; live on a terminal.

    DIRTY is what a guest writes to its memory in a second; it is known while the guest is copied.
    """
    live = output == "text" and not once and sys.stdout.isatty()
    with contextlib.suppress(asyncio.CancelledError, KeyboardInterrupt):  # its regular end
        asyncio.run(_run(session, what, sort, every if live else 0.0, output))
    return 0


async def _run(session: Session, what: str, sort: str, every_s: float, output: str) -> None:
    from drover.api.status import Unanswered
    from drover.cli.connect import connected
    from drover.cli.keyboard import ended_by_signals

    this = asyncio.current_task()
    assert this is not None
    async with connected(session) as api:
        if not every_s:
            _once(await _look(api), what, sort, output)
            return
        with ended_by_signals(this):
            lines: list[str] = []
            while True:
                note = "Ctrl+C leaves"
                try:
                    lines = _lines(await _look(api), what, sort)
                except Unanswered:  # what was seen last stays, and it is asked again
                    note = f"The API does not answer: this is how it was. {note}"
                _draw(lines, note)
                await api.clock.sleep(every_s)


async def _look(api: Api) -> Overview:
    from drover.answers.overview import Overview
    from drover.api import scheme
    from drover.cli import why_world

    kinds = (scheme.VM, scheme.VML, scheme.VMOP, scheme.VMM, scheme.POD, scheme.NODE)
    return Overview(await why_world.look(api, (*kinds, scheme.NODEFENCE)))


def _once(known: Overview, what: str, sort: str, output: str) -> None:
    if output == "json":
        from drover.answers.overview import rows_json

        rows: list[Any] = list(known.nodes if what == "nodes" else known.vms)
        rows.sort(key=SORTS[sort])
        click.echo(json.dumps(rows_json(rows), indent=2))
        return
    for number, line in enumerate(_lines(known, what, sort)):
        say(line, bold=number == 0)


def _lines(known: Overview, what: str, sort: str) -> list[str]:
    """The head, then a line each."""
    if what == "nodes":
        head = f"{'NODE':<20} {'STATE':<10} {'VMS':>4} {'CPU':>7} {'CPU%':>5}  {'':<20} {'MEMORY':>11} {'MEM%':>5}"
        return [head, *(_node(row) for row in sorted(known.nodes, key=SORTS[sort]))]
    head = f"{'VM':<32} {'PHASE':<10} {'NODE':<20} {'CORES':>5} {'CPU':>7} {'MEMORY':>11} {'DIRTY':>11}"
    return [head, *(_vm(row) for row in sorted(known.vms, key=SORTS[sort]))]


def _node(row: NodeRow) -> str:
    return (
        f"{row.name:<20} {row.state:<10} {row.vms:>4} {_cpu(row.cpu_milli):>7} {row.cpu_percent:>4}%  "
        f"{_bar(row.cpu_percent)} {_size(row.memory_bytes):>11} {row.memory_percent:>4}%"
    )


def _vm(row: VmRow) -> str:
    dirty = row.dirty_bytes_per_second
    rate = "-" if dirty is None else f"{dirty / MIB:.1f} MiB/s"
    return (
        f"{row.name:<32} {row.phase:<10} {row.node or '-':<20} {row.cores:>5} "
        f"{_cpu(row.cpu_milli):>7} {_size(row.memory_bytes):>11} {rate:>11}"
    )


def _bar(percent: int) -> str:
    """20 columns; the mark stands at 80 %, where rebalancing begins to care."""
    filled = min(20, percent // 5)
    bar = "#" * filled + "." * (20 - filled)
    return bar[:16] + ("|" if filled <= 16 else "#") + bar[17:]


def _cpu(milli: int) -> str:
    return f"{milli / 1000:.2f}"


def _size(count: int) -> str:
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 else f"{count // MIB} MiB"


def _draw(lines: list[str], note: str) -> None:
    """As many as the terminal takes."""
    columns, rows = shutil.get_terminal_size()
    shown = [line[:columns] for line in lines[: max(2, rows - 2)]]
    left = len(lines) - len(shown)
    shown.append(f"and {left} more. {note}" if left > 0 else note)
    click.echo(_HOME_AND_CLEAR + "\n".join(shown), nl=False)
