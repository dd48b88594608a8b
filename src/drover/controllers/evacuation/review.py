"""The answers to an eviction of a VM Pod, as words and one pure function. What the reference platform's users and
tools read in them is kept: the descheduler knows an eviction that goes on in the background by them.
"""

from __future__ import annotations

import enum

from drover.api.evacuation import BlockedReason, Mark, blocked_of, mark_of
from drover.api.kinds import pod as pods
from drover.api.meta import uid_of
from drover.api.wire import Object
from drover.controllers.webhook import Refusal

TARGET = "Eviction request for target Pod"
NOT_MIGRATABLE = "VMI {vm} is configured with an eviction strategy but is not live-migratable"
TRIGGERED = 'Eviction triggered evacuation of VMI "{key}"'
STOPS = 'VMI "{key}" is being stopped; its Pod goes when its guest has ended'
CHANGED = "the Pod was replaced by another one of that name; try again"
DRY = (
    'VMI "{key}" would be moved first, and its Pod go when it runs elsewhere; a dry run moves nothing: '
    "`drover drain {node} --dry-run` tells where each would go"
)
AWAY = "the API server did not answer the review of this eviction; try again"


class Next(enum.Enum):
    """What the review does with an eviction."""

    ALLOW = enum.auto()
    REFUSE = enum.auto()  # at once: a target
    AGAIN = enum.auto()  # at once: it would hit another Pod of that name
    WAIT = enum.auto()  # the Pod ends by itself
    MARK = enum.auto()  # and wait


def judge(pod: Object | None, uid: str, holder: str) -> Next:
    """``uid`` is the Pod that the review began with; ``holder`` has the VM's lease."""
    if pod is None or pods.ended(pod):
        return Next.ALLOW
    if uid_of(pod) != uid:
        return Next.AGAIN
    if pods.deleting(pod):
        return Next.WAIT
    if pods.migration_name(pod) and uid != holder:
        return Next.REFUSE
    return Next.WAIT if mark_of(pod) is not None else Next.MARK


def refusal(text: str) -> Refusal:
    """What kubectl drain repeats after 5 s."""
    return Refusal(text, 429, "TooManyRequests")


def dry_refusal(key: str, node: str) -> Refusal:
    """What kubectl drain tells and ends with. It cannot be allowed: the budget of VM Pods refuses them all."""
    return Refusal(DRY.format(key=key, node=node))


def words(key: str, pod: Object, before: Mark | None, doing: str) -> str:
    """``before``: the mark that stood when the eviction came; ``doing``: of the operation under way."""
    if pods.deleting(pod):
        return STOPS.format(key=key)
    blocked = blocked_of(pod)
    if blocked is not None and blocked.reason == BlockedReason.NOT_MIGRATABLE:
        text = NOT_MIGRATABLE.format(vm=pods.vm_name(pod))
        return f"{text}: {blocked.message}" if blocked.message else text
    text = TRIGGERED.format(key=key)
    if before is not None:
        text = f"Evacuation in progress: {text}"
    why = blocked.message if blocked is not None else doing
    return f"{text}: {why}" if why else text


def blocked_now(pod: Object | None) -> bool:
    """Waiting longer would bring nothing soon."""
    return pod is not None and blocked_of(pod) is not None
