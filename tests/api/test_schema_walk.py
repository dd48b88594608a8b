"""Each field of each schema works or is refused by name.

The walk is over the schemas as shipped, so a field added there without a sample fails here. What
"works" means beyond being accepted and kept is for the tests of the controllers and the agent.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from tests.api import samples

from drover.api import manifest_files, scheme, status

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.cluster import Cluster

    from drover.api.wire import Object

pytestmark = pytest.mark.timeout(90)  # the first that needs it starts the engine

CRDS = {crd["spec"]["names"]["kind"]: crd for crd in manifest_files.crds()}
KINDS = {kind.kind: kind for kind in scheme.ALL if kind.kind in CRDS}
CASES = [(kind, field, spec) for kind in CRDS for field, spec in samples.refused(kind)]


def schema_leaves(schema: Object, at: str = "") -> Iterator[str]:
    """Paths of all fields without fields of their own."""
    if schema.get("properties"):
        for name, inner in schema["properties"].items():
            yield from schema_leaves(inner, f"{at}.{name}" if at else name)
    elif schema.get("type") == "array":
        yield from schema_leaves(schema["items"], f"{at}[]")
    elif "additionalProperties" in schema:
        yield from schema_leaves(schema["additionalProperties"], f"{at}.*")
    else:
        yield at


def value_leaves(value: Any, schema: Object, at: str = "") -> Iterator[str]:
    """The same paths, of those fields that a value uses."""
    if schema.get("properties"):
        for name, inner in value.items():
            path = f"{at}.{name}" if at else name
            yield from value_leaves(inner, schema["properties"][name], path)
    elif schema.get("type") == "array":
        for item in value:
            yield from value_leaves(item, schema["items"], f"{at}[]")
    elif "additionalProperties" in schema:
        for item in value.values():
            yield from value_leaves(item, schema["additionalProperties"], f"{at}.*")
    else:
        yield at


def spec_schema(kind: str) -> Object:
    version = CRDS[kind]["spec"]["versions"][0]
    return version["schema"]["openAPIV3Schema"]["properties"]["spec"]


@pytest.mark.parametrize("kind", CRDS)
def test_every_field_has_a_sample(kind: str) -> None:
    schema = spec_schema(kind)
    used = {leaf for spec in samples.works(kind) for leaf in value_leaves(spec, schema)}
    refused = {field for field, _ in samples.refused(kind)}
    every = set(schema_leaves(schema))
    unserved = {leaf for leaf in every if leaf.removesuffix("[]") in refused or leaf in refused}
    assert every - used - unserved == set(), "neither used by a sample nor refused"
    partly = {leaf for leaf in unserved & used if not _by_value(kind, leaf)}
    assert partly == set(), "both used and refused as a whole"


def _by_value(kind: str, leaf: str) -> bool:
    """Fields that are refused for some of their values only."""
    return leaf in {
        "VirtualMachine": {
            "osType", "bootloader", "enableParavirtualization", "cpu.coreFraction",
            "provisioning.type", "networks[].id",
        },
        "VirtualMachineOperation": {"type"},
        "VirtualMachineClass": {"cpu.type"},
        "Descheduler": {"strategies.*.nodeAffinityType[]"},
        "VirtualDisk": {"dataSource.type", "dataSource.objectRef.kind"},
        "ClusterVirtualImage": {"dataSource.type"},
        "VirtualImage": {"dataSource.type", "storage"},
    }.get(kind, set())  # fmt: skip


def an_object(kind: str, spec: Object) -> Object:
    meta: Object = {"name": "sample"}
    if kind in ("ModuleConfig", "Descheduler"):
        rebalances = "rebalance" in (spec.get("settings") or {})
        meta["name"] = "descheduler" if rebalances else "virtualization"
    if KINDS[kind].namespaced:
        meta["namespace"] = "default"
    if kind == "VirtualMachineLease":
        meta["finalizers"] = ["drover.dev/held"]
    return {"metadata": meta, "spec": spec}


def kept(wanted: Any, found: Any) -> bool:
    """Everything wanted is there; defaults may have come on top."""
    if isinstance(wanted, dict):
        return all(key in found and kept(inner, found[key]) for key, inner in wanted.items())
    if isinstance(wanted, list):
        return len(wanted) == len(found) and all(map(kept, wanted, found))
    return bool(wanted == found)


@pytest.mark.engine
@pytest.mark.parametrize("kind", CRDS)
async def test_what_works_is_accepted_and_kept(kind: str, cluster: Cluster) -> None:
    ours = (
        "VirtualMachineLease", "VirtualMachineMigration", "VirtualMachineIPAddressLease",
        "NodeFence", "NodeRoster", "RebalancePlan",
    )  # fmt: skip
    writer = cluster.controllers if kind in ours else cluster.admin
    for spec in samples.works(kind):
        made = await writer.put_dry(KINDS[kind], an_object(kind, spec))
        assert kept(spec, made["spec"]), made["spec"]


@pytest.mark.engine
@pytest.mark.parametrize(
    ("kind", "field", "spec"), CASES, ids=[f"{k} {f} {n}" for n, (k, f, _) in enumerate(CASES)]
)
async def test_what_does_not_work_is_refused_by_name(
    kind: str, field: str, spec: Object, cluster: Cluster
) -> None:
    with pytest.raises(status.Invalid) as refusal:
        await cluster.admin.create_dry(KINDS[kind], an_object(kind, spec))
    said = refusal.value.message
    assert "not supported by drover yet" in said
    for part in field.replace("[]", "").replace(".*", "").split("."):
        assert part in said
