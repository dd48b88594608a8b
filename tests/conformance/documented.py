"""What the reference platform's manual has its users apply, kind by kind, as manifests of our own with the same fields.

Each with what becomes of it here: nothing (it is accepted), or words of the refusal. docs/compatibility.md tells users
the same. Sources: behaviour of its v1alpha2 API as its user and administrator guides show it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import yaml

from drover.api import scheme


@dataclass(frozen=True)
class Documented:
    """``refused``: words of the refusal; empty: accepted."""

    title: str
    manifest: dict[str, Any]
    refused: str = ""

    @property
    def kind(self) -> scheme.Kind:
        version = str(self.manifest["apiVersion"]).partition("/")[2]
        kind = next(k for k in scheme.ALL if k.kind == self.manifest["kind"])
        same = kind.version == version
        return kind if same else scheme.Kind(
            kind.group, version, kind.kind, kind.plural, kind.namespaced
        )  # fmt: skip


def _image(title: str, source: str, refused: str = "", **spec: Any) -> list[Documented]:
    """The same for both kinds of image."""
    of_namespace = {"storage": "ContainerRegistry", "dataSource": yaml.safe_load(source), **spec}
    own = _made("VirtualImage", "ubuntu", of_namespace)
    shared = _made("ClusterVirtualImage", "ubuntu", {"dataSource": of_namespace["dataSource"]})
    both = [Documented(f"VirtualImage {title}", own, refused)]
    return both if spec else [*both, Documented(f"ClusterVirtualImage {title}", shared, refused)]


def _made(kind: str, name: str, spec: Any, version: str = "v1alpha2") -> dict[str, Any]:
    return {
        "apiVersion": f"virtualization.deckhouse.io/{version}",
        "kind": kind,
        "metadata": {"name": name},
        "spec": yaml.safe_load(spec) if isinstance(spec, str) else spec,
    }


def _disk(title: str, spec: str, refused: str = "") -> Documented:
    return Documented(f"VirtualDisk {title}", _made("VirtualDisk", "linux-vm-root", spec), refused)


def _operation(title: str, spec: str, refused: str = "") -> Documented:
    made = _made("VirtualMachineOperation", "linux-vm-op", spec)
    return Documented(f"VirtualMachineOperation {title}", made, refused)


_VM = """
virtualMachineClassName: generic
cpu: {cores: 1}
memory: {size: 1Gi}
blockDeviceRefs: [{kind: VirtualDisk, name: linux-vm-root}]
"""


def _vm(title: str, more: str, refused: str = "") -> Documented:
    spec = {**yaml.safe_load(_VM), **(yaml.safe_load(more) or {})}
    return Documented(f"VirtualMachine {title}", _made("VirtualMachine", "linux-vm", spec), refused)


def _class(title: str, spec: str, refused: str = "", version: str = "v1alpha2") -> Documented:
    made = _made("VirtualMachineClass", "my-class", spec, version)
    return Documented(f"VirtualMachineClass {title}, {version}", made, refused)


def _settings(title: str, settings: str, refused: str = "") -> Documented:
    made = {
        "apiVersion": "deckhouse.io/v1alpha1",
        "kind": "ModuleConfig",
        "metadata": {"name": "virtualization"},
        "spec": {"enabled": True, "version": 1, "settings": yaml.safe_load(settings)},
    }
    return Documented(f"ModuleConfig {title}", made, refused)


_POLICIES = """
cpu: {type: Model, model: IvyBridge}
nodeSelector: {matchExpressions: [{key: node-role.example/vm, operator: Exists}]}
tolerations: [{key: dedicated, operator: Equal, value: vm, effect: NoSchedule}]
sizingPolicies:
- cores: {min: 1, max: 4}
  memory: {min: 1Gi, max: 8Gi, step: 512Mi}
  coreFractions: %s
- cores: {min: 5, max: 8}
  memory: {perCore: {min: 1Gi, max: 2Gi}}
  dedicatedCores: [false]
  coreFractions: %s
