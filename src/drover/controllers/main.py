"""The controllers' process: reads its configuration, wires every controller to one manager, runs until told to stop.

    python -m drover.controllers.main --config FILE

One process holds all controllers: they share the caches and the connection. It keeps nothing on disk that the API does
not know; killed at any point it goes on from the API's truth. Of several processes (``elect``) one leads; the others
keep their caches, answer reviews as it does, and have no metrics.
"""

from __future__ import annotations

import ipaddress
import tempfile
import urllib.parse
from collections.abc import Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from drover.api import names, scheme
from drover.api.machine import GuestNetwork
from drover.base.clock import RealClock
from drover.base.ids import RealIds
from drover.base.log import Log
from drover.base.tasks import TaskScope
from drover.controllers import authority
from drover.controllers.access import wire as wire_access
from drover.controllers.addresses.controller import wire as wire_addresses
from drover.controllers.addresses.decide import Range
from drover.controllers.classes.controller import wire as wire_classes
from drover.controllers.config import ControllersConfig
from drover.controllers.current import CurrentSettings
from drover.controllers.disks.controller import wire as wire_disks
from drover.controllers.evacuation.budgets import wire as wire_budgets
from drover.controllers.evacuation.controller import wire as wire_evacuation
from drover.controllers.evacuation.reviewer import Reviewer
from drover.controllers.fencing.controller import wire as wire_fencing
from drover.controllers.firmware.controller import wire as wire_firmware
from drover.controllers.gc.controller import wire as wire_gc
from drover.controllers.images.controller import wire as wire_images
from drover.controllers.images.fetch import UrlFetcher
from drover.controllers.images.guard import Guard
from drover.controllers.joining.controller import wire as wire_joining
from drover.controllers.metrics.exposition import CONTENT_TYPE, Exposition
from drover.controllers.migration.controller import wire as wire_migration
from drover.controllers.moduleconfig.controller import wire as wire_moduleconfig
from drover.controllers.pictures import ClusterPicture
from drover.controllers.placement.controller import wire as wire_placement
from drover.controllers.rebalance.controller import wire as wire_rebalance
from drover.controllers.restoring.restorer import Restored, Restorer
from drover.controllers.serving import ServingCertificate
from drover.controllers.standby.controller import wire as wire_standby
from drover.controllers.storage import FileStorage
from drover.controllers.vm.act import Settings as VmSettings
from drover.controllers.vm.controller import wire as wire_vm
from drover.controllers.vm.review import Reviewer as VmReviewer
from drover.controllers.vmop.controller import wire as wire_vmop
from drover.controllers.webhook import Page, Refusal, Rule, WebhookServer, WebhookSettings
from drover.runtime import pki, process
from drover.runtime.client import Client
from drover.runtime.election import Elector
from drover.runtime.kubeconfig import Access, from_files, in_cluster
from drover.runtime.manager import Manager

# Every VM has them, and they are read a few at a time, when they or their VM change; all of a kind by a scrape alone.
# Of VMs, Pods and Nodes all are looked at for each picture of the cluster, which would take the longer.
PACKED = (scheme.VDISK, scheme.VMIP, scheme.VMIPLEASE, scheme.VML)


def wire_all(
    manager: Manager,
    config: ControllersConfig,
    api_server: str,
    migration_ca: pki.Authority | None,
) -> dict[str, Rule]:
    """Register every controller; gives the admission rules of the webhook by path. No host joins without an authority
    of migration streams."""
    network = ipaddress.IPv4Network(config.vm_cidr)
    guests = GuestNetwork(config.vm_gateway, network.prefixlen)
    wire_classes(manager)
    storage = FileStorage(Path(config.disks_dir), Path(config.images_dir))
    cluster = urllib.parse.urlsplit(api_server).hostname or ""
    guard = Guard([cluster], config.closed_networks)
    wire_images(manager, storage, UrlFetcher(closed=(Path(config.disks_dir),), guard=guard))
    wire_disks(manager, storage)
    wire_addresses(manager, Range(config.vm_first, config.vm_last))
    wire_vm(manager, VmSettings(guests, config.disks_dir, config.images_dir))
    operations = wire_vmop(manager)
    wire_migration(manager)
    if migration_ca is not None:
        wire_joining(manager, migration_ca, api_server, config)
    wire_gc(manager)
    wire_fencing(manager)
    wire_moduleconfig(manager)
    wire_budgets(manager)
    wire_access(manager)
    picture = ClusterPicture(manager)
    evacuation = wire_evacuation(manager, picture)
    wire_firmware(manager, picture)
    wire_standby(manager, picture)
    wire_placement(manager, picture)
    wire_rebalance(manager)
    reviewer = Reviewer(manager, CurrentSettings(manager), evacuation.caches.doing)

    async def vmop_rule(request: Mapping[str, Any]) -> Refusal | None:
        why = operations.review(request)
        return None if why is None else Refusal(why)

    return {"/vmop": vmop_rule, "/vm": VmReviewer(manager).review, "/evict": reviewer.review}


