"""The controllers' process: reads its configuration, wires every controller to one manager, runs until told to stop.

    python -m drover.controllers.main --config FILE

One process holds all controllers: they share the caches and the connection. It keeps nothing on disk that the API does
not know; killed at any point it goes on from the API's truth.
"""

from __future__ import annotations

import ipaddress
import urllib.parse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from drover.api import names
from drover.api.machine import GuestNetwork
from drover.base.clock import RealClock
from drover.base.ids import RealIds
from drover.base.log import Log
from drover.base.tasks import TaskScope
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
from drover.controllers.standby.controller import wire as wire_standby
from drover.controllers.storage import FileStorage
from drover.controllers.vm.act import Settings as VmSettings
from drover.controllers.vm.controller import wire as wire_vm
from drover.controllers.vm.review import Reviewer as VmReviewer
from drover.controllers.vmop.controller import wire as wire_vmop
from drover.controllers.webhook import Page, Refusal, Rule, WebhookServer, WebhookSettings
from drover.runtime import process
from drover.runtime.client import Client
from drover.runtime.election import Elector
from drover.runtime.kubeconfig import from_files
from drover.runtime.manager import Manager


def wire_all(manager: Manager, config: ControllersConfig) -> dict[str, Rule]:
    """Register every controller; gives the admission rules of the webhook by path."""
    network = ipaddress.IPv4Network(config.vm_cidr)
    guests = GuestNetwork(config.vm_gateway, network.prefixlen)
    wire_classes(manager)
    storage = FileStorage(Path(config.disks_dir), Path(config.images_dir))
    cluster = urllib.parse.urlsplit(config.api_server).hostname or ""
    guard = Guard([cluster], config.closed_networks)
    wire_images(manager, storage, UrlFetcher(closed=(Path(config.disks_dir),), guard=guard))
    wire_disks(manager, storage)
    wire_addresses(manager, Range(config.vm_first, config.vm_last))
    wire_vm(manager, VmSettings(guests, config.disks_dir, config.images_dir))
    operations = wire_vmop(manager)
    wire_migration(manager)
    wire_joining(manager, config)
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


async def serve(config: ControllersConfig) -> None:
    """Run the controllers; raises what broke them."""
    clock = RealClock()
    log = Log(clock)
    access = from_files(
        config.api_server,
        Path(config.ca_file),
        Path(config.client_cert_file),
        Path(config.client_key_file),
    )
    transport = await access.transport(clock)
    try:
        manager = Manager(Client(transport), clock, RealIds(), log, component="drover-controllers")
        rules = wire_all(manager, config)
        exposition = Exposition(manager)
        async with TaskScope("controllers") as scope:
            if config.webhook_cert_file:
                settings = WebhookSettings(
                    config.webhook_address,
                    config.webhook_port,
                    config.webhook_cert_file,
                    config.webhook_key_file,
                    config.webhook_client_ca_file,
                )
                pages = {"/metrics": Page(exposition.text, CONTENT_TYPE)}
                scope.guard(WebhookServer(settings, rules, pages).run(), "webhook")
            scope.guard(_controllers(manager, config, log), "manager")
            raise await scope.wait_broken()
    finally:
        await transport.aclose()


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
