"""Which servers of the control plane there are: a host asks any of them, and goes on with another when one is lost.

It begins with those of its configuration. The ConfigMap ``drover-servers`` says which there are by now; a host notes it
on its disk, so that it finds them too when the one that it joined with is gone for ever. Where there is no such
ConfigMap, as in a lab, the configuration stands.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

from drover.agent.config import AgentConfig
from drover.agent.journal import write_synced
from drover.api import names, scheme
from drover.api.status import ApiError, Forbidden, NotFound, Unanswered
from drover.base.clock import Clock
from drover.base.log import Log
from drover.runtime.client import Client

LOOK_S = 60.0
MOST_SERVERS = 9
_FILE = "api-servers.json"


async def known(client: Client) -> tuple[str, ...]:
    """URLs, as the cluster says; none when it says nothing. Raises ApiError, Unanswered."""
    try:
        found = await client.get(scheme.CONFIGMAP, names.SERVERS, names.SYSTEM_NAMESPACE)
    except (NotFound, Forbidden):
        return ()
    urls = (str(url) for _, url in sorted((found.get("data") or {}).items()))
    return tuple(url for url in urls if url.startswith("https://"))[:MOST_SERVERS]


def remembered(config: AgentConfig) -> tuple[str, ...]:
    """All to ask beside the first of the configuration."""
    try:
        noted = json.loads((Path(config.state_dir) / _FILE).read_bytes())
        urls = [str(url) for url in noted]
    except (OSError, ValueError, TypeError):
        urls = []
    others = dict.fromkeys([*urls, *config.more_api_servers])
    return tuple(url for url in others if url != config.api_server)


class Servers:
    """``keep`` looks every minute, and tells whoever ``use``s them when they have changed."""

    def __init__(
        self,
        config: AgentConfig,
        client: Client,
        use: Callable[[Sequence[str]], None],
        clock: Clock,
        log: Log,
    ) -> None:
        self._file = Path(config.state_dir) / _FILE
        self._client = client
        self._use = use
        self._clock = clock
        self._log = log
        self._now: tuple[str, ...] = ()

    async def keep(self) -> None:
        """For ever."""
        while True:
            try:
                found = await known(self._client)
            except (ApiError, Unanswered):
                found = ()
            if found and found != self._now:
                self._use(found)
                self._now = found
                self._log.info("servers", are=", ".join(found))
                self._note(found)
            await self._clock.sleep(LOOK_S)

    def _note(self, found: Sequence[str]) -> None:
        """A disk that takes nothing must not end the agent, which keeps everybody's VMs alive."""
        try:
            write_synced(self._file, json.dumps(found).encode())
        except OSError as error:
            self._log.warn("the servers are not noted", why=str(error))
