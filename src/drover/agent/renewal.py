"""The certificates of a node that joined are renewed in the last third of their lives, each for the key it has.

So one file changes at once, and a crash between two of them leaves pairs that fit. The agent then ends, for the node's
first process to start it anew with what lies there; no guest notices. A renewal that fails is tried again at the next
look, months before it matters.
"""

from __future__ import annotations

import datetime
from pathlib import Path

from cryptography import x509

from drover.agent.config import AgentConfig
from drover.agent.join import identity_request, migration_request, serving_request
from drover.api.status import ApiError, Unanswered
from drover.base.clock import Clock
from drover.base.log import Log
from drover.runtime import certificates, pki
from drover.runtime.client import Client

LOOK_S = 3600.0
LIMIT_S = 30.0


class Renewed(Exception):
    """Not an error: the agent is to be started anew."""


class Renewal:
    """``keep`` looks every hour."""

    def __init__(self, config: AgentConfig, client: Client, clock: Clock, log: Log) -> None:
        self._config = config
        self._client = client
        self._clock = clock
        self._log = log

    async def keep(self) -> None:
        """Until something was renewed: then raises Renewed."""
        while True:
            try:
                renewed = await self.renew()
            except (certificates.Refused, ApiError, Unanswered, OSError) as error:
                self._log.error("certificates were not renewed", why=str(error))
                renewed = []
            if renewed:
                raise Renewed(f"renewed: {', '.join(renewed)}")
            await self._clock.sleep(LOOK_S)

    async def renew(self) -> list[str]:
        """The files that were written."""
        config = self._config
        directory = Path(config.client_cert_file).parent
        wanted = {
            Path(config.client_cert_file): identity_request(directory, config.node),
            Path(config.serving_cert_file): serving_request(directory, config.node, config.address),
            directory / "migration" / "cert.pem": migration_request(
                directory, config.node, config.address
            ),
        }
        done = []
        for file, request in wanted.items():
            before = file.read_bytes()
            if due(before, self._clock.wall()):
                cert = await certificates.obtain(self._client, self._clock, request, LIMIT_S)
                if _former(cert, before):  # started anew, the agent would ask again at once
                    self._log.error("a new certificate is due already: is the clock right?")
                    continue
                pki.write_private(file, cert)
                self._log.info("certificate renewed", file=str(file))
                done.append(file.name)
        return done


def _former(answer: bytes, present: bytes) -> bool:
    """Whether the answer is the one that is there, or older: of a request that was made before."""
    new, old = (x509.load_pem_x509_certificate(pem) for pem in (answer, present))
    same = new.serial_number == old.serial_number
    return same or new.not_valid_after_utc < old.not_valid_after_utc


def due(pem: bytes, now_s: float) -> bool:
    """Whether the last third of its life has begun."""
    cert = x509.load_pem_x509_certificate(pem)
    born, end = cert.not_valid_before_utc, cert.not_valid_after_utc
    return datetime.datetime.fromtimestamp(now_s, datetime.UTC) > end - (end - born) / 3
