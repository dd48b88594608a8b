"""The first steps of ``up``: write what the parts read, start them side by side. ``ready`` has the rest.

Nodes are started while the API server is still coming up; their agents follow when it knows their kinds. Every process
waits in its namespaces until its cables are plugged (``launch.py``), so a part never runs without its network.
"""

from __future__ import annotations

import datetime
import json
import shutil
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from drover.agent.config import AgentConfig
from drover.api import names
from drover.base import config_file
from drover.controllers.config import ControllersConfig
from drover.lab import cgroups, credentials, links, processes
from drover.lab.code import SOURCE
from drover.lab.home import Home, Settings
from drover.lab.processes import CONTROL_PLANE, SWITCH, Program
from drover.server import parts, supervisor
from drover.server.bootstrap import NODE_GROUP
from drover.server.config import key_files, with_declared

if TYPE_CHECKING:
    from drover.lab.lab import Progress, UpOptions

# Of its whole session, against those of the nodes: busy guests must not starve it.
_CONTROL_PLANE_NICE = -5
# Go's collector runs when the heap has grown by so many per cent. Its own default, 100, costs the API server a sixth of
# its time; this costs some 100 MiB instead.
_GOGC = 200
BUILTIN_IMAGE_FILE = "drover-linux.qcow2"


def write_files(home: Home, settings: Settings, options: UpOptions, now: datetime.datetime) -> None:
    """Certificates, configurations, the built-in image."""
    credentials.ensure_all(home, settings, now)
    plane = home.plane(settings)
    parts.write_configs(plane)
    page = home.run / "page.json"
    page.write_text(json.dumps({"lab": home.lab_id, "kubeconfig": str(home.kubeconfig)}) + "\n")
    supervised = [
        *parts.control_plane_parts(plane, options.engine, controllers_on_machine=True),
        parts.Part(
            "page",
            (sys.executable, "-m", processes.PAGE_MODULE, "--config", str(page)),
            after=str(plane.manifests_applied),
            on_machine=True,
        ),
    ]
    (home.run / "control-plane.json").write_text(supervisor.encode(supervised, home.logs))
    config_file.save(plane.controllers_file, _controllers(home, settings))
    for number, node in enumerate(settings.node_names, start=1):
        (home.node(node) / "state").mkdir(parents=True, exist_ok=True, mode=0o700)
        config_file.save(home.node(node) / "agent.json", _agent(home, settings, number, options))
    _point_to_bundles(home, options.more_qemus)
    if options.image is not None:
        _place_image(options.image, builtin_image(home))


def builtin_image(home: Home) -> Path:
    return home.path / "builtin" / BUILTIN_IMAGE_FILE


def _place_image(source: Path, target: Path) -> None:
    """A copy of our own, since the cache may be emptied at any time. A new one only when it differs."""
    target.parent.mkdir(exist_ok=True)
    if target.exists() and target.stat().st_mtime_ns == source.stat().st_mtime_ns:
        return
    part = target.with_suffix(".part")
    shutil.copy2(source, part)
    part.replace(target)


def _controllers(home: Home, settings: Settings) -> ControllersConfig:
    topology = settings.topology
    made = ControllersConfig(
        api_server=topology.api_server,
        disks_dir=str(home.disks),
        images_dir=str(home.images),
        vm_cidr=topology.vm_cidr,
        vm_first=topology.vm_first,
        vm_last=topology.vm_last,
        vm_gateway=topology.vm_gateway,
        webhook_address=topology.machine,
        closed_networks=[topology.infra_cidr],
        **key_files(home.pki),
    )
    return with_declared(made, home.plane(settings))


def _agent(home: Home, settings: Settings, number: int, options: UpOptions) -> AgentConfig:
    node = settings.node_names[number - 1]
    directory = home.node(node)
    topology = settings.topology
    return AgentConfig(
        node=node,
        address=topology.node_address(number),
        api_server=topology.api_server,
        ca_file=f"{home.pki}/ca.crt",
        client_cert_file=f"{directory}/pki/client.crt",
        client_key_file=f"{directory}/pki/client.key",
        serving_cert_file=f"{directory}/pki/serving.crt",
        serving_key_file=f"{directory}/pki/serving.key",
        migration_pki_dir=f"{directory}/pki/migration",
        state_dir=f"{directory}/state",
        run_dir=processes.NODE_RUN,
        disks_dir=str(home.disks),
        vm_cidr=topology.vm_cidr,
        vm_gateway=topology.vm_gateway,
        accel=options.accel,
        qemu=options.qemu,
        more_qemus=[inside for _, inside in _bundles(options.more_qemus)],
        cgroup=cgroups.of_node(home.lab_id, node),
        bridge=links.BRIDGE,
        uplink=links.UPLINK,
        labels={names.NODE_GROUP_LABEL: NODE_GROUP},
    )


