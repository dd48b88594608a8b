"""What can be broken, and when: the rows and columns of the table. Data only.

A step is reached when its mark is in the log. Some steps pass in milliseconds; ``HOLD`` says what is stopped (with
SIGSTOP, from outside) so that the fault lands between this step and the next and nowhere else.
"""

from __future__ import annotations

import enum


class Step(enum.StrEnum):
    SCHEDULING = "scheduling"
    LISTENING = "listening"
    EARLY = "copying-early"
    LATE = "copying-late"
    COMPLETED = "completed"  # the source has; the lease is still its own
    HANDED_OVER = "handed-over"  # the lease names the target, which has not begun to run
    RESUMED = "resumed"
    DONE = "done"


class Fault(enum.StrEnum):
    NONE = "none"
    SOURCE_QEMU = "source-qemu"
    TARGET_QEMU = "target-qemu"
    SOURCE_AGENT = "source-agent"
    TARGET_AGENT = "target-agent"
    FREEZE_SOURCE = "freeze-source"
    FREEZE_TARGET = "freeze-target"
    CUT = "cut"
    ISOLATE_SOURCE = "isolate-source"
    ISOLATE_TARGET = "isolate-target"
    APISERVER = "apiserver"
    ETCD = "etcd"
    FREEZE_ETCD = "freeze-etcd"
    CONTROLLERS = "controllers"
    POWER_SOURCE = "power-source"
    POWER_TARGET = "power-target"
    LAST_WORD = "last-word"
    CUT_FOR_GOOD = "cut-for-good"


Pair = tuple[Step, Fault]
PROGRESS_S = 6  # the setting of Fault.CUT_FOR_GOOD; 150 as delivered

ABOUT = {
    Fault.NONE: "nothing",
    Fault.SOURCE_QEMU: "SIGKILL of the QEMU on the source",
    Fault.TARGET_QEMU: "SIGKILL of the QEMU on the target",
    Fault.SOURCE_AGENT: "SIGKILL of the source's agent",
    Fault.TARGET_AGENT: "SIGKILL of the target's agent",
    Fault.FREEZE_SOURCE: "SIGSTOP of the source's agent for 3 s",
    Fault.FREEZE_TARGET: "SIGSTOP of the target's agent for 3 s",
    Fault.CUT: "no frame passes between the two nodes for 3 s",
    Fault.ISOLATE_SOURCE: "the source's cable is pulled for 3 s: no API, no target, no guest network",
    Fault.ISOLATE_TARGET: "the target's cable is pulled for 3 s",
    Fault.APISERVER: "SIGKILL of kube-apiserver",
    Fault.ETCD: "SIGKILL of etcd",
    Fault.FREEZE_ETCD: "SIGSTOP of etcd for 3 s: answers are late, or lost though the write lands",
    Fault.CONTROLLERS: "SIGKILL of drover's controllers",
    Fault.POWER_SOURCE: "the source loses power, all of its processes at once, and boots 3 s later",
    Fault.POWER_TARGET: "the target loses power, and boots 3 s later",
    Fault.LAST_WORD: "the target has loaded everything, and its last message is lost until the operation ends",
    Fault.CUT_FOR_GOOD: f"no frame passes between the two nodes; without progress for {PROGRESS_S} s it is given up",
}

FAULT_S = 3.0  # for those that are mended again

_TARGETS = {
    Fault.TARGET_QEMU, Fault.TARGET_AGENT, Fault.FREEZE_TARGET, Fault.ISOLATE_TARGET, Fault.CUT,
}  # fmt: skip
# Faults that last until the operation has ended.
LASTING = {Fault.LAST_WORD, Fault.CUT_FOR_GOOD}
# Their cells are chosen: the rest of the table would tell nothing new.
LOSSES: tuple[Pair, ...] = (
    (Step.LISTENING, Fault.POWER_SOURCE),
    (Step.LATE, Fault.POWER_SOURCE),
    (Step.COMPLETED, Fault.POWER_SOURCE),
    (Step.HANDED_OVER, Fault.POWER_SOURCE),
    (Step.DONE, Fault.POWER_SOURCE),
    (Step.LISTENING, Fault.POWER_TARGET),
    (Step.LATE, Fault.POWER_TARGET),
    (Step.COMPLETED, Fault.POWER_TARGET),
    (Step.HANDED_OVER, Fault.POWER_TARGET),
    (Step.RESUMED, Fault.POWER_TARGET),
    (Step.LATE, Fault.LAST_WORD),
    (Step.EARLY, Fault.CUT_FOR_GOOD),
)
_EXTRA = {fault for _, fault in LOSSES}
MAIN = tuple(fault for fault in Fault if fault not in _EXTRA)
_COPY = {Step.EARLY, Step.LATE}
_ON_SOURCE = {Fault.SOURCE_QEMU, Fault.POWER_SOURCE}
_ON_TARGET = {Fault.TARGET_QEMU, Fault.POWER_TARGET}
_BEFORE_COPY = {Step.SCHEDULING, Step.LISTENING}


def applies(step: Step, fault: Fault) -> bool:
    """Some pairs do not exist: there is no target before it is scheduled, no source after the end."""
    if fault in _EXTRA:
        return (step, fault) in LOSSES
    if step is Step.SCHEDULING and fault in _TARGETS:
        return False
    return not (step is Step.DONE and fault is Fault.SOURCE_QEMU)


def may_restart(fell: Step, fault: Fault, held: bool) -> bool:
    """The VM's own QEMU may have been the one that died, so that its runPolicy starts it anew.

    ``fell`` is the step at which the fault really came; ``held``: the target's agent was stopped meanwhile, so that its
    guest certainly did not run yet.
    """
    if fault in _ON_SOURCE:
        return fell not in (Step.HANDED_OVER, Step.RESUMED, Step.DONE)
    running = fell in (Step.RESUMED, Step.DONE) or (fell is Step.HANDED_OVER and not held)
    return fault in _ON_TARGET and running


def must_restart(fell: Step, fault: Fault) -> bool:
    """It certainly was."""
    if fault in _ON_SOURCE:
        return fell in (*_BEFORE_COPY, *_COPY)
    return fault in _ON_TARGET and fell in (Step.RESUMED, Step.DONE)


def needs_slow_link(step: Step) -> bool:
    """The copy must last long enough for the fault to fall into it."""
    return step in _COPY


# The most dangerous pairs, for every run of the tests; the module command plays the whole table.
REDUCED: tuple[Pair, ...] = (
    (Step.LATE, Fault.TARGET_QEMU),
    (Step.EARLY, Fault.SOURCE_QEMU),
    (Step.LATE, Fault.SOURCE_AGENT),
    (Step.EARLY, Fault.CUT),
    (Step.COMPLETED, Fault.SOURCE_AGENT),
    (Step.COMPLETED, Fault.FREEZE_ETCD),
    (Step.COMPLETED, Fault.ISOLATE_SOURCE),
    (Step.HANDED_OVER, Fault.TARGET_QEMU),
    (Step.HANDED_OVER, Fault.TARGET_AGENT),
    (Step.HANDED_OVER, Fault.APISERVER),
)
