"""The agent's process: reads its configuration, puts the real ports together, runs until told to stop.

    python -m drover.agent.main --config FILE

It is a child of ``nodeinit``, as the QEMUs are, so that its own end touches no guest. The *boot id* is that of the
kernel and of this nodeinit's life: when either is new, every process of the former life is dead.
"""

from __future__ import annotations

import datetime
import fcntl
import os
import platform
import sys
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path

from drover import __version__
from drover.agent import mounts, servers, service
from drover.agent.agent import Agent, Ports
from drover.agent.cgroups import Groups
from drover.agent.config import AgentConfig
from drover.agent.context import Limits
from drover.agent.journal import DiskJournal, write_synced
from drover.agent.kubelet.server import CopyPlaces, KubeletServer, KubeletSettings
from drover.agent.launching import spec_of
from drover.agent.life import LifeEnded
from drover.agent.net.network import bridge_network
from drover.agent.node import NodeFacts
from drover.agent.peers import HttpPeers, PeerServer, PeerSettings
from drover.agent.qemu import bundles
from drover.agent.qemu.hypervisor import QemuHypervisor
from drover.agent.qemu.settings import QemuSettings
from drover.agent.renewal import Renewal
from drover.agent.seeds import NoCloudSeeds
from drover.agent.spawner import NodeInitSpawner
from drover.agent.watchdog import DEADLINE, DEVICE, KINDS, Deadline, Device, Watchdog
from drover.api import firmware, names
from drover.api.kinds import pod as pods
from drover.base.clock import RealClock
from drover.base.config_file import BadConfig
from drover.base.ids import Ids, RealIds
from drover.base.log import Log
from drover.base.tasks import TaskScope
from drover.runtime import process
from drover.runtime.client import Client
from drover.runtime.kubeconfig import from_files

# Calls inside a guest's pause end soon: an answer that is late is settled by another write.
SWIFT_S = 3.0


def boot_id(init_pid: int) -> str:
    """Names one life of nodeinit under one boot of the kernel."""
    kernel = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    fields = Path(f"/proc/{init_pid}/stat").read_text().rpartition(")")[2].split()
    return f"{kernel}-{fields[19]}"  # field 22 of proc(5): start time in ticks since boot


def machine_id(state_dir: Path, ids: Ids) -> str:
    """Lasts as long as the node's state does: who lost that is another machine (safety rule 9)."""
    file = state_dir / "machine-id"
    if not file.exists():
        write_synced(file, ids.uid().encode())
    return file.read_text().strip()


def facts_of(
    config: AgentConfig, boot: str, machine: str, probed: bundles.Probed, unconfined: str
) -> NodeFacts:
    return NodeFacts(
        unconfined=unconfined,
        name=config.node,
        address=config.address,
        kubelet_port=config.kubelet_port,
        cpu=config.cpu,
        memory=config.memory,
        pods=config.pods,
        version=f"v{__version__}-drover",
        labels=config.labels,
        annotations={
            names.FIRMWARE_ANNOTATION: firmware.encode(probed.offers),
            names.WATCHDOG_ANNOTATION: config.watchdog,
        },
        info={
            "kernel": platform.release(),
            "os": "Linux",
            "boot": boot,
            "machine": machine,
            "qemu": probed.bundles[""].version or "unknown",
        },
    )


async def serve(config: AgentConfig) -> None:
    """Run the agent; raises what broke it."""
    clock, ids = RealClock(), RealIds()
    log = _log(config, clock)
    access = from_files(
        config.api_server,
        Path(config.ca_file),
        Path(config.client_cert_file),
        Path(config.client_key_file),
        servers.remembered(config),
    )
    probed = await bundles.probe(config.qemu, config.more_qemus)
    for problem in probed.problems:
        log.error("a firmware bundle is not offered", why=problem)
    async with AsyncExitStack() as stack, TaskScope("node") as scope:
        stack.enter_context(_only_one(Path(config.state_dir)))
        transport = await access.transport(clock)
        spawner = NodeInitSpawner(config.nodeinit_socket)
        hypervisor = QemuHypervisor(_qemu(config, probed), spawner, scope, log)
        if unconfined := await hypervisor.open():
            log.warn("VMs are not confined as they should be", why=unconfined)
        network = bridge_network(config, clock, log)
        await network.open()
        scope.guard(network.keep(), "network")
        boot, pki = boot_id(os.getppid()), Path(config.migration_pki_dir)
        ports = Ports(
            client=Client(transport),
            swift=Client(transport, SWIFT_S),
            hypervisor=hypervisor,
            network=network,
            seeds=NoCloudSeeds(Path(config.state_dir) / "seeds"),
            journal=DiskJournal(Path(config.state_dir) / "journal"),
            clock=clock,
            ids=ids,
            log=log,
            watchdog=_watchdog(config, spawner, clock),
            peers=await stack.enter_async_context(HttpPeers(pki)),
        )
        agent = Agent(
            ports,
            facts_of(config, boot, machine_id(Path(config.state_dir), ids), probed, unconfined),
            boot,
            config.heartbeat_s,
            config.lease_duration_s,
            Limits(),
        )
        spawner.life = agent.node_lease.incarnation
        if agent.survival is not None:
            at = PeerSettings(config.address, config.peer_port, pki)
            scope.guard(PeerServer(at, agent.survival.asked).run(), "peers")
        scope.guard(_kubelet(config, agent, hypervisor, clock, scope).run(), "kubelet")
        others = servers.Servers(config, ports.client, transport.use, clock, log)
        scope.guard(others.keep(), "servers")
        if config.renew:
            scope.guard(Renewal(config, ports.client, clock, log).keep(), "renewal")
        scope.guard(agent.run(), "agent")
        try:
            raise await scope.wait_broken()
        finally:
            await transport.aclose()


