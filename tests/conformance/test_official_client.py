"""The official Python client does with our kinds what it does with any."""

from __future__ import annotations

from typing import Any

import pytest
from kubernetes import client, dynamic, watch
from tests.conformance.conftest import GROUP, VERSION, a_disk, a_vm, named

pytestmark = [pytest.mark.engine, pytest.mark.filterwarnings("ignore::DeprecationWarning")]

DISKS = (GROUP, VERSION, "default", "virtualdisks")
VMS = (GROUP, VERSION, "default", "virtualmachines")


@pytest.fixture
def objects(api: client.ApiClient) -> client.CustomObjectsApi:
    return client.CustomObjectsApi(api)


def test_an_object_is_made_read_changed_and_deleted(objects: client.CustomObjectsApi) -> None:
    name = named("python")
    made = objects.create_namespaced_custom_object(*DISKS, a_disk(name))
    assert made["metadata"]["generation"] == 1
    assert objects.get_namespaced_custom_object(*DISKS, name) == made
    patch = {"metadata": {"labels": {"app": "db"}}}
    labelled = objects.patch_namespaced_custom_object(*DISKS, name, patch)
    assert labelled["metadata"]["labels"] == {"app": "db"}
    with pytest.raises(client.ApiException) as refused:
        objects.replace_namespaced_custom_object(*DISKS, name, made)  # of an older version
    assert refused.value.status == 409
    objects.delete_namespaced_custom_object(*DISKS, name)
    with pytest.raises(client.ApiException) as gone:
        objects.get_namespaced_custom_object(*DISKS, name)
    assert gone.value.status == 404


def test_the_status_is_its_controllers(objects: client.CustomObjectsApi) -> None:
    """A change of the object leaves it alone, and the subresource refuses by name."""
    name = named("status")
    objects.create_namespaced_custom_object(*DISKS, {**a_disk(name), "status": {"phase": "Ready"}})
    patch = {"status": {"phase": "Ready"}}
    found = objects.patch_namespaced_custom_object(*DISKS, name, patch)
    assert "status" not in found
    with pytest.raises(client.ApiException) as refused:
        objects.patch_namespaced_custom_object_status(*DISKS, name, patch)
    assert refused.value.status == 403
    assert "belongs to drover:controllers" in str(refused.value.body)


def test_defaults_are_filled_in_and_errors_name_the_field(
    objects: client.CustomObjectsApi,
) -> None:
    vm = objects.create_namespaced_custom_object(*VMS, a_vm(named("python")))
    assert (vm["spec"]["bootloader"], vm["spec"]["liveMigrationPolicy"]) == ("BIOS", "PreferSafe")
    bad = a_vm(named("python"))
    bad["spec"]["cpu"]["cores"] = 17
    with pytest.raises(client.ApiException) as refused:
        objects.create_namespaced_custom_object(*VMS, bad)
    assert refused.value.status == 422
    assert "spec.cpu.cores" in str(refused.value.body)


def test_a_long_list_comes_in_pages(objects: client.CustomObjectsApi) -> None:
    names = {named("page") for _ in range(5)}
    for name in names:
        objects.create_namespaced_custom_object(*DISKS, a_disk(name, pages="yes"))
    seen: list[str] = []
    sizes: list[int] = []
    more = ""
    while True:
        part = objects.list_namespaced_custom_object(
            *DISKS, label_selector="pages=yes", limit=2, _continue=more
        )
        seen += [item["metadata"]["name"] for item in part["items"]]
        sizes.append(len(part["items"]))
        more = part["metadata"].get("continue", "")
        if not more:
            break
    assert sizes == [2, 2, 1]
    assert (len(seen), set(seen)) == (5, names)


def test_a_watch_tells_every_change_once(objects: client.CustomObjectsApi) -> None:
    name = named("watch")
    since = objects.list_namespaced_custom_object(*DISKS)["metadata"]["resourceVersion"]
    objects.create_namespaced_custom_object(*DISKS, a_disk(name))
    patch = {"metadata": {"labels": {"a": "b"}}}
    objects.patch_namespaced_custom_object(*DISKS, name, patch)
    objects.delete_namespaced_custom_object(*DISKS, name)
    told: list[tuple[str, Any]] = []
    stream = watch.Watch().stream(
        objects.list_namespaced_custom_object,
        *DISKS,
        resource_version=since,
        field_selector=f"metadata.name={name}",
        timeout_seconds=5,
    )
    for event in stream:
        told.append((event["type"], event["object"]["metadata"].get("labels")))
        if event["type"] == "DELETED":
            break
    assert told == [("ADDED", None), ("MODIFIED", {"a": "b"}), ("DELETED", {"a": "b"})]


def test_a_field_has_one_owner_under_server_side_apply(api: client.ApiClient) -> None:
    """What Argo CD, Flux and kubectl apply --server-side do."""
    disks = dynamic.DynamicClient(api).resources.get(
        api_version=f"{GROUP}/{VERSION}", kind="VirtualDisk"
    )
    name = named("apply")

    def apply(manager: str, app: str, force: bool = False) -> Any:
        wanted = a_disk(name, app=app)
        return disks.server_side_apply(
            body=wanted, namespace="default", field_manager=manager, force_conflicts=force
        )

    apply("first", "db")
    with pytest.raises(dynamic.exceptions.ConflictError, match=r"metadata\.labels\.app"):
        apply("second", "web")
    taken = apply("second", "web", force=True)
    assert taken.metadata.labels.app == "web"
    managers = {entry.manager for entry in taken.metadata.managedFields}
    assert managers == {"first", "second"}
