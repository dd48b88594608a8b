"""Firmware bundles as the API shows them: what a node offers, what a Pod wishes for, what runs.

Offer: annotation ``drover.dev/firmware`` of a Node, JSON, by its agent; the first is the node's default. Wish: the
same annotation of a VM Pod, by the controllers at its creation; empty: the node's default. Fact: the image id of the
Pod's container, ``qemu://10.0.2``, by the agent of its node. Pure.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass

from drover.api.meta import annotations_of
from drover.api.names import FIRMWARE_ANNOTATION
from drover.api.wire import Object

RUNNING_PREFIX = "qemu://"
# On ModuleConfig virtualization: any other text sets the same version once more.
SET_ANNOTATION = "drover.dev/firmware-set"
ROLLED_OUT = "FirmwareRolledOut"  # condition of ModuleConfig virtualization
MOST_OFFERS = 32


@dataclass(frozen=True, order=True)
class Version:
    """Compares as versions do: 7.2.22 is older than 10.0.2."""

    numbers: tuple[int, ...]
    text: str

    @staticmethod
    def of(text: str) -> Version:
        return Version(tuple(int(number) for number in re.findall(r"\d+", text)[:6]), text)


@dataclass(frozen=True)
class Offer:
    """One bundle of one node."""

    version: str
    machine_types: tuple[str, ...]


def encode(offers: Iterable[Offer]) -> str:
    """The annotation of a Node."""
    return json.dumps(
        [{"version": o.version, "machineTypes": list(o.machine_types)} for o in offers],
        separators=(",", ":"),
    )


def offers_of(node: Object) -> tuple[Offer, ...]:
    """What a Node offers; nothing when it does not say, or says what cannot be read."""
    try:
        entries = json.loads(annotations_of(node).get(FIRMWARE_ANNOTATION, "[]"))
        return tuple(
            Offer(str(entry["version"]), tuple(str(name) for name in entry["machineTypes"]))
            for entry in entries[:MOST_OFFERS]
        )
    except (ValueError, TypeError, KeyError):
        return ()


def offer_of(node: Object, version: str) -> Offer | None:
    return next((offer for offer in offers_of(node) if offer.version == version), None)


def can_run(node: Object, version: str, machine_type: str) -> bool:
    """Whether the node offers the version, and that has the machine type."""
    offer = offer_of(node, version)
    return offer is not None and machine_type in offer.machine_types


def wish_of(pod: Object) -> str:
    return annotations_of(pod).get(FIRMWARE_ANNOTATION, "")


def running_on(pod: Object) -> str:
    """The version that the Pod's QEMU has; empty: its agent has not told."""
    for container in (pod.get("status") or {}).get("containerStatuses") or []:
        image = str(container.get("imageID", ""))
        if image.startswith(RUNNING_PREFIX):
            return image.removeprefix(RUNNING_PREFIX)
    return ""
