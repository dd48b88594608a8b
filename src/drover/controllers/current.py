"""The settings as they are now, from the shared cache of ModuleConfigs; read anew only when the object changes."""

from __future__ import annotations

from drover.api import names, scheme
from drover.api.wire import Object
from drover.controllers.settings import Settings, read
from drover.runtime.manager import Manager


class CurrentSettings:
    """One per controller that needs settings. Watch ``informer`` to hear of changes."""

    def __init__(self, manager: Manager) -> None:
        self.informer = manager.informer(scheme.MODULECONFIG)
        self._seen: Object | None = None
        self._settings = Settings()

    def now(self) -> Settings:
        found = self.informer.get(names.MODULE_CONFIG)
        if found is not self._seen:
            self._seen, self._settings = found, read(found)
        return self._settings