def _log(config: AgentConfig, clock: RealClock) -> Log:
    """With certificates that have ended the agent goes on: guests may run, and which clock is wrong is not known."""
    log = Log(clock)
    for fault in service.ended(config, datetime.datetime.fromtimestamp(clock.wall(), datetime.UTC)):
        log.error("a certificate is not valid: the cluster will not listen", why=fault)
    return log


def _qemu(config: AgentConfig, probed: bundles.Probed) -> QemuSettings:
    return QemuSettings(
        run_dir=Path(config.run_dir) / "copies",
        log_dir=Path(config.state_dir) / "log",
        tls_dir=Path(config.migration_pki_dir),
        address=config.address,
        accel=config.accel,
        nice=config.qemu_nice,
        direct_io=_direct_io(config),
        bundles=probed.bundles,
        user=config.qemu_user,
        groups=_groups(config),
    )


def _direct_io(config: AgentConfig) -> bool:
    """Raises BadConfig."""
    try:
        return mounts.direct_io(config.direct_io, mounts.kind_of(Path(config.disks_dir)))
    except ValueError as error:
        raise BadConfig(str(error)) from error


def _groups(config: AgentConfig) -> Groups:
    return Groups.of_this_process(config.cgroup or f"drover-{config.node}", bool(config.cgroup))


def _watchdog(config: AgentConfig, spawner: NodeInitSpawner, clock: RealClock) -> Watchdog | None:
    """None: the node promises nothing. Raises BadConfig."""
    if config.watchdog not in KINDS:
        raise BadConfig(f"watchdog {config.watchdog!r} is none of {', '.join(KINDS)}")
    if config.watchdog == DEVICE:
        at, timeout_s = config.watchdog_device, config.watchdog_timeout_s
        return Device(spawner, clock.boottime, clock, at, timeout_s)
    return Deadline(spawner, clock.boottime, clock) if config.watchdog == DEADLINE else None


@contextmanager
def _only_one(state_dir: Path) -> Iterator[None]:
    """One agent per node: two would each keep the other's promises badly."""
    with (state_dir / "agent.lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise BadConfig(f"another agent already works on {state_dir}") from error
        yield


def _kubelet(
    config: AgentConfig,
    agent: Agent,
    hypervisor: QemuHypervisor,
    clock: RealClock,
    scope: TaskScope,
) -> KubeletServer:
    def find(namespace: str, name: str) -> CopyPlaces | None:
        pod = agent.context.pods.get(f"{namespace}/{name}")
        if pod is None or not pods.is_vm(pod):
            return None
        files = hypervisor.files(pods.uid(pod))
        spec = spec_of(pod)
        screen = files.vnc if spec is not None and spec.display else None
        return CopyPlaces(
            files.console, files.serial_log, screen, spec.ip if spec is not None else ""
        )

    settings = KubeletSettings(
        config.address,
        config.kubelet_port,
        config.serving_cert_file,
        config.serving_key_file,
        config.ca_file,
    )
    return KubeletServer(settings, find, clock, scope)


def main() -> None:
    """The end of a life is no bug: it says why in a line, and the node's first process begins the next one."""
    try:
        process.run("drover-agent", "Run the agent of one node.", AgentConfig, serve)
    except LifeEnded as over:
        sys.exit(f"this life of the node is over: {over}")


if __name__ == "__main__":
    main()
