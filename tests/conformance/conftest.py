"""Programs that others wrote, against our kinds on a real control plane. No controllers run: what these programs ask
of an API server is the matter here."""

from __future__ import annotations

import importlib.util
import itertools
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.cluster import EDITOR
from tests.support.engine import ADMIN, Engine

if TYPE_CHECKING:
    from kubernetes import client

# ./test installs the libraries; a pytest of one's own may lack them.
_LIBRARIES = ("test_official_client.py", "test_reads.py", "test_kr8s.py", "test_kopf.py")
collect_ignore = [] if importlib.util.find_spec("kubernetes") else list(_LIBRARIES)

GROUP, VERSION = "virtualization.deckhouse.io", "v1alpha2"
_NUMBERS = itertools.count(1)
_RUN = secrets.token_hex(2)


def named(start: str) -> str:
    """A name that no other test has."""
    return f"{start}-{_RUN}-{next(_NUMBERS)}"


def a_disk(name: str, **labels: str) -> dict[str, Any]:
    return {
        "apiVersion": f"{GROUP}/{VERSION}",
        "kind": "VirtualDisk",
        "metadata": {"name": name, "namespace": "default", "labels": labels},
        "spec": {"persistentVolumeClaim": {"size": "1Gi"}},
    }


def a_vm(name: str, **labels: str) -> dict[str, Any]:
    return {
        "apiVersion": f"{GROUP}/{VERSION}",
        "kind": "VirtualMachine",
        "metadata": {"name": name, "namespace": "default", "labels": labels},
        "spec": {
            "runPolicy": "AlwaysOff",
            "cpu": {"cores": 1},
            "memory": {"size": "1Gi"},
            "blockDeviceRefs": [{"kind": "VirtualDisk", "name": name}],
        },
    }


@pytest.fixture(scope="session")
def admin_config(prepared: Engine) -> Path:
    return prepared.kubeconfig(*ADMIN)


@pytest.fixture(scope="session")
def editor_config(prepared: Engine) -> Path:
    """Of a user who may edit one namespace, and no more."""
    return prepared.kubeconfig(EDITOR)


@pytest.fixture(scope="session")
def api(admin_config: Path) -> Iterator[client.ApiClient]:
    """The official client."""
    from kubernetes import config

    made = config.new_client_from_config(config_file=str(admin_config))
    yield made
    made.close()
