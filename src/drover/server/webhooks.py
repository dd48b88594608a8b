"""Tells the API server of the controllers' admission webhook. A lab's URL and certificate are known here alone."""

from __future__ import annotations

import base64
from pathlib import Path

from drover.api.names import POD_PREFIX
from drover.api.scheme import VIRTUALIZATION
from drover.api.wire import Object
from drover.base.config_file import load
from drover.controllers.config import ControllersConfig
from drover.runtime.client import Client
from drover.server.bootstrap import upsert

NAME = "drover-controllers"


def configuration(url: str, ca: bytes) -> Object:
    """Reviews of new operations, VMs and evictions. Away, they block nobody by themselves: the vmop controller checks
    the same again, and the controllers' PodDisruptionBudgets refuse evictions of VM Pods with "try again"."""
    eviction = {
        **_webhook("evict", url, ca, "", "pods/eviction"),
        "sideEffects": "NoneOnDryRun",
        "timeoutSeconds": 30,  # a review is held for a while; evictionHold stays below it
        # An Eviction has no labels of its Pod; only VM Pods may have such a name (policy drover-vm-pod).
        "matchConditions": [
            {"name": "vm-pods", "expression": f"request.name.startsWith('{POD_PREFIX}')"}
        ],
    }
    return {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingWebhookConfiguration",
        "metadata": {"name": NAME},
        "webhooks": [
            _webhook("vmop", url, ca, VIRTUALIZATION, "virtualmachineoperations"),
            _webhook("vm", url, ca, VIRTUALIZATION, "virtualmachines"),
            eviction,
        ],
    }


def _webhook(name: str, url: str, ca: bytes, group: str, resource: str) -> Object:
    """A review of each creation of a resource."""
    rule = {
        "apiGroups": [group],
        "apiVersions": ["*"],
        "operations": ["CREATE"],
        "resources": [resource],
    }
    return {
        "name": f"{name}.drover.dev",
        "admissionReviewVersions": ["v1"],
        "sideEffects": "None",
        "failurePolicy": "Ignore",
        "timeoutSeconds": 2,
        "clientConfig": {"url": f"{url}/{name}", "caBundle": base64.b64encode(ca).decode()},
        "rules": [rule],
    }


def wanted(controllers_file: Path) -> Object:
    """As the controllers' configuration says."""
    config = load(controllers_file, ControllersConfig)
    url = f"https://{config.webhook_address}:{config.webhook_port}"
    return configuration(url, Path(config.ca_file).read_bytes())


async def ensure_webhooks(client: Client, controllers_file: Path) -> None:
    """Create or replace the configuration."""
    await upsert(client, wanted(controllers_file))
