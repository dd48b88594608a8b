"""The webhook's certificate in a cluster whose certificates we do not make: made here, renewed here, told by us.

    Secret drover-webhook-ca  ->  a certificate of this process, for the Service's name, in a directory of its own
                              ->  caBundle of the ValidatingWebhookConfiguration, which the chart leaves empty

Every process does this for itself, leader or not, every half minute: a configuration that was put anew, as by an
upgrade of the chart, or a Secret that was replaced, is mended by that. Nothing is held in a hook or a job that would
have to succeed once. A leaf lasts a year and is made anew in its last month, an authority ten.

It does not promise reviews in the moments between: the API server goes on without them (failurePolicy Ignore), and
evictions are refused by the PodDisruptionBudget of VMs meanwhile.
"""

from __future__ import annotations

import base64
import datetime
from collections.abc import Callable
from pathlib import Path

from drover.api import scheme
from drover.api.status import ApiError, Unanswered
from drover.base.clock import Clock
from drover.base.log import Log
from drover.controllers import authority
from drover.runtime import pki
from drover.runtime.client import Client

SECRET = "drover-webhook-ca"
CONFIGURATION = "drover-controllers"  # the ValidatingWebhookConfiguration
EVERY_S = 30.0


class ServingCertificate:
    """``service``: NAME.NAMESPACE.svc. The files stay in ``directory``, which is this process's alone."""

    def __init__(
        self, client: Client, clock: Clock, log: Log, service: str, directory: Path
    ) -> None:
        self._client = client
        self._clock = clock
        self._log = log
        self._service = service
        self.cert_file = directory / "webhook.crt"
        self.key_file = directory / "webhook.key"

    async def refresh(self) -> bool:
        """Have a certificate that lasts, and the API server trust it. True when it is a new one."""
        signer, made = await self.make()
        await self._tell(pki.cert_pem(signer.cert))
        return made

    async def make(self) -> tuple[pki.Authority, bool]:
        """Have a certificate that lasts; whose it is, and whether it is new."""
        signer = await authority.kept(self._client, self._clock, SECRET, renew=True)
        now = datetime.datetime.fromtimestamp(self._clock.wall(), datetime.UTC)
        short, _, _ = self._service.partition(".")
        named = (short, self._service.removesuffix(".svc"), self._service)
        leaf = pki.Leaf(self.cert_file, self.key_file, self._service, names=named, server=True)
        return signer, pki.ensure_leaf(signer, leaf, now)

    async def _tell(self, ca_pem: bytes) -> None:
        """As read: who changed it in between is looked at in the next round."""
        found = await self._client.get(scheme.WEBHOOKS, CONFIGURATION)
        bundle = base64.b64encode(ca_pem).decode()
        hooks = found.get("webhooks") or []
        if all(hook["clientConfig"].get("caBundle") == bundle for hook in hooks):
            return
        told = [
            {**hook, "clientConfig": {**hook["clientConfig"], "caBundle": bundle}} for hook in hooks
        ]
        await self._client.replace(scheme.WEBHOOKS, {**found, "webhooks": told})
        self._log.info("the API server was told whom to trust", configuration=CONFIGURATION)

    async def keep(self, renewed: Callable[[], None]) -> None:
        """For ever; ``renewed`` is called after each change of the files."""
        while True:
            try:
                if await self.refresh():
                    renewed()
            except (ApiError, Unanswered) as error:
                self._log.warn("the webhook's certificate was not looked at", error=repr(error))
            await self._clock.sleep(EVERY_S)
