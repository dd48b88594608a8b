"""Tells the API server of the controllers' admission webhook. A lab's URL and certificate are known here alone."""

from __future__ import annotations

import base64
from pathlib import Path

from drover.api.scheme import VIRTUALIZATION
from drover.api.wire import Object
from drover.base.config_file import load
from drover.controllers.config import ControllersConfig
from drover.lab.bootstrap import upsert
from drover.runtime.client import Client

NAME = "drover-controllers"


def configuration(url: str, ca: bytes) -> Object:
    """Reviews of new operations. Away, it blocks nobody: the vmop controller checks the same again."""
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
                "clientConfig": {
                    "url": f"{url}/vmop",
                    "caBundle": base64.b64encode(ca).decode(),
                },
                "rules": [
                    {
                        "apiGroups": [VIRTUALIZATION],
                        "apiVersions": ["*"],
                        "operations": ["CREATE"],
                        "resources": ["virtualmachineoperations"],
                    }
                ],
            }
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
