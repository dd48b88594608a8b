"""All families of one moment, as the text that Prometheus reads.

The caches are read at once; the text of a large cluster takes seconds to make, so that is done beside the loop, one
scrape and some of its families at a time: those of all VMs together would take more memory than all caches. The text is
kept packed from the first piece on: it says nearly the same ten thousand times, in a twentieth of its size.
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector, CollectorRegistry

from drover.api import scheme
from drover.api.wire import Object
from drover.controllers.metrics import moves, nodes, operations, others, rebalancing, vms, work
from drover.runtime.controller import Controller
from drover.runtime.manager import Manager

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4
AT_ONCE = 500  # VMs, disks, whose samples are held as objects; as text they take a third of that
_LEVEL = 1  # of packing: the least work
_GZIP = 31  # zlib's word for the form that HTTP calls gzip


@dataclass(frozen=True)
class Objects:
    """Everything that is counted."""

    vms: Sequence[Object] = ()
    vmops: Sequence[Object] = ()
    moves: Sequence[Object] = ()
    classes: Sequence[Object] = ()
    disks: Sequence[Object] = ()
    images: Sequence[Object] = ()
    cluster_images: Sequence[Object] = ()
    groups: Sequence[Object] = ()
    deschedulers: Sequence[Object] = ()
    plans: Sequence[Object] = ()
    nodes: Sequence[Object] = ()
    pods: Sequence[Object] = ()
    fences: Sequence[Object] = ()


def families(
    objects: Objects,
    finished: moves.Finished,
    now_s: float,
    controllers: Sequence[Controller] = (),
) -> Iterator[Metric]:
    """Of the process that leads, in the order in which they are shown; those of VMs and of disks come in parts."""
    yield from others.leading_families(True)
    for some in _parts(objects.vms):
        yield from vms.families(some)
    yield from operations.families(objects.vmops)
    yield from others.class_families(objects.classes)
    for some in _parts(objects.disks):
        yield from others.disk_families(some)
    yield from others.image_families(objects.images, objects.cluster_images)
    yield from others.standby_families(objects.groups)
    yield from moves.waiting_families(objects.vmops, now_s)
    yield from moves.backlog_families(objects.vms)
    yield from moves.copy_families(objects.moves)
    yield from finished.families(objects.moves)
    yield from rebalancing.families(objects.deschedulers, objects.plans, now_s)
    yield from nodes.families(objects.nodes, objects.pods, objects.fences)
    yield from work.families(controllers)


def _parts(objects: Sequence[Object]) -> Iterator[Sequence[Object]]:
    """One at least: a family is shown though there is nothing of it."""
    for first in range(0, max(1, len(objects)), AT_ONCE):
        yield objects[first : first + AT_ONCE]


class Exposition:
    """One per process; reads the caches when it is asked."""

    def __init__(self, manager: Manager) -> None:
        self._manager = manager
        self._clock = manager.clock
        self._informers = [
            manager.informer(kind)
            for kind in (
                *(scheme.VM, scheme.VMOP, scheme.VMM, scheme.VMCLASS),
                *(scheme.VDISK, scheme.VIMAGE, scheme.CVIMAGE, scheme.NODEGROUP),
                *(scheme.DESCHEDULER, scheme.REBALANCEPLAN),
                *(scheme.NODE, scheme.POD, scheme.NODEFENCE),
            )
        ]
        self._finished = moves.Finished()
        self._one_at_a_time = asyncio.Lock()

    async def packed(self) -> bytes:
        """By gzip. A scrape before the caches have synced finds nothing yet. A process that does not lead tells that
        alone: its series would be counted twice."""
        if not self._manager.leading:
            return packed(others.leading_families(False))
        async with self._one_at_a_time:
            objects = Objects(*(informer.all() for informer in self._informers))
            now_s = self._clock.wall()
            shown = families(objects, self._finished, now_s, self._manager.controllers)
            return await asyncio.to_thread(packed, shown)


def packed(found: Iterable[Metric]) -> bytes:
    """By gzip. A family that comes in parts, of gauges then, is put together."""
    texts: dict[str, list[bytes]] = {}
    for family in found:
        registry = CollectorRegistry(auto_describe=False)
        registry.register(_Given([family]))
        text = generate_latest(registry)
        if family.name in texts:
            text = text.split(b"\n", 2)[2]  # after what is said of the whole: HELP and TYPE
        texts.setdefault(family.name, []).append(zlib.compress(text, _LEVEL))
    packer = zlib.compressobj(_LEVEL, wbits=_GZIP)
    out = bytearray()
    for pieces in texts.values():
        for piece in pieces:
            out += packer.compress(zlib.decompress(piece))
    return bytes(out + packer.flush())


class _Given(Collector):
    def __init__(self, given: Iterable[Metric]) -> None:
        self._given = given

    def collect(self) -> Iterable[Metric]:
        return self._given
