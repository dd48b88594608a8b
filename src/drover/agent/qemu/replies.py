"""QMP answers become the port's values. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from drover.agent.ports import MigrationInfo, MigrationState, RunState

# States of QEMU that mean the same to us. "postcopy" and "pre-switchover" ones never occur: we do
# not ask for them.
_MIGRATION_WORDS = {"wait-unplug": MigrationState.SETUP, "colo": MigrationState.ACTIVE}


def run_state(answer: Mapping[str, Any]) -> RunState:
    """Of ``query-status``."""
    try:
        return RunState(answer["status"])
    except ValueError:
        return RunState.OTHER


def migration_info(answer: Mapping[str, Any]) -> MigrationInfo:
    """Of ``query-migrate``. QEMU leaves out what it does not know."""
    word = answer.get("status", "none")
    state = _MIGRATION_WORDS.get(word) or MigrationState(word)
    ram = answer.get("ram", {})
    page_bytes = ram.get("page-size", 4096)
    return MigrationInfo(
        state=state,
        total_bytes=ram.get("total", 0),
        transferred_bytes=ram.get("transferred", 0),
        remaining_bytes=ram.get("remaining", 0),
        dirty_bytes_per_second=ram.get("dirty-pages-rate", 0) * page_bytes,
        iteration=ram.get("dirty-sync-count", 0),
        mbps=ram.get("mbps", 0.0),
        throttle_percent=answer.get("cpu-throttle-percentage", 0),
        downtime_ms=answer.get("downtime", 0),
        total_ms=answer.get("total-time", 0),
        error=answer.get("error-desc", ""),
    )
