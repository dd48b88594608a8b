"""``status.stats``: when the guest started, which phases it went through, how long each part of a start took. Pure."""

from __future__ import annotations

from typing import Any

from drover.api import conditions as cond
from drover.api.kinds import vm as vms
from drover.api.kinds.vm import VmPhase
from drover.base.clock import parse_rfc3339, rfc3339
from drover.controllers.vm.view import VmView

MOST_TRANSITIONS = 10
AGENT_READY = "drover.dev/AgentReady"  # condition of a VM Pod
ALIVE = (VmPhase.RUNNING, VmPhase.MIGRATING)
STARTED = (*ALIVE, VmPhase.PAUSE)


def build(view: VmView, phase: VmPhase) -> dict[str, Any]:
    """``lastStartTime`` is of this life of the guest: a migration does not touch it."""
    before = vms.status(view.vm)
    stats: dict[str, Any] = dict(before.get("stats") or {})
    now = rfc3339(view.now_s)
    transitions = list(stats.get("phasesTransitions") or [])
    if before.get("phase") != str(phase):
        transitions.append({"phase": str(phase), "timestamp": now})
        stats["phasesTransitions"] = transitions[-MOST_TRANSITIONS:]
    if phase is VmPhase.RUNNING and vms.phase(view.vm) not in STARTED:
        stats["lastStartTime"] = now
    durations = _durations(view, phase, transitions, dict(stats.get("launchTimeDuration") or {}))
    if durations:
        stats["launchTimeDuration"] = durations
    return stats


def _durations(
    view: VmView, phase: VmPhase, transitions: list[dict[str, str]], before: dict[str, str]
) -> dict[str, str]:
    """Of the latest start, each measured at the moment its part ends."""
    entered = vms.phase(view.vm) is not phase
    if phase is VmPhase.STARTING and entered:
        waited = _since(transitions[:-1], VmPhase.PENDING, view.now_s)
        return {"waitingForDependencies": waited} if waited else {}
    if phase is VmPhase.RUNNING and entered and vms.phase(view.vm) not in STARTED:
        took = _since(transitions, VmPhase.STARTING, view.now_s)
        before.pop("guestOSAgentStarting", None)
        return {**before, "virtualMachineStarting": took} if took else before
    pod = view.active_pod
    ready = pod is not None and cond.is_true(pod, AGENT_READY)
    started = view.started_s
    if phase is VmPhase.RUNNING and ready and started and "guestOSAgentStarting" not in before:
        return {**before, "guestOSAgentStarting": _text(view.now_s - started)}
    return before


def _since(transitions: list[dict[str, str]], phase: VmPhase, now_s: float) -> str:
    """Since the phase was entered last; empty when it was not."""
    times = [entry["timestamp"] for entry in transitions if entry["phase"] == str(phase)]
    return _text(now_s - parse_rfc3339(times[-1])) if times else ""


def _text(seconds: float) -> str:
    return f"{max(seconds, 0.0):.0f}s"