def access_of(config: ControllersConfig) -> Access:
    """Raises BadKubeconfig, OSError."""
    if not config.api_server:
        return in_cluster()
    ca, cert = Path(config.ca_file), Path(config.client_cert_file)
    return from_files(config.api_server, ca, cert, Path(config.client_key_file))


def make_directories(config: ControllersConfig) -> None:
    """On storage that is new nobody has made them."""
    for directory in (config.disks_dir, config.images_dir):
        Path(directory).mkdir(parents=True, exist_ok=True)


async def migration_ca(manager: Manager, config: ControllersConfig) -> pki.Authority | None:
    if config.migration_ca_secret:
        return await authority.kept(manager.client, manager.clock, config.migration_ca_secret)
    if config.migration_ca_cert_file:
        files = (config.migration_ca_cert_file, config.migration_ca_key_file)
        return pki.load_authority(*(Path(file) for file in files))
    return None


async def serve(config: ControllersConfig) -> None:
    """Run the controllers; raises what broke them."""
    clock = RealClock()
    log = Log(clock)
    access = access_of(config)
    async with AsyncExitStack() as stack:
        transport = await access.transport(clock)
        stack.push_async_callback(transport.aclose)
        client = Client(transport)
        manager = Manager(client, clock, RealIds(), log, "drover-controllers", PACKED)
        make_directories(config)
        rules = wire_all(manager, config, access.server, await migration_ca(manager, config))
        own = None
        files = (config.webhook_cert_file, config.webhook_key_file)
        if config.webhook_service:
            keys = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="drover-")))
            own = ServingCertificate(manager.client, clock, log, config.webhook_service, keys)
            await own.make()
            files = (str(own.cert_file), str(own.key_file))
        scope = await stack.enter_async_context(TaskScope("controllers"))
        if files[0]:
            server = _webhook(manager, config, files, rules)
            scope.guard(server.run(), "webhook")
            if own is not None:
                scope.guard(own.keep(server.reload), "webhook's certificate")
        scope.guard(_controllers(manager, config, log), "manager")
        raise await scope.wait_broken()


def _webhook(
    manager: Manager, config: ControllersConfig, pair: tuple[str, str], rules: Mapping[str, Rule]
) -> WebhookServer:
    """Reviews and pages, with the certificate and key of ``pair``."""
    at = (config.webhook_address, config.webhook_port)
    settings = WebhookSettings(*at, *pair, config.webhook_client_ca_file)

    async def ready() -> bytes | None:
        return b"ok\n" if manager.synced else None

    pages = {
        "/metrics": Page(Exposition(manager).packed, CONTENT_TYPE, packed=True),
        "/readyz": Page(ready, "text/plain"),
    }
    return WebhookServer(settings, rules, pages)


async def _controllers(manager: Manager, config: ControllersConfig, log: Log) -> None:
    """After a restore nothing is decided before it is settled (safety rule 10)."""

    async def settle() -> None:
        if config.restored_id:
            restored = Restored(config.restored_id, config.restored_nodes, config.restored_off)
            await Restorer(manager.client, manager.clock, log, restored).run()

    elector = Elector(
        manager.client,
        manager.clock,
        manager.ids,
        log,
        namespace=names.SYSTEM_NAMESPACE,
        name="drover-controllers",
    )
    await manager.run(elector if config.elect else None, settle)


def main() -> None:
    process.run("drover-controllers", "Run all controllers.", ControllersConfig, serve)


if __name__ == "__main__":
    main()
