"""The webhook's certificate in a cluster that is not ours: shared authority, own leaf, and the API server told."""

from __future__ import annotations

import base64
import datetime
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from drover.api import manifest_files, names, scheme
from drover.api.status import Unanswered
from drover.api.wire import Request, Response
from drover.base.config_file import BadConfig
from drover.base.ids import SeededIds
from drover.base.log import Log
from drover.base.tasks import TaskScope
from drover.controllers import authority, serving
from drover.controllers.serving import CONFIGURATION, SECRET, ServingCertificate
from drover.runtime.client import Client
from drover.runtime.transport import Transport
from drover.sim.api import ApiModel
from drover.sim.clock import SimClock
from drover.sim.loop import run

SERVICE = "drover-controllers.drover-system.svc"
YEAR_S = 365 * 86400.0


class World:
    """A cluster with the chart's configuration, which says no caBundle."""

    def __init__(self) -> None:
        self.clock = SimClock()
        self.api = ApiModel(self.clock, SeededIds(0))
        self.client = Client(self.api.transport())

    def process(self, directory: Path) -> ServingCertificate:
        directory.mkdir(exist_ok=True)
        log = Log(self.clock, lambda entry: None)
        return ServingCertificate(self.client, self.clock, log, SERVICE, directory)

    async def configure(self) -> None:
        wanted = manifest_files.webhooks()
        for hook in wanted["webhooks"]:
            hook["clientConfig"] = {"service": {"name": "x", "namespace": "y", "path": "/z"}}
        await self.client.create(scheme.WEBHOOKS, wanted)

    async def bundles(self) -> set[str]:
        found = await self.client.get(scheme.WEBHOOKS, CONFIGURATION)
        return {hook["clientConfig"].get("caBundle", "") for hook in found["webhooks"]}

    async def trusted(self) -> x509.Certificate:
        (bundle,) = await self.bundles()
        return x509.load_pem_x509_certificate(base64.b64decode(bundle))


def played(story: Callable[[World], Awaitable[None]]) -> None:
    async def main() -> None:
        await story(World())

    run(main(), limit_s=20 * YEAR_S)


def test_two_processes_serve_under_one_authority(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        await world.configure()
        one, two = world.process(tmp_path / "1"), world.process(tmp_path / "2")
        assert await one.refresh()
        assert await two.refresh()
        assert not await one.refresh()
        trusted = await world.trusted()
        leaves = [x509.load_pem_x509_certificate(p.cert_file.read_bytes()) for p in (one, two)]
        for leaf in leaves:
            leaf.verify_directly_issued_by(trusted)
            named = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
            assert SERVICE in named.get_values_for_type(x509.DNSName)
        assert leaves[0].serial_number != leaves[1].serial_number
        found = await world.client.get(scheme.WEBHOOKS, CONFIGURATION)
        assert all("service" in hook["clientConfig"] for hook in found["webhooks"])

    played(story)


def test_a_configuration_that_was_put_anew_is_mended(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        await world.configure()
        one = world.process(tmp_path)
        await one.refresh()
        before = await world.bundles()
        await world.client.delete(scheme.WEBHOOKS, CONFIGURATION)
        await world.configure()
        assert await world.bundles() == {""}
        assert not await one.refresh()
        assert await world.bundles() == before

    played(story)


def test_leaf_and_authority_are_renewed_before_their_end(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        await world.configure()
        one = world.process(tmp_path)
        await one.refresh()
        first = await world.trusted()
        await world.clock.sleep(0.9 * YEAR_S)
        assert not await one.refresh()
        await world.clock.sleep(0.1 * YEAR_S)
        assert await one.refresh()
        assert await world.trusted() == first
        await world.clock.sleep(8.5 * YEAR_S)
        assert await one.refresh()
        second = await world.trusted()
        assert second != first
        now = datetime.datetime.fromtimestamp(world.clock.wall(), datetime.UTC)
        assert second.not_valid_after_utc - now > datetime.timedelta(days=3000)
        x509.load_pem_x509_certificate(one.cert_file.read_bytes()).verify_directly_issued_by(second)

    played(story)


def test_it_is_kept_while_the_api_server_is_away_and_after(tmp_path: Path) -> None:
    """No configuration is a refusal too: it may come later."""

    async def story(world: World) -> None:
        one = world.process(tmp_path)
        await one.make()
        renewed: list[Any] = []
        async with TaskScope("test") as scope:
            scope.guard(one.keep(lambda: renewed.append(1)), "keep")
            await world.clock.sleep(1)
            await world.configure()
            await world.clock.sleep(serving.EVERY_S)
            await world.trusted()
        assert renewed == []

    played(story)


def test_the_authority_of_migration_streams_stays_whoever_is_first() -> None:
    async def story(world: World) -> None:
        one = await authority.kept(world.client, world.clock, "drover-migration-ca")
        two = await authority.kept(world.client, world.clock, "drover-migration-ca")
        assert one.cert == two.cert
        await world.clock.sleep(9.9 * YEAR_S)
        assert (
            await authority.kept(world.client, world.clock, "drover-migration-ca")
        ).cert == one.cert

    played(story)


class AwayAtFirst:
    """A transport to an API that does not answer its first requests."""

    def __init__(self, inner: Transport, requests: int) -> None:
        self._inner = inner
        self._left = requests

    async def send(self, request: Request) -> Response:
        if self._left:
            self._left -= 1
            raise Unanswered("away", sent=False)
        return await self._inner.send(request)

    def stream(self, request: Request) -> Any:
        return self._inner.stream(request)


def test_a_process_that_starts_before_the_api_waits_for_it() -> None:
    async def story(world: World) -> None:
        client = Client(AwayAtFirst(world.api.transport(), 3))
        await authority.kept(client, world.clock, SECRET)
        assert world.clock.monotonic() == pytest.approx(3 * authority.AWAY_S)

    played(story)


@pytest.mark.parametrize(
    "data", [{}, {"tls.crt": "!", "tls.key": ""}, {"tls.crt": "YQ==", "tls.key": "YQ=="}]
)
def test_a_secret_that_holds_none_is_named(data: dict[str, str]) -> None:
    async def story(world: World) -> None:
        meta = {"name": SECRET, "namespace": names.SYSTEM_NAMESPACE}
        await world.client.create(scheme.SECRET, {"metadata": meta, "data": data})
        with pytest.raises(
            BadConfig, match=rf"Secret {SECRET} of drover-system holds no authority.*delete"
        ):
            await authority.kept(world.client, world.clock, SECRET)

    played(story)