def _bundles(qemus: Iterable[str]) -> list[tuple[Path, str]]:
    """Where each further QEMU is, and where its node finds it: nobody else reads root's caches, and QEMU is not root. A
    bundle's files are beside its QEMU."""
    found = [Path(qemu).resolve() for qemu in qemus]
    return [
        (qemu.parent, f"{processes.NODE_QEMUS}/{number}/{qemu.name}")
        for number, qemu in enumerate(found)
    ]


def _point_to_bundles(home: Home, qemus: Iterable[str]) -> None:
    """For nodes that are switched on later, too: a link to each bundle, by its number."""
    shutil.rmtree(home.bundles, ignore_errors=True)
    home.bundles.mkdir()
    for directory, inside in _bundles(qemus):
        (home.bundles / Path(inside).parent.name).symlink_to(directory)


def start_parts(home: Home, settings: Settings, progress: Progress) -> None:
    """Start what does not run: switch, control plane, nodes."""
    found = processes.inits(home.lab_id)
    if SWITCH not in found:
        found[SWITCH] = _start_switch(home)
        progress("network", f"{settings.topology.infra_cidr}, {settings.topology.vm_cidr}")
    links.plug_machine(found[SWITCH], home.lab_id, settings.topology)
    if CONTROL_PLANE not in found:
        start_control_plane(home, settings, found[SWITCH])
        progress("control plane", "starting")
    for number, node in enumerate(settings.node_names, start=1):
        if node not in found:
            start_node(home, settings, number, found[SWITCH])
            progress(node, "starting")


def _start_switch(home: Home) -> int:
    sleep = shutil.which("sleep") or "/bin/sleep"
    program = Program(
        SWITCH, ("drover-switch", "infinity"), home.logs / "switch.log", ("net",), program=sleep
    )
    with processes.launch(home.lab_id, program) as pid:
        links.make_switch(pid)
    return pid


def start_control_plane(home: Home, settings: Settings, switch: int) -> None:
    home.manifests_applied.unlink(missing_ok=True)
    argv = (sys.executable, "-m", "drover.server.supervisor", f"{home.run}/control-plane.json")
    program = Program(
        CONTROL_PLANE,
        argv,
        home.logs / "supervisor.log",
        hostname="drover-control-plane",
        machine_netns=True,
        autogroup_nice=_CONTROL_PLANE_NICE,
        env={**_python_path(), "GOGC": str(_GOGC)},
    )
    with processes.launch(home.lab_id, program) as pid:
        links.plug_control_plane(switch, pid, settings.topology)


def start_node(home: Home, settings: Settings, number: int, switch: int) -> None:
    """One node: its first process, which keeps the agent and is parent of the QEMUs."""
    node = settings.node_names[number - 1]
    config_path = home.node(node) / "agent.json"
    config = config_file.load(config_path, AgentConfig)
    argv = (
        sys.executable,
        "-m",
        "drover.agent.nodeinit",
        str(config.nodeinit_socket),
        *_once_there(home.manifests_applied),
        sys.executable,
        "-m",
        "drover.agent.main",
        "--config",
        str(config_path),
    )
    program = Program(
        node,
        argv,
        home.logs / f"{node}.log",
        hostname=node,
        tmpfs=("/run",),
        directories=(config.run_dir,),
        binds=tuple(
            (str(link.resolve()), f"{processes.NODE_QEMUS}/{link.name}")
            for link in sorted(home.bundles.iterdir())
        ),
        env=_python_path(),
    )
    with processes.launch(home.lab_id, program) as pid:
        links.plug_node(switch, pid, node, number, settings.topology)


def _once_there(file: Path) -> list[str]:
    """Words before a command that make it wait for ``file``.

    An agent that is started before its kinds exist only fails, and then waits out its back-off.
    """
    return ["/bin/sh", "-c", 'until [ -e "$0" ]; do sleep 0.1; done; exec "$@"', str(file)]


def _python_path() -> dict[str, str]:
    """The parts run the same source as we do, whatever their working directory."""
    return {"PYTHONPATH": str(SOURCE)}
