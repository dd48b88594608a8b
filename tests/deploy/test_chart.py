"""The chart: what it renders is what the manifests say, and what cannot work is refused with words."""

from __future__ import annotations

import json
import re
from typing import Any

import msgspec
import pytest
import yaml
from tests.support.helm import (
    CHART,
    NEEDED,
    RELEASE,
    RENDERERS,
    Objects,
    Values,
    helm,
    objects_of,
    render,
    template,
)

from drover.api import manifest_files, names, scheme
from drover.controllers.config import ControllersConfig

USER = "system:serviceaccount:drover-system:drover-controllers"
EVERYTHING: Values = {
    "podDisruptionBudget": {"enabled": False},
    "defaults": False,
    "serviceMonitor": {"enabled": True, "labels": {"release": "prometheus"}},
    "networkPolicy": {"enabled": True, "apiServers": ["10.0.0.1/32"]},
    "images": {"closedNetworks": ["10.96.0.0/12"]},
    "nodeSelector": {"a": "b"},
    "tolerations": [{"operator": "Exists"}],
    "image": {"tag": "1", "pullSecrets": ["s"]},
    "replicas": 3,
}
OURS = (scheme.VIRTUALIZATION, scheme.DECKHOUSE, scheme.DROVER)


@pytest.fixture(scope="module")
def objects() -> Objects:
    return objects_of(render(NEEDED))


def named(objects: Objects, kind: str, name: str = "drover-controllers") -> dict[str, Any]:
    (found,) = [o for o in objects if (o["kind"], o["metadata"]["name"]) == (kind, name)]
    return found


def as_in_a_cluster(manifest: dict[str, Any]) -> dict[str, Any]:
    """The one difference, and that the defaults are an administrator's."""
    said: dict[str, Any] = json.loads(json.dumps(manifest).replace(names.CONTROLLERS_USER, USER))
    if said["apiVersion"].partition("/")[0] in OURS:
        notes = said["metadata"].setdefault("annotations", {})
        notes["helm.sh/resource-policy"] = "keep"
    return said


def test_lint() -> None:
    said = helm("lint", str(CHART), "--namespace", "drover-system", "--strict", values=NEEDED)
    assert said.code == 0, said.out + said.err


def test_nothing_of_the_manifests_is_missing_or_different(objects: Objects) -> None:
    apart = (
        scheme.NAMESPACE.kind,
        scheme.CRD.kind,
    )  # Helm makes the one, and takes the other as it is
    wanted = [as_in_a_cluster(m) for m in manifest_files.load() if m["kind"] not in apart]
    assert len(wanted) > 45
    assert [m["metadata"]["name"] for m in wanted if m not in objects] == []


def test_nobody_is_called_as_in_a_lab(objects: Objects) -> None:
    assert names.CONTROLLERS_USER not in json.dumps(objects)


def test_nothing_is_copied() -> None:
    """Links into the one source, so that a manifest of tomorrow is in the chart by itself."""
    for link, target in (
        ("crds", manifest_files.ROOT / "crds"),
        ("files/manifests", manifest_files.ROOT),
        ("files/webhooks.yaml", manifest_files.WEBHOOKS),
    ):
        assert (CHART / link).is_symlink()
        assert (CHART / link).resolve() == target


def test_reviews_are_those_of_a_lab_at_the_service(objects: Objects) -> None:
    found = named(objects, "ValidatingWebhookConfiguration")
    services = {hook.pop("clientConfig")["service"]["path"] for hook in found["webhooks"]}
    assert services == {"/vmop", "/vm", "/evict"}
    assert found == manifest_files.webhooks()


