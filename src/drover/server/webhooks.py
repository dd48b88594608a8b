"""Tells an API server of ours of the controllers' admission webhook: its URL and certificate are known here alone.

Which reviews there are says ``api/webhooks.yaml``, as for every installation.
"""

from __future__ import annotations

import base64
from pathlib import Path

from drover.api import manifest_files
from drover.api.wire import Object
from drover.base.config_file import load
from drover.controllers.config import ControllersConfig
from drover.runtime.client import Client
from drover.server.bootstrap import upsert


def configuration(url: str, ca: bytes) -> Object:
    """Each review at ``url`` and its own name."""
    wanted = manifest_files.webhooks()
    bundle = base64.b64encode(ca).decode()
    for hook in wanted["webhooks"]:
        path = str(hook["name"]).partition(".")[0]
        hook["clientConfig"] = {"url": f"{url}/{path}", "caBundle": bundle}
    return wanted


def wanted(controllers_file: Path) -> Object:
    """As the controllers' configuration says."""
    config = load(controllers_file, ControllersConfig)
    url = f"https://{config.webhook_address}:{config.webhook_port}"
    return configuration(url, Path(config.ca_file).read_bytes())


async def ensure_webhooks(client: Client, controllers_file: Path) -> None:
    """Create or replace the configuration."""
    await upsert(client, wanted(controllers_file))
