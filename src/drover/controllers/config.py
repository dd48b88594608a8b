"""What the controllers are told at their start: one JSON file, written by the lab or by the chart.

Unknown and missing fields are refused by name. It holds paths of keys and names of Secrets, never keys.
"""

from __future__ import annotations

import msgspec

WEBHOOK_PORT = 9443
WEBHOOK_CLIENT = "kube-apiserver-webhook-client"  # the common name that our API servers show it


class ControllersConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One process of controllers."""

    # https://address:port; empty: as a Pod, with its service account, and then the next three are empty too
    api_server: str = ""
    ca_file: str = ""
    client_cert_file: str = ""  # CN=drover:controllers, O=drover:controllers
    client_key_file: str = ""
    disks_dir: str  # shared with all nodes: VirtualDisks
    images_dir: str  # imported images; controllers alone write here
    vm_cidr: str  # the VM network
    vm_first: str  # addresses for guests: first and last
    vm_last: str
    vm_gateway: str
    webhook_address: str  # where admission reviews are served, and how the API server reaches it
    webhook_port: int = WEBHOOK_PORT
    webhook_cert_file: str = ""
    webhook_key_file: str = ""
    # NAME.NAMESPACE.svc; its certificate is then made here, and the API server told whom to trust
    webhook_service: str = ""
    webhook_client_ca_file: str = (
        ""  # who signed the API server's own certificate; empty: anybody may ask
    )
    migration_ca_cert_file: str = (
        ""  # signs migration streams of hosts that join; empty: none can join
    )
    migration_ca_key_file: str = ""
    migration_ca_secret: str = ""  # or in this Secret of drover-system, which is made when missing
    closed_networks: list[
        str
    ] = []  # CIDRs that VirtualImages are not fetched from, besides this host itself
    elect: bool = (
        False  # there are several such processes: one at a time decides, all answer reviews
    )
    # A restore of etcd, as it was declared: its id (empty: none), all nodes that there were, those that are off.
    restored_id: str = ""
    restored_nodes: tuple[str, ...] = ()
    restored_off: tuple[str, ...] = ()