"""

ALL: list[Documented] = [
    *_image("from a web server", "{type: HTTP, http: {url: 'https://images.example/noble.img'}}"),
    *_image(
        "of a container registry",
        "{type: ContainerImage, containerImage: {image: registry.example/ubuntu:latest}}",
        "ContainerImage is not supported by drover yet",
    ),
    *_image("to be uploaded", "{type: Upload}", "Upload is not supported by drover yet"),
    *_image(
        "of a disk",
        "{type: ObjectRef, objectRef: {kind: VirtualDisk, name: linux-vm-root}}",
        "ObjectRef is not supported by drover yet",
    ),
    *_image(
        "of a snapshot",
        "{type: ObjectRef, objectRef: {kind: VirtualDiskSnapshot, name: before}}",
        "ObjectRef is not supported by drover yet",
    ),
    *_image(
        "kept in a volume",
        "{type: HTTP, http: {url: 'https://images.example/noble.img'}}",
        "PersistentVolumeClaim is not supported by drover yet",
        storage="PersistentVolumeClaim",
        persistentVolumeClaim={"storageClassName": "fast"},
    ),
    _disk("blank", "persistentVolumeClaim: {size: 100Mi}"),
    _disk(
        "of an image, larger",
        "{persistentVolumeClaim: {size: 10Gi},"
        " dataSource: {type: ObjectRef, objectRef: {kind: VirtualImage, name: ubuntu}}}",
    ),
    _disk(
        "of an image of all, as large as it is",
        "dataSource: {type: ObjectRef, objectRef: {kind: ClusterVirtualImage, name: ubuntu}}",
    ),
    _disk(
        "in a storage class",
        "persistentVolumeClaim: {size: 100Mi, storageClassName: fast}",
        "storageClassName is not supported by drover yet",
    ),
    _disk("to be uploaded", "dataSource: {type: Upload}", "Upload is not supported"),
    _disk(
        "from a web server",
        "dataSource: {type: HTTP, http: {url: 'https://images.example/noble.img'}}",
        "make a VirtualImage of it",
    ),
    _disk(
        "of a snapshot",
        "dataSource: {type: ObjectRef, objectRef: {kind: VirtualDiskSnapshot, name: before}}",
        "VirtualDiskSnapshot is not supported by drover yet",
    ),
    _vm("with user data", "provisioning: {type: UserData, userData: '#cloud-config'}"),
    _vm(
        "with user data in a Secret",
        "provisioning: {type: UserDataRef, userDataRef: {kind: Secret, name: cloud-init}}",
    ),
    _vm(
        "of Windows, set up by Sysprep",
        "{osType: Windows, provisioning: {type: SysprepRef, sysprepRef: {kind: Secret, name: s}}}",
        "SysprepRef is not supported by drover yet",
    ),
    _vm("with a part of each core", "cpu: {cores: 2, coreFraction: 20%}"),
    _vm("with an automatic part", "cpu: {cores: 2, coreFraction: Auto}", "Auto is not supported"),
    _vm("always on", "runPolicy: AlwaysOn"),
    _vm("that restarts by itself", "disruptions: {restartApprovalMode: Automatic}"),
    _vm("with a policy of migrations", "liveMigrationPolicy: AlwaysForced"),
    _vm("that boots by EFI", "bootloader: EFI"),
    _vm(
        "that boots by secure EFI", "bootloader: EFIWithSecureBoot", "EFIWithSecureBoot is not supported"
    ),
    _vm("on nodes with a label", "nodeSelector: {disktype: ssd}"),
    _vm(
        "on nodes by affinity",
        "affinity: {nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms:"
        " [{matchExpressions: [{key: disktype, operator: In, values: [ssd]}]}]}}}",
    ),
    _vm(
        "near to another",
        "affinity: {virtualMachineAndPodAffinity: {preferredDuringSchedulingIgnoredDuringExecution:"
        " [{weight: 1, virtualMachineAndPodAffinityTerm: {labelSelector: {matchLabels: {server: database}},"
        " topologyKey: kubernetes.io/hostname}}]}}",
    ),
    _vm(
        "far from another",
        "affinity: {virtualMachineAndPodAntiAffinity: {requiredDuringSchedulingIgnoredDuringExecution:"
        " [{labelSelector: {matchLabels: {server: database}}, topologyKey: kubernetes.io/hostname}]}}",
    ),
    _vm(
        "spread over zones",
        "topologySpreadConstraints: [{maxSkew: 1, topologyKey: zone, whenUnsatisfiable: DoNotSchedule,"
        " labelSelector: {matchLabels: {app: web}}}]",
    ),
    _vm("with a priority", "priorityClassName: drover-vm-high"),
    _vm(
        "with several devices in an order of boot",
        "blockDeviceRefs: [{kind: VirtualDisk, name: root, bootOrder: 1}, {kind: VirtualImage, name: data},"
        " {kind: ClusterVirtualImage, name: iso, bootOrder: 2}]",
    ),
    _vm("with an address of its own", "virtualMachineIPAddressName: my-address"),
    _vm(
        "with a further network",
        "networks: [{type: Main}, {type: Network, name: users}]",
        "is not supported by drover yet",
    ),
    _vm("with a USB device", "usbDevices: [{name: stick}]", "usbDevices is not supported"),
    _vm("with a GPU", "gpus: [{gpuClassName: a100}]", "gpus is not supported"),
    *(
        _operation(kind, f"{{type: {kind}, virtualMachineName: linux-vm}}")
        for kind in ("Start", "Stop", "Restart", "Evict", "Migrate")
    ),
    _operation("Restart, forced", "{type: Restart, virtualMachineName: linux-vm, force: true}"),
    _operation(
        "Migrate to a node",
        "{type: Migrate, virtualMachineName: linux-vm,"
        " migrate: {nodeSelector: {kubernetes.io/hostname: virtlab-pt-2}}}",
    ),
    _operation(
        "Restore",
        "{type: Restore, virtualMachineName: linux-vm,"
        " restore: {mode: BestEffort, virtualMachineSnapshotName: before}}",
        "Restore is not supported by drover yet",
    ),
    _operation(
        "Clone",
        "{type: Clone, virtualMachineName: linux-vm, clone: {mode: Strict}}",
        "Clone is not supported by drover yet",
    ),
    Documented(
        "VirtualMachineIPAddress, any", _made("VirtualMachineIPAddress", "any", "type: Auto")
    ),
    Documented(
        "VirtualMachineIPAddress, this one",
        _made("VirtualMachineIPAddress", "this", "{type: Static, staticIP: 10.66.20.77}"),
    ),
    _class("with sizing policies", _POLICIES % ("[5, 10, 50, 100]", "[20, 50, 100]")),
    _class(
        "with sizing policies", _POLICIES % ("['5%', '50%']", "['20%', '100%']"), "", "v1alpha3"
    ),
    *(
        _class(f"of type {kind}", f"cpu: {more}", f"{kind} is not supported", version)
        for version in ("v1alpha2", "v1alpha3")
        for kind, more in (
            ("Host", "{type: Host}"),
            ("HostPassthrough", "{type: HostPassthrough}"),
            ("Discovery", "{type: Discovery, discovery: {nodeSelector: {}}}"),
            ("Features", "{type: Features, features: [vmx]}"),
        )
    ),
    _settings(
        "of migrations",
        "{liveMigration: {limits: {cluster: 4}, bandwidthPerMigration: 640Mi}}",
    ),
    _settings(
        "of the registry and the address ranges",
        "{dvcr: {storage: {type: PersistentVolumeClaim}}, virtualMachineCIDRs: [10.66.10.0/24]}",
        'unknown field "spec.settings.dvcr"',
    ),
    Documented(
        "NodeGroup with fencing",
        {
            "apiVersion": "deckhouse.io/v1", "kind": "NodeGroup", "metadata": {"name": "documented"},
            "spec": {"nodeType": "Static", "fencing": {"mode": "Watchdog"}},
        },
    ),
    Documented(
        "Descheduler of virtual machines",
        {
            "apiVersion": "deckhouse.io/v1alpha2", "kind": "Descheduler",
            "metadata": {"name": "virtualization"},
            "spec": {
                "evictLocalStoragePods": True,
                "podLabelSelector": {
                    "matchExpressions": [
                        {"key": "vm.kubevirt.internal.virtualization.deckhouse.io/name", "operator": "Exists"}
                    ]
                },
                "strategies": {
                    "lowNodeUtilization": {
                        "enabled": True, "thresholds": {"cpu": 50}, "targetThresholds": {"cpu": 80},
                    },
                    "removePodsViolatingInterPodAntiAffinity": {"enabled": True},
                    "removePodsViolatingNodeAffinity": {
                        "enabled": True,
                        "nodeAffinityType": ["requiredDuringSchedulingIgnoredDuringExecution"],
                    },
                },
            },
        },
    ),
]  # fmt: skip
