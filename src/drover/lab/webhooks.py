"""Tells the API server of the controllers' admission webhook. A lab's URL and certificate are known here alone."""

from __future__ import annotations

import base64
from pathlib import Path

from drover.api.names import POD_PREFIX
from drover.api.scheme import VIRTUALIZATION
from drover.api.wire import Object
from drover.base.config_file import load
from drover.controllers.config import ControllersConfig
from drover.lab.bootstrap import upsert
from drover.runtime.client import Client

NAME = "drover-controllers"


def configuration(url: str, ca: bytes) -> Object:
    """Reviews of new operations, VMs and evictions. Away, they block nobody by themselves: the vmop controller checks
    the same again, and the controllers' PodDisruptionBudgets refuse evictions of VM Pods with "try again"."""
    trust = base64.b64encode(ca).decode()
    return {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingWebhookConfiguration",
        "metadata": {"name": NAME},
        "webhooks": [
            {
                "name": "vmop.drover.dev",
                "admissionReviewVersions": ["v1"],
                "sideEffects": "None",
                "failurePolicy": "Ignore",
                "timeoutSeconds": 2,
                "clientConfig": {"url": f"{url}/vmop", "caBundle": trust},
                "rules": [
                    {
                        "apiGroups": [VIRTUALIZATION],
                        "apiVersions": ["*"],
                        "operations": ["CREATE"],
                        "resources": ["virtualmachineoperations"],
                    }
                ],
            },
            {
                "name": "vm.drover.dev",
                "admissionReviewVersions": ["v1"],
                "sideEffects": "None",
                "failurePolicy": "Ignore",  # it only warns
                "timeoutSeconds": 2,
                "clientConfig": {"url": f"{url}/vm", "caBundle": trust},
                "rules": [
                    {
                        "apiGroups": [VIRTUALIZATION],
                        "apiVersions": ["*"],
                        "operations": ["CREATE"],
                        "resources": ["virtualmachines"],
                    }
                ],
            },
            {
                "name": "evict.drover.dev",
                "admissionReviewVersions": ["v1"],
                "sideEffects": "NoneOnDryRun",
                "failurePolicy": "Ignore",
                "timeoutSeconds": 30,  # a review is held for a while; evictionHold stays below it
                "clientConfig": {"url": f"{url}/evict", "caBundle": trust},
                "rules": [
                    {
                        "apiGroups": [""],
                        "apiVersions": ["v1"],
                        "operations": ["CREATE"],
                        "resources": ["pods/eviction"],
                    }
                ],
                # An Eviction has no labels of its Pod; only VM Pods may have such a name (policy drover-vm-pod).
                "matchConditions": [
                    {
                        "name": "vm-pods",
                        "expression": f"request.name.startsWith('{POD_PREFIX}')",
                    }
                ],
            },
        ],
    }


def wanted(controllers_file: Path) -> Object:
    """As the controllers' configuration says."""
    config = load(controllers_file, ControllersConfig)
    url = f"https://{config.webhook_address}:{config.webhook_port}"
    return configuration(url, Path(config.ca_file).read_bytes())


async def ensure_webhooks(client: Client, controllers_file: Path) -> None:
    """Create or replace the configuration."""
    await upsert(client, wanted(controllers_file))
