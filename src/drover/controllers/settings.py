"""What an administrator may set for the whole cluster: ``read(ModuleConfig) -> Settings``. Pure.

The object is ModuleConfig ``virtualization``. Each setting has a typed place below ``spec.settings``, and most have
annotations too, as on the reference platform; a typed value wins over an annotation. The schema refuses bad typed
values; annotations are free text, and on a platform with a schema of its own so is the rest. What cannot be used
becomes a ``Problem`` and leaves the setting at its default: reading never fails. No object at all: all defaults.

docs/limits.md has the table for users. The condition and the Event that tell of problems are written by
``controllers.moduleconfig``; ``controllers.current`` gives the settings as they are now.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from drover.api import names
from drover.api.kinds.vm import LiveMigrationPolicy
from drover.base import quantity

UNLIMITED = 1_000_000
MOST_HOLD_S = 25
MOST_TIMEOUT_S = 86_400
LEAST_BANDWIDTH, MOST_BANDWIDTH = 2**20, 2**40
LEAST_CLUSTER_LIMIT = 2

PREFIX = "virtualization.deckhouse.io/"


@dataclass(frozen=True)
class Problem:
    """One value that is not used, and why: a sentence for the administrator."""

    where: str
    why: str

    def __str__(self) -> str:
        return f"{self.where}: {self.why}"


@dataclass(frozen=True)
class Settings:
    """The defaults are those of the reference platform."""

    cluster_limit: int | None = None  # None: as many as there are VM nodes, at least two
    outbound_per_node: int = 1
    inbound_per_node: int = 1
    sync_per_node: int = 1
    bandwidth_bytes_per_s: int = 640 * 2**20
    completion_timeout_s_per_gib: int = 800
    progress_timeout_s: int = 150
    eviction_hold_s: int = MOST_HOLD_S
    firmware_updates: bool = True
    firmware_version: str = ""  # empty: each node's default
    migration_policy: LiveMigrationPolicy | None = None  # replaces that of every VM
    problems: tuple[Problem, ...] = ()

    def cluster_most(self, vm_nodes: int) -> int:
        """How many migrations may go on at once."""
        if self.cluster_limit is not None:
            return self.cluster_limit
        return max(LEAST_CLUSTER_LIMIT, vm_nodes)


_MOST_TEXT = 16  # characters of a number


class _Bad(ValueError):
    """``str()`` says what the value must be."""


def _number(most: int, unit: str, least: int = 1) -> Callable[[Any], int]:
    def parse(value: Any) -> int:
        text = str(value)
        good = isinstance(value, int | str) and not isinstance(value, bool) and text.isascii()
        short = len(text) <= _MOST_TEXT
        if not (good and short and text.isdigit() and least <= int(text) <= most):
            raise _Bad(f"must be a whole number of {unit} from {least} to {most}")
        return int(text)

    return parse


def _bandwidth(value: Any) -> int:
    wanted = "must be a quantity of bytes per second from 1Mi to 1Ti, for example 640Mi"
    if not isinstance(value, int | str) or len(str(value)) > _MOST_TEXT:
        raise _Bad(wanted)
    try:
        rate = quantity.size_bytes(value)
    except quantity.BadQuantity as error:
        raise _Bad(wanted) from error
    if not LEAST_BANDWIDTH <= rate <= MOST_BANDWIDTH:
        raise _Bad(wanted)
    return rate


def _disabled(value: Any) -> int:
    if value != "disabled":
        raise _Bad('must be "disabled", which lifts the limit')
    return UNLIMITED


def _policy(value: Any) -> LiveMigrationPolicy:
    try:
        return LiveMigrationPolicy(value)
    except ValueError as error:
        raise _Bad(f"must be one of {', '.join(LiveMigrationPolicy)}") from error


def _updates_off(value: Any) -> bool:
    if value not in ("", "true", "false"):
        raise _Bad('must be "true" or "false"')
    return bool(value == "false")


def _boolean(value: Any) -> bool:
    if not isinstance(value, bool):
        raise _Bad("must be true or false")
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str) or len(value) > 63:
        raise _Bad("must be a text of at most 63 characters")
    return value


@dataclass(frozen=True)
class _Setting:
    """One setting: where it is written. Of several annotations the first that is present counts."""

    name: str
    path: str  # below spec.settings; empty: by annotation only
    parse: Callable[[Any], Any] | None
    annotations: tuple[tuple[str, Callable[[Any], Any]], ...] = ()


_SLOTS = _number(UNLIMITED, "migrations")
_SECONDS = _number(MOST_TIMEOUT_S, "seconds")
_LIMITS = "liveMigration.limits"
_SETTINGS = (
    _Setting("cluster_limit", f"{_LIMITS}.cluster", _SLOTS,
             (("parallel-per-cluster-migration-limit", _disabled),)),
    _Setting("outbound_per_node", f"{_LIMITS}.outboundPerNode", _SLOTS,
             (("outbound-migration-limit", _disabled),
              ("parallel-outbound-migrations-per-node", _SLOTS))),
    _Setting("inbound_per_node", f"{_LIMITS}.inboundPerNode", _SLOTS,
             (("inbound-migration-limit", _disabled),
              ("parallel-inbound-migrations-per-node", _SLOTS))),
    _Setting("sync_per_node", f"{_LIMITS}.syncPerNode", _SLOTS,
             (("parallel-per-node-migration-limit", _disabled),
              ("parallel-sync-migrations-per-node", _SLOTS))),
    _Setting("bandwidth_bytes_per_s", "liveMigration.bandwidthPerMigration", _bandwidth,
             (("bandwidth-per-migration", _bandwidth),)),
    _Setting("completion_timeout_s_per_gib", "liveMigration.completionTimeoutPerGiB", _SECONDS,
             (("completion-timeout-per-gib", _SECONDS),)),
    _Setting("progress_timeout_s", "liveMigration.progressTimeout", _SECONDS,
             (("progress-timeout", _SECONDS),)),
    _Setting("eviction_hold_s", "evictionHold", _number(MOST_HOLD_S, "seconds", least=0)),
    _Setting("firmware_updates", "firmware.updates", _boolean,
             (("disable-firmware-update", _updates_off),)),
    _Setting("firmware_version", "firmware.version", _text),
    _Setting("migration_policy", "", None, (("system-migration-policy", _policy),)),
)  # fmt: skip
_REFUSED = {"disable-tls": "is not supported: memory always goes over mutual TLS between nodes"}
_KNOWN = {name for setting in _SETTINGS for name, _ in setting.annotations}


def read(module_config: Mapping[str, Any] | None) -> Settings:
    """The settings of ModuleConfig ``virtualization``; None: there is no such object."""
    if module_config is None:
        return Settings()
    typed = (module_config.get("spec") or {}).get("settings") or {}
    notes = module_config["metadata"].get("annotations") or {}
    found: dict[str, Any] = {}
    problems: list[Problem] = []
    for setting in _SETTINGS:
        _one(setting, typed, notes, found, problems)
    for key in sorted(notes):
        name = key.removeprefix(PREFIX)
        if key.startswith(PREFIX) and name not in _KNOWN:
            problems.append(Problem(_note(name), _REFUSED.get(name, "is no known setting")))
    return replace(Settings(), **found, problems=tuple(problems))


def _one(
    setting: _Setting,
    typed: Mapping[str, Any],
    notes: Mapping[str, str],
    found: dict[str, Any],
    problems: list[Problem],
) -> None:
    value = _at(typed, setting.path) if setting.path else None
    if value is not None and setting.parse is not None:
        _take(setting.name, f"spec.settings.{setting.path}", value, setting.parse, found, problems)
    for name, parse in setting.annotations:
        text = notes.get(PREFIX + name)
        if text is None:
            continue
        if value is not None:
            why = f"is not used, since spec.settings.{setting.path} is set"
            problems.append(Problem(_note(name), why))
        elif setting.name not in found:
            _take(setting.name, _note(name), text, parse, found, problems)


def _take(
    name: str,
    where: str,
    value: Any,
    parse: Callable[[Any], Any],
    found: dict[str, Any],
    problems: list[Problem],
) -> None:
    try:
        found[name] = parse(value)
    except _Bad as bad:
        shown = repr(value)[: 2 * _MOST_TEXT]
        problems.append(Problem(where, f"{bad}, not {shown}; the default stays"))


def _note(name: str) -> str:
    return f"annotation {PREFIX}{name}"


def _at(settings: Mapping[str, Any], path: str) -> Any:
    value: Any = settings
    for part in path.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def is_settings(module_config: Mapping[str, Any]) -> bool:
    """Whether this is the object that ``read`` is about."""
    return bool(module_config["metadata"]["name"] == names.MODULE_CONFIG)
