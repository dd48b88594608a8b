"""Which Pods of a node a drain asks to leave. Pure.

The choice follows `kubectl drain`: DaemonSets' Pods stay, Pods that nobody would make again and Pods with an emptyDir
need an explicit word.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from drover.api import selectors
from drover.api.kinds import pod as pods
from drover.api.scheme import key_of
from drover.api.wire import Object

MIRROR = "kubernetes.io/config.mirror"


@dataclass(frozen=True)
class Options:
    """What the command line allows."""

    vms_only: bool = False
    selector: str = ""
    force: bool = False
    delete_emptydir_data: bool = False


@dataclass(frozen=True)
class Choice:
    pods: tuple[Object, ...]
    stay: tuple[str, ...] = ()  # DaemonSets' and static Pods
    refused: tuple[str, ...] = ()  # sentences


def choose(found: Iterable[Object], options: Options) -> Choice:
    """Of the Pods on the node."""
    chosen: list[Object] = []
    stay: list[str] = []
    refused: list[str] = []
    for pod in found:
        if options.vms_only and not pods.is_vm(pod):
            continue
        if options.selector and not selectors.matches_labels(options.selector, pod):
            continue
        owner = _controller(pod)
        if owner.get("kind") == "DaemonSet" or MIRROR in (pod["metadata"].get("annotations") or {}):
            stay.append(key_of(pod))
            continue
        why = "" if pods.ended(pod) else _needs_a_word(pod, owner, options)
        if why:
            refused.append(f"Pod {key_of(pod)} {why}")
        else:
            chosen.append(pod)
    return Choice(tuple(chosen), tuple(stay), tuple(refused))


def _needs_a_word(pod: Object, owner: Mapping[str, Any], options: Options) -> str:
    if not owner and not options.force:
        return "has no controller, nobody would make it again: --force deletes it"
    volumes = pod["spec"].get("volumes") or []
    if any("emptyDir" in volume for volume in volumes) and not options.delete_emptydir_data:
        return "has an emptyDir, whose data would be lost: --delete-emptydir-data allows that"
    return ""


def _controller(pod: Object) -> Mapping[str, Any]:
    owners: list[Mapping[str, Any]] = pod["metadata"].get("ownerReferences") or []
    return next((owner for owner in owners if owner.get("controller")), {})


def duration(seconds_left: float) -> str:
    """For people: ``40 s``, ``3 min``."""
    if seconds_left < 90:
        return f"{max(1, round(seconds_left))} s"
    return f"{round(seconds_left / 60)} min"
