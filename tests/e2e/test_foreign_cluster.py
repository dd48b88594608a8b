"""An existing cluster: the chart and a kubeconfig, and hosts that join by their agent alone.

None of a lab's short cuts: the controllers have a ServiceAccount's token and nothing else, make their own certificate,
and are two, of which one leads.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from tests.e2e.vms import Vm, make, operate
from tests.support import helm
from tests.support.container import the_image
from tests.support.foreign import NAME, SPACE, Pod, a_foreign_cluster, deployed
from tests.support.hosts import a_host, token_of, wait_ready
from tests.support.lab import RunningLab, eventually

from drover.agent.strangers import REASON
from drover.api import manifest_files
from drover.cli.session import builtin_image
from drover.lab.home import Home

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(400)]
HOSTS = ("host-a", "host-b")
USER = 65532  # as whom the chart lets the controllers run
DAEMON = {
    "apiVersion": "apps/v1",
    "kind": "DaemonSet",
    "metadata": {"name": "everywhere", "namespace": "kube-system"},
    "spec": {
        "selector": {"matchLabels": {"app": "everywhere"}},
        "template": {
            "metadata": {"labels": {"app": "everywhere"}},
            "spec": {
                "tolerations": [{"operator": "Exists"}],
                "containers": [{"name": "proxy", "image": "example/proxy"}],
            },
        },
    },
}


@pytest.fixture(scope="module")
def cluster() -> Iterator[RunningLab]:
    with a_foreign_cluster() as running:
        yield running


def values(cluster: RunningLab) -> dict[str, Any]:
    topology = cluster.lab.settings().topology
    at = str(cluster.home.path)
    return {
        "storage": {"mountPath": at, "volume": {"hostPath": {"path": at}}},
        "network": {
            "cidr": topology.vm_cidr,
            "first": topology.vm_first,
            "last": topology.vm_last,
            "gateway": topology.vm_gateway,
        },
    }


def leader(cluster: RunningLab) -> str:
    lease = cluster.get("lease", NAME, "-n", SPACE) or {}
    return str((lease.get("spec") or {}).get("holderIdentity") or "")


def leading(cluster: RunningLab, pods: list[Pod]) -> Pod:
    """By its own log: a Lease names an identity that no Pod shows. The log may be behind the Lease."""

    def told() -> Pod | None:
        who = leader(cluster)
        found = [pod for pod in pods if who and f'"{who}"' in pod.log.read_text()]
        return found[0] if found else None

    return eventually(told, 60)


def trusted(cluster: RunningLab) -> bool:
    found = cluster.get("validatingwebhookconfiguration", NAME)
    return all(hook["clientConfig"].get("caBundle") for hook in found["webhooks"])


def test_chart_hosts_moves_and_a_drain(cluster: RunningLab, tmp_path: Path) -> None:
    if helm.helm_program():
        kinds_of_somebody_else_are_left_alone(cluster)
    said = helm.install(cluster, values(cluster))
    assert said.code == 0, said.err
    with ExitStack() as stack:
        belong_to(cluster.home, USER)
        pods = stack.enter_context(deployed(cluster, the_image(), tmp_path / "pods"))
        first = leading(cluster, pods)
        eventually(lambda: trusted(cluster), 40)
        for number, name in enumerate(HOSTS, start=1):
            host = stack.enter_context(a_host(cluster, name, number, tmp_path / name))
            said = host.join(*token_of(cluster, "--kubeconfig", str(cluster.home.kubeconfig)))
            assert said.code == 0, said.out + said.err
        cluster.apply(json.dumps(DAEMON))
        vm = vm_of_an_image(cluster)
        for name in HOSTS:
            wait_ready(cluster, name)
        home = vm.wait_booted()["nodeName"]
        boot = vm.boot_id()
        the_console_works(cluster, vm)
        (away,) = set(HOSTS) - {home}
        selector = {"nodeSelector": {"kubernetes.io/hostname": away}}
        status = operate(cluster, "there", vm.name, "Migrate", migrate=selector)
        assert status["phase"] == "Completed", status
        strangers_stay_visible(cluster)
        first.stop()
        pods.remove(first)
        said = cluster.k("drain", away, "--ignore-daemonsets", "--timeout=90s")
        assert said.code == 0, said.out + said.err
        assert leading(cluster, pods) is pods[0]
        assert vm.wait("Running")["nodeName"] == home
        assert vm.boot_id() == boot
        vm.assert_runs_once()
        if helm.helm_program():
            an_upgrade_leaves_what_others_wrote(cluster)
        vm.delete(wait=True)
        if helm.helm_program():
            what_is_left_without_the_chart(cluster)


def the_console_works(cluster: RunningLab, vm: Vm) -> None:
    """Through the API server, of whatever version it is."""
    there = ("--kubeconfig", str(cluster.home.kubeconfig))
    typed = "echo $((40+2)) in this guest\n"
    said = cluster.drover(*there, "console", vm.name, "--linger", "6s", stdin=typed)
    assert said.code == 0, said.err
    assert "42 in this guest" in said.out


def kinds_of_somebody_else_are_left_alone(cluster: RunningLab) -> None:
    """The chart looks before it installs anything that uses them."""
    (ours,) = [c for c in manifest_files.crds() if c["spec"]["names"]["kind"] == "NodeGroup"]
    name = ours["metadata"]["name"]
    theirs = {**ours, "metadata": {"name": name, "labels": {"heritage": "somebody"}}}
    cluster.apply(json.dumps(theirs))
    said = helm.install(cluster, values(cluster))
    assert said.code != 0
    assert f"{name} is there already and not drover's" in said.err
    assert cluster.get("customresourcedefinition", name)["metadata"]["labels"] == {
        "heritage": "somebody"
    }
    assert cluster.k("delete", "crd", name).code == 0


def an_upgrade_leaves_what_others_wrote(cluster: RunningLab) -> None:
    """The administrator's class, and the authority that the controllers told."""
    patch = json.dumps({"metadata": {"labels": {"changed": "yes"}}})
    assert cluster.k("patch", "vmclass", "generic", "--type=merge", "-p", patch).code == 0
    before = cluster.get("validatingwebhookconfiguration", NAME)["webhooks"]
    changed = {**values(cluster), "images": {"closedNetworks": ["10.96.0.0/12"]}}
    config = str(cluster.home.kubeconfig)
    said = helm.helm("upgrade", *helm.RELEASE, values=changed, kubeconfig=config)
    assert said.code == 0, said.err
    assert cluster.get("vmclass", "generic")["metadata"]["labels"]["changed"] == "yes"
    assert cluster.get("validatingwebhookconfiguration", NAME)["webhooks"] == before
    assert "10.96.0.0/12" in cluster.get("configmap", NAME, "-n", SPACE)["data"]["controllers.json"]


