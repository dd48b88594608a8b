"""What k9s, dashboards and informers ask of the API server: tables, metadata alone, bookmarks, and what there is."""

from __future__ import annotations

import contextlib
import itertools
import json
from collections.abc import Generator
from typing import Any
from urllib.parse import urlencode

import pytest
from kubernetes import client
from tests.conformance.conftest import GROUP, VERSION, a_disk, named

from drover.api import manifest_files, scheme

pytestmark = pytest.mark.engine

TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io"
METADATA = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io"
CRDS = {crd["spec"]["names"]["kind"]: crd for crd in manifest_files.crds()}
KINDS = [kind for kind in scheme.ALL if kind.kind in CRDS]
DISKS = scheme.VDISK.path("default")


def lines(api: client.ApiClient, path: str, accept: str, **query: str) -> Generator[Any]:
    """The documents of one answer: one, or those of a watch as they come, until it ends or nobody wants more."""
    url = f"{api.configuration.host}{path}?{urlencode(query)}"
    pool = api.rest_client.pool_manager
    headers = {"Accept": accept}
    answer = pool.request("GET", url, headers=headers, timeout=20, preload_content=False)
    try:
        assert answer.status == 200, answer.data
        for line in answer:
            yield json.loads(line)
    finally:
        answer.close()


def ask(api: client.ApiClient, path: str, accept: str = "application/json", **query: str) -> Any:
    [one] = lines(api, path, accept, **query)
    return one


@pytest.fixture(scope="module")
def disk(api: client.ApiClient) -> str:
    name = named("read")
    objects = client.CustomObjectsApi(api)
    objects.create_namespaced_custom_object(
        GROUP, VERSION, "default", "virtualdisks", a_disk(name, read="yes")
    )
    return name


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.kind)
def test_each_kind_is_a_table_with_its_columns(api: client.ApiClient, kind: scheme.Kind) -> None:
    table = ask(api, kind.path(), TABLE, limit="1")
    assert table["kind"] == "Table"
    [version] = [v for v in CRDS[kind.kind]["spec"]["versions"] if v["name"] == kind.version]
    columns = [column["name"] for column in version["additionalPrinterColumns"]]
    assert [c["name"] for c in table["columnDefinitions"]] == ["Name", *columns]


def test_a_row_carries_the_metadata_that_a_table_is_keyed_by(
    api: client.ApiClient, disk: str
) -> None:
    table = ask(api, DISKS, TABLE, labelSelector="read=yes")
    [row] = table["rows"]
    assert row["cells"][0] == disk
    assert row["object"]["kind"] == "PartialObjectMetadata"
    assert row["object"]["metadata"]["name"] == disk


def test_metadata_alone_comes_without_spec(api: client.ApiClient, disk: str) -> None:
    found = ask(api, DISKS, METADATA, labelSelector="read=yes")
    [item] = found["items"]
    assert item["metadata"]["name"] == disk
    assert "spec" not in item


@pytest.mark.parametrize("accept", ["application/json", TABLE])
def test_a_watch_that_begins_with_a_list_marks_its_end(
    api: client.ApiClient, disk: str, accept: str
) -> None:
    """How informers of today begin: no list, one stream, a bookmark once all is told."""
    told = lines(
        api, DISKS, accept,
        watch="true", sendInitialEvents="true", resourceVersionMatch="NotOlderThan",
        allowWatchBookmarks="true", labelSelector="read=yes", timeoutSeconds="20",
    )  # fmt: skip
    with contextlib.closing(told):
        events = list(itertools.islice(told, 2))
    assert [event["type"] for event in events] == ["ADDED", "BOOKMARK"]
    if accept == TABLE:
        assert events[0]["object"]["rows"][0]["cells"][0] == disk
    else:
        marked = events[1]["object"]["metadata"]
        assert marked["annotations"] == {"k8s.io/initial-events-end": "true"}
        assert int(marked["resourceVersion"]) > 0


def test_discovery_tells_names_and_verbs(api: client.ApiClient) -> None:
    told = ask(api, f"/apis/{GROUP}/{VERSION}")["resources"]
    vms = next(one for one in told if one["name"] == "virtualmachines")
    assert (vms["shortNames"], vms["categories"]) == (["vm"], ["all", "virtualization"])
    wanted = {"get", "list", "watch", "create", "update", "patch", "delete", "deletecollection"}
    assert set(vms["verbs"]) == wanted
    assert "virtualmachines/status" in {one["name"] for one in told}


def test_kinds_that_do_not_exist_here_are_not_told(api: client.ApiClient) -> None:
    """So that a client can see it, and does not wait for a controller that is not there. docs/compatibility.md."""
    told = {one["kind"] for one in ask(api, f"/apis/{GROUP}/{VERSION}")["resources"]}
    assert told.isdisjoint(
        {
            "VirtualMachineBlockDeviceAttachment", "VirtualDiskSnapshot", "VirtualMachineSnapshot",
            "VirtualMachineSnapshotOperation", "VirtualMachineRestore", "VirtualMachinePool",
            "VirtualMachineMACAddress", "VirtualMachineMACAddressLease", "USBDevice",
        }
    )  # fmt: skip


def test_the_schema_is_published(api: client.ApiClient) -> None:
    """For editors, code generators and client-side validation."""
    schemas = ask(api, f"/openapi/v3/apis/{GROUP}/{VERSION}")["components"]["schemas"]
    vm = schemas["io.deckhouse.virtualization.v1alpha2.VirtualMachine"]
    spec = vm["properties"]["spec"]["properties"]
    assert spec["bootloader"]["enum"] == ["BIOS", "EFI", "EFIWithSecureBoot"]
