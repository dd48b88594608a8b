"""bench/arrows: where the time of one move goes, arrow by arrow of docs/walks/evict.md.

A client that watches all the objects of a move notes when it first sees each of their states; the table shows the
medians, from the creation of the operation on, with the time since the line above. No yardstick: this explains the
figure of bench/evict.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import time

from bench import common
from bench.evict import NAMESPACE, NODES, VM, Ours
from drover.api import scheme
from drover.api.wire import Object
from drover.base.clock import RealClock
from drover.lab.home import Home
from drover.runtime.client import Client
from drover.runtime.kubeconfig import load

LIMIT_S = 600
KINDS = {
    "vmop": scheme.VMOP,
    "vmm": scheme.VMM,
    "pod": scheme.POD,
    "vm": scheme.VM,
    "vml": scheme.VML,
}


class Seen:
    """When each state was first seen in the present move, in seconds from its beginning."""

    def __init__(self) -> None:
        self.began = 0.0
        self.moves: list[dict[str, float]] = []

    def begin(self) -> None:
        self.began = time.monotonic()
        self.moves.append({})

    def note(self, mark: str) -> None:
        if self.moves:
            self.moves[-1].setdefault(mark, time.monotonic() - self.began)

    def medians_ms(self) -> list[tuple[float, str]]:
        marks = {mark for move in self.moves for mark in move}
        return sorted(
            (1000 * statistics.median(move[mark] for move in self.moves if mark in move), mark)
            for mark in marks
            if sum(mark in move for move in self.moves) > len(self.moves) / 2
        )


def marks(name: str, obj: Object) -> list[str]:
    """What an object's state is called in the table."""
    status = obj.get("status", {})
    match name:
        case "vmm":
            found = [f"vmm {status.get('phase', 'created')}"]
            for side in ("source", "target"):
                if phase := status.get(side, {}).get("phase"):
                    found.append(f"vmm {side}: {phase}")
            return found
        case "vml":
            return [f"vml epoch +{obj['spec'].get('epoch')}"]
        case "pod":
            bound = "bound" if obj["spec"].get("nodeName") else "created"
            return [f"pod {bound}, {status.get('phase', 'Pending')}"]
        case _:
            return [f"{name} {status.get('phase', 'created')}"]


async def follow(client: Client, name: str, seen: Seen) -> None:
    kind = KINDS[name]
    _, version = await client.list(kind, NAMESPACE)
    async with client.watch(kind, version, LIMIT_S, namespace=NAMESPACE) as events:
        async for event in events:
            obj = event["object"]
            if VM not in str(obj["metadata"].get("name")):
                continue
            for mark in marks(name, obj):
                seen.note(mark)


async def measure(home: Home, moves: int) -> Seen:
    transport = await load(home.kubeconfig).transport(RealClock())
    client = Client(transport)
    ours, seen = Ours(client), Seen()
    await ours.boot()
    watches = [asyncio.create_task(follow(client, name, seen)) for name in KINDS]
    try:
        if not common.answers(ours.address, 180):
            raise SystemExit("the guest does not answer")
        for number in range(moves):
            target = NODES[1 - NODES.index(ours.node)] if ours.node in NODES else NODES[0]
            await asyncio.sleep(1.0)
            if number:
                seen.begin()
            await ours.move(target)
            seen.note("client: Completed")
        return seen
    finally:
        for watch in watches:
            watch.cancel()
        await asyncio.gather(*watches, return_exceptions=True)
        await ours.remove()
        await transport.aclose()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-n", "--moves", type=int, default=12, help="default 12")
    parser.add_argument("--home", default="", help="a lab that runs; else one of its own")
    given = parser.parse_args()
    before = common.load()
    with common.lab_at(given.home) as home:
        seen = asyncio.run(measure(home, given.moves))
    print(f"bench/arrows: {len(seen.moves)} moves, medians\n{common.machine()}; load {before}")
    last = 0.0
    for at_ms, mark in seen.medians_ms():
        print(f"{at_ms:7.0f} ms  {at_ms - last:+6.0f}  {mark}")
        last = at_ms


if __name__ == "__main__":
    main()
