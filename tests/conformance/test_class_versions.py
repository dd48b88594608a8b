"""VirtualMachineClass is served in two versions, one beside the other: the same objects, as they were written."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from tests.support.cluster import Cluster

from drover.api import scheme
from drover.api.kinds import vmclass as classes
from drover.api.status import Invalid

pytestmark = pytest.mark.engine

OLD = scheme.VMCLASS
NEW = dataclasses.replace(OLD, version="v1alpha3")


def a_class(name: str, *fractions: Any) -> dict[str, Any]:
    policy = {
        "cores": {"min": 1, "max": 4},
        "coreFractions": list(fractions),
        "defaultCoreFraction": fractions[0],
    }
    spec = {"cpu": {"type": "Model", "model": "Nehalem"}, "sizingPolicies": [policy]}
    return {"metadata": {"name": name}, "spec": spec}


@pytest.mark.parametrize(("writer", "reader"), [(OLD, NEW), (NEW, OLD)])
@pytest.mark.parametrize("fractions", [(5, 50, 100), ("5%", "50%", "100%")])
async def test_what_one_version_wrote_the_other_reads(
    cluster: Cluster, writer: scheme.Kind, reader: scheme.Kind, fractions: tuple[Any, ...]
) -> None:
    """Numbers were the form of v1alpha2, words with a percent sign are that of v1alpha3: each takes both."""
    name = cluster.name("class")
    made = await cluster.admin.create(writer, a_class(name, *fractions))
    found = await cluster.admin.get(reader, name)
    assert found["apiVersion"] == reader.api_version
    assert found["spec"] == made["spec"]
    assert found["metadata"]["uid"] == made["metadata"]["uid"]
    policy = classes.sizing_policy(found, 2)
    assert policy is not None
    assert classes.core_fractions_percent(policy) == [5, 50, 100]
    assert classes.default_core_fraction_percent(policy) == 5
    await cluster.admin.delete(reader, name)


async def test_a_change_by_one_version_is_a_change_to_the_other(cluster: Cluster) -> None:
    name = cluster.name("class")
    await cluster.admin.create(OLD, a_class(name, "50%"))
    old = await cluster.admin.get(OLD, name)
    patch = {"spec": {"nodeSelector": {"matchLabels": {"disk": "ssd"}}}}
    changed = await cluster.admin.patch(NEW, name, "", patch)
    found = await cluster.admin.get(OLD, name)
    assert found["metadata"]["resourceVersion"] == changed["metadata"]["resourceVersion"]
    assert found["metadata"]["generation"] == old["metadata"]["generation"] + 1
    assert classes.node_labels(found) == {"disk": "ssd"}
    await cluster.admin.delete(OLD, name)


@pytest.mark.parametrize("version", [OLD, NEW])
@pytest.mark.parametrize("fraction", [0, 101, "0%", "101%", "50"])
async def test_both_refuse_the_same(cluster: Cluster, version: scheme.Kind, fraction: Any) -> None:
    with pytest.raises(Invalid, match="coreFractions"):
        await cluster.admin.create_dry(version, a_class("never", fraction))
