"""How far a migration is, in per cent, and how that reads. Pure; never decreases (the caller keeps the maximum).

0 queued, 2 scheduling, 3 preparing, 4 waiting for a slot, 10 to 45 the first pass over memory (linear), 45 to 90 the
passes over what was written meanwhile (logarithmic in what remains: half left is progress as good as a quarter left
is twice that), 91 handed over, 92 resumed on the target, 100 done.
"""

from __future__ import annotations

import math

from drover.controllers.vmop.view import VmmView

MIB = 2**20
# At this share of memory remaining the copy is about to switch over.
_NEARLY = 0.001
# A copy that made no progress for so long at full throttle does not converge.
_STALLED_S = 10
_FULL_THROTTLE = 99


def copying_percent(vmm: VmmView) -> int:
    """10 to 90."""
    if vmm.total_bytes <= 0:
        return 10
    if vmm.iteration <= 1:
        return 10 + int(35 * min(1.0, vmm.transferred_bytes / vmm.total_bytes))
    left = min(1.0, max(_NEARLY, vmm.remaining_bytes / vmm.total_bytes))
    return 45 + int(45 * math.log(left) / math.log(_NEARLY))


def not_converging(vmm: VmmView) -> bool:
    """The passes over written memory do not get shorter, and the guest is slowed down as far as it may be."""
    slowest = not vmm.auto_converge or vmm.throttle_percent >= _FULL_THROTTLE
    return vmm.iteration > 1 and slowest and vmm.stalled_s >= _STALLED_S


def details(vmm: VmmView) -> str:
    """The counters behind the message while copying."""
    elapsed = int(vmm.elapsed_s // 10 * 10)
    return (
        f"TimeElapsed:{elapsed}s "
        f"DataProcessed:{vmm.transferred_bytes // MIB}MiB "
        f"DataRemaining:{vmm.remaining_bytes // MIB}MiB "
        f"DataTotal:{vmm.total_bytes // MIB}MiB "
        f"Iteration:{vmm.iteration} "
        f"AutoConvergeThrottleSet:{str(vmm.auto_converge).lower()} "
        f"AutoConvergeThrottle:{vmm.throttle_percent}"
    )