def what_is_left_without_the_chart(cluster: RunningLab) -> None:
    """Kinds, and with them all that is of them; and the authority by which hosts know each other."""
    config = str(cluster.home.kubeconfig)
    gone = ("uninstall", "drover", "--namespace", SPACE, "--wait")
    said = helm.helm(*gone, values=None, kubeconfig=config)
    assert said.code == 0, said.err
    assert cluster.get("vmclass", "generic") is not None
    assert cluster.get("secret", "drover-migration-ca", "-n", SPACE) is not None
    assert cluster.get("validatingwebhookconfiguration", NAME) is None


def belong_to(home: Home, user: int) -> None:
    """The directory of disks and images, as a volume for the controllers."""
    home.path.chmod(0o711)
    for directory in (home.disks, home.images):
        os.chown(directory, user, user)


def vm_of_an_image(cluster: RunningLab) -> Vm:
    """The image lies where the controllers see it."""
    image = builtin_image()
    assert image is not None
    seen = shutil.copy(image, cluster.home.images)
    source = {"dataSource": {"type": "HTTP", "http": {"url": Path(seen).as_uri()}}}
    kind = "ClusterVirtualImage"
    api = "virtualization.deckhouse.io/v1alpha2"
    meta = {"name": "drover-linux"}
    cluster.apply(json.dumps({"apiVersion": api, "kind": kind, "metadata": meta, "spec": source}))
    return make(cluster, "foreign")


def strangers_stay_visible(cluster: RunningLab) -> None:
    """A DaemonSet that tolerates everything lands on VM nodes, starts nothing there, and says so."""

    def told() -> bool:
        pods = cluster.get("pods", "-n", "kube-system", "-l", "app=everywhere")["items"]
        return len(pods) == len(HOSTS) and all(
            (pod["status"].get("phase"), pod["status"].get("reason")) == ("Pending", REASON)
            for pod in pods
        )

    eventually(told, 30)
