"""Wiring of the moduleconfig controller: read the settings, write what is wrong with them."""

from __future__ import annotations

from drover.api import conditions as cond
from drover.api import scheme
from drover.api.meta import generation_of
from drover.api.wire import Object
from drover.controllers.settings import Settings, is_settings, read
from drover.controllers.writes import Writer
from drover.runtime.controller import Controller, Done, Outcome
from drover.runtime.manager import Manager

APPLIED = "SettingsApplied"
ALL_APPLIED, SOME_NOT = "Applied", "InvalidSettings"


def condition(settings: Settings, generation: int) -> Object:
    """SettingsApplied. False: some values are not used, the others are."""
    words = "; ".join(str(problem) for problem in settings.problems)
    reason = SOME_NOT if words else ALL_APPLIED
    return cond.condition(APPLIED, not words, reason, words[:32000], generation)


def wire(manager: Manager) -> None:
    """Register the controller with ``manager``."""
    informer = manager.informer(scheme.MODULECONFIG)
    writer = Writer(manager.client, manager.clock, informer)

    async def reconcile(key: str) -> Outcome:
        found = informer.get(key)
        if found is None:
            return Done()
        settings = read(found)
        wanted = condition(settings, generation_of(found))
        before = cond.get_condition(found, APPLIED) or {}
        if settings.problems and before.get("message") != wanted["message"]:
            for problem in settings.problems:
                manager.recorder.event(found, "Warning", SOME_NOT, str(problem))
        await writer.status(found, {"message": wanted["message"][:4000]}, [wanted])
        return Done()

    controller = Controller("moduleconfig", reconcile)
    controller.watch(informer, lambda found: [scheme.key_of(found)] if is_settings(found) else [])
    manager.add(controller)