def test_the_controllers_understand_their_configuration(objects: Objects) -> None:
    data = named(objects, "ConfigMap")["data"]
    config = msgspec.json.decode(data["controllers.json"], type=ControllersConfig)
    service = named(objects, "Service")["metadata"]
    assert config.webhook_service == f"{service['name']}.{service['namespace']}.svc"
    assert (config.elect, config.api_server, config.webhook_port) == (True, "", 9443)
    assert (config.disks_dir, config.vm_cidr) == ("/srv/drover/disks", "10.66.0.0/24")
    pod = named(objects, "Deployment")["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    mounts = {m["mountPath"] for m in container["volumeMounts"]}
    assert mounts >= {"/srv/drover", container["args"][1].rpartition("/")[0]}
    assert {"name": "storage", **NEEDED["storage"]["volume"]} in pod["volumes"]
    command = json.loads(
        re.findall(r"^CMD (.*)", (CHART.parent / "Dockerfile").read_text(), re.M)[0]
    )
    assert command == container["command"] + container["args"]


def test_who_reviews_may_tell_whom_to_trust_and_no_more(objects: Objects) -> None:
    (rule,) = named(objects, "ClusterRole", "drover-webhook")["rules"]
    assert (rule["resourceNames"], rule["verbs"]) == (["drover-controllers"], ["get", "update"])


def test_what_is_optional() -> None:
    plain = {(o["kind"], o["metadata"]["name"]) for o in objects_of(render(NEEDED))}
    assert ("PodDisruptionBudget", "drover-controllers") in plain
    assert not {kind for kind, _ in plain} & {"ServiceMonitor", "NetworkPolicy"}
    objects = objects_of(render({**NEEDED, **EVERYTHING}))
    kinds = {o["kind"] for o in objects}
    assert not kinds & {"PodDisruptionBudget", "VirtualMachineClass", "Descheduler", "ModuleConfig"}
    monitor = named(objects, "ServiceMonitor")
    assert monitor["metadata"]["labels"]["release"] == "prometheus"
    (end,) = monitor["spec"]["endpoints"]
    assert end["tlsConfig"]["serverName"] == "drover-controllers.drover-system.svc"
    (rule,) = named(objects, "NetworkPolicy")["spec"]["ingress"]
    assert rule["from"] == [{"ipBlock": {"cidr": "10.0.0.1/32"}}]
    assert named(objects, "Deployment")["spec"]["replicas"] == 3


@pytest.mark.parametrize("values", [NEEDED, {**NEEDED, **EVERYTHING}], ids=["plain", "everything"])
def test_our_renderer_is_helms(values: Values) -> None:
    one, other = (
        sorted(json.dumps(o, sort_keys=True) for o in objects_of(renderer(values)))
        for renderer in RENDERERS.values()
    )
    assert one == other


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"storage": {}}, "storage.volume has to be set"),
        ({"network": {**NEEDED["network"], "gateway": ""}}, "network.gateway has to be set"),
        ({"networkPolicy": {"enabled": True}}, "networkPolicy.apiServers has to name"),
    ],
    ids=["storage", "network", "policy"],
)
def test_what_cannot_work_is_refused(values: Values, words: str) -> None:
    said = render({**NEEDED, **values})
    assert said.code != 0
    assert words in said.err


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"network": {**NEEDED["network"], "cidr": "10.66.0.0"}}, "pattern"),
        ({"replica": 3}, "replica"),
        ({"replicas": 0}, "replicas"),
    ],
    ids=["cidr", "typing error", "none"],
)
def test_what_the_schema_forbids_is_refused(values: Values, words: str) -> None:
    said = template(*RELEASE, values={**NEEDED, **values})
    assert said.code != 0
    assert words in said.err


def test_another_namespace_is_refused() -> None:
    said = template("drover", str(CHART), "--namespace", "vms", values=NEEDED)
    assert said.code != 0
    assert "drover lives in the namespace drover-system" in said.err


def leaves(values: dict[str, Any], before: str = "") -> dict[str, Any]:
    found = {}
    for key, value in values.items():
        if isinstance(value, dict) and value and key != "resources":
            found |= leaves(value, f"{before}{key}.")
        else:
            found[before + key] = value
    return found


def test_every_value_is_in_the_table_and_in_the_schema() -> None:
    lines = (CHART / "README.md").read_text().splitlines()
    rows = [line.strip("|").split("|") for line in lines if line.startswith("| `")]
    told = {name: default for cell, default, _ in rows for name in re.findall(r"`([^`]+)`", cell)}
    wanted = leaves(yaml.safe_load((CHART / "values.yaml").read_text()))
    assert told.keys() == wanted.keys()
    for name, value in wanted.items():
        if isinstance(value, str | int) and value != "":
            shown = str(value).lower() if isinstance(value, bool) else str(value)
            assert told[name].strip() == f"`{shown}`", name
    schema = json.loads((CHART / "values.schema.json").read_text())
    for name in wanted:
        place = schema
        for part in name.split("."):
            place = place["properties"][part]
