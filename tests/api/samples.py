"""What each field of each schema does, as objects.

``WORKS`` uses every field that is served, ``REFUSED`` every one that is not, each with the words of
its refusal. The rest is status. ``test_schema_walk`` holds that together they are the whole schema
and that the engine thinks the same.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import yaml

if TYPE_CHECKING:
    from drover.api.wire import Object


_WORKS: dict[str, list[str]] = {
    "VirtualMachine": [
        """
runPolicy: Manual
virtualMachineIPAddressName: my-address
virtualMachineClassName: generic
cpu: {cores: 2, coreFraction: 50%}
memory: {size: 1Gi}
blockDeviceRefs:
- {kind: VirtualDisk, name: root, bootOrder: 1}
- {kind: ClusterVirtualImage, name: iso}
provisioning: {type: UserData, userData: "#!/bin/sh"}
liveMigrationPolicy: PreferForced
disruptions: {restartApprovalMode: Automatic}
terminationGracePeriodSeconds: 5
priorityClassName: drover-vm-high
nodeSelector: {disk: ssd}
tolerations:
- {key: a, operator: Equal, value: b, effect: NoExecute, tolerationSeconds: 60}
affinity:
  nodeAffinity:
    requiredDuringSchedulingIgnoredDuringExecution:
      nodeSelectorTerms:
      - &node
        matchExpressions: [{key: zone, operator: NotIn, values: [c]}]
        matchFields: [{key: metadata.name, operator: In, values: [n1]}]
    preferredDuringSchedulingIgnoredDuringExecution: [{weight: 5, preference: *node}]
  virtualMachineAndPodAffinity: &pods
    requiredDuringSchedulingIgnoredDuringExecution:
    - &term
      labelSelector: &selector
        matchLabels: {app: web}
        matchExpressions: [{key: tier, operator: In, values: [front]}]
      namespaceSelector: *selector
      namespaces: [prod]
      topologyKey: kubernetes.io/hostname
      matchLabelKeys: [app]
      mismatchLabelKeys: [app]
    preferredDuringSchedulingIgnoredDuringExecution:
    - {weight: 7, virtualMachineAndPodAffinityTerm: *term}
  virtualMachineAndPodAntiAffinity: *pods
topologySpreadConstraints:
- maxSkew: 1
  topologyKey: zone
  whenUnsatisfiable: ScheduleAnyway
  labelSelector: *selector
osType: Generic
bootloader: EFI
enableParavirtualization: true
networks: [{type: Main, id: 1}]
""",
        """
cpu: {cores: 1}
memory: {size: 67108864}
blockDeviceRefs: [{kind: VirtualDisk, name: root}]
provisioning: {type: UserDataRef, userDataRef: {kind: Secret, name: user-data}}
""",
    ],
    "VirtualMachineOperation": [
        """
type: Migrate
virtualMachineName: linux-vm
force: true
migrate: {nodeSelector: {kubernetes.io/hostname: n2}}
""",
    ],
    "ModuleConfig": [
        """
enabled: true
version: 1
settings:
  liveMigration:
    limits: {cluster: 4, outboundPerNode: 2, inboundPerNode: 2, syncPerNode: 1}
    bandwidthPerMigration: 1280Mi
    completionTimeoutPerGiB: 600
    progressTimeout: 60
  evictionHold: 0
  firmware: {version: "10.0", updates: false}
""",
        """
enabled: true
settings: {rebalance: {mode: Approve, settlingTime: 5, cooldown: 60, movesPerHour: 10}}
""",
    ],
    "Descheduler": [
        """
nodeLabelSelector: &selector
  matchLabels: {disk: ssd}
  matchExpressions: [{key: zone, operator: In, values: [a]}, {key: gpu, operator: DoesNotExist}]
podLabelSelector: *selector
namespaceLabelSelector: *selector
priorityClassThreshold: {name: drover-vm-high}
evictLocalStoragePods: true
strategies:
  lowNodeUtilization:
    enabled: true
    thresholds: {cpu: 50, memory: 50}
    targetThresholds: {cpu: 80, memory: 90, pods: 90, example.com/gpu: 100}
  removePodsViolatingNodeAffinity:
    enabled: true
    nodeAffinityType: [requiredDuringSchedulingIgnoredDuringExecution]
  removePodsViolatingInterPodAntiAffinity: {enabled: true}
  highNodeUtilization: {enabled: false, thresholds: {cpu: 20}}
""",
        "priorityClassThreshold: {value: 1000}",
    ],
    "RebalancePlan": [
        """
number: 1
mode: Approve
approved: false
hash: a1
moves:
- virtualMachine: default/linux-vm
  source: virtlab-pt-1
  target: virtlab-pt-2
  reason: Overload
  why: cpu of virtlab-pt-1 is reserved to 90 %, its threshold is 80 %
  bytes: 1073741824
  seconds: 8.6
  load:
  - {node: virtlab-pt-1, before: {cpu: 90}, after: {cpu: 67.5}}
  - {node: virtlab-pt-2, before: {cpu: 10}, after: {cpu: 32.5}}
  rejected: [{node: virtlab-pt-3, why: would be fuller}]
movesTotal: 1
lowerBound: 1
proved: true
bytesTotal: 1073741824
secondsTotal: 8.6
overloaded: [virtlab-pt-1]
overload: 10
brokenRules: 0
impossible: [{what: default/big, blockedBy: Insufficient cpu, change: free 500 m of cpu}]
""",
    ],
    "VirtualMachineClass": [
        """
cpu: {type: Model, model: Nehalem}
nodeSelector:
  matchLabels: {disk: ssd}
  matchExpressions: [{key: zone, operator: In, values: [a]}]
tolerations:
- {key: a, operator: Equal, value: b, effect: NoExecute, tolerationSeconds: 60}
sizingPolicies:
- cores: {min: 1, max: 4, step: 1}
  memory: {min: 1Gi, max: 8Gi, step: 512Mi, perCore: {min: 512Mi, max: 4Gi}}
  coreFractions: [50%, 100]
  defaultCoreFraction: 50%
""",
    ],
    "VirtualDisk": [
        "persistentVolumeClaim: {size: 1Gi}",
        "dataSource: {type: ObjectRef, objectRef: {kind: ClusterVirtualImage, name: linux}}",
    ],
    "ClusterVirtualImage": [
        f"""
dataSource:
  type: HTTP
  http:
    url: https://images.example/linux.qcow2
    checksum: {{md5: {"b" * 32}, sha256: {"a" * 64}}}
""",
    ],
    "VirtualMachineIPAddress": ["type: Auto", "{type: Static, staticIP: 10.66.10.14}"],
    "VirtualMachineIPAddressLease": ["virtualMachineIPAddressRef: {name: a, namespace: default}"],
    "VirtualMachineLease": [
        """
holder: 5c2a2d0e-0000-4000-8000-000000000001
node: virtlab-pt-1
nodeIncarnation: a1
epoch: 1
lastReason: GuestReset
disks: [root]
""",
    ],
    "NodeGroup": [
        "{nodeType: Static, fencing: {mode: Watchdog, maxUnhealthy: 1, watchdog: {timeout: 6s}}}",
        "fencing: {mode: Notify}",
        "fencing: {mode: Watchdog, profile: fast}",
    ],
    "NodeFence": ["{node: virtlab-pt-1, incarnation: a1, group: worker}"],
    "NodeRoster": [
        """
generation: 2
members: [{node: virtlab-pt-1, address: 10.67.10.11, port: 10260}]
previous: [{node: virtlab-pt-2, address: 10.67.10.12, port: 10260}]
""",
    ],
    "VirtualMachineMigration": [
        """
virtualMachineName: linux-vm
operationName: evict-linux-vm-abcde
sourceNode: virtlab-pt-1
sourcePod: {name: d8v-vm-linux-vm-abcde, uid: 5c2a2d0e-0000-4000-8000-000000000001}
nodeSelector: {disk: ssd}
autoConverge: true
origin: Evacuation
plan: {node: virtlab-pt-2, liftedAffinityTerms: [0]}
""",
    ],
}

# kind -> [(field, value that is refused, words of the refusal)]. A field may be served for some
# values and refused for others; then it is in WORKS too.
_REFUSED: dict[str, list[tuple[str, str]]] = {
    "VirtualMachine": [
        ("usbDevices", "[{name: stick}]"),
        ("gpus", "[{gpuClassName: a100}]"),
        ("networks", "[{type: Network, name: other}]"),
        ("networks", "[{type: ClusterNetwork, name: other}]"),
        ("networks", "[{type: Main}, {type: Main}]"),
        ("networks[].id", "[{type: Main, id: 2}]"),
        ("networks[].name", "[{type: Main, name: other}]"),
        (
            "networks[].virtualMachineMACAddressName",
            "[{type: Main, virtualMachineMACAddressName: m}]",
        ),
        ("networks[].ipAddressName", "[{type: Main, ipAddressName: m}]"),
        ("bootloader", "EFIWithSecureBoot"),
        ("osType", "Windows"),
        ("osType", "Legacy"),
        ("enableParavirtualization", "false"),
        ("provisioning.type", "{type: SysprepRef}"),
        ("provisioning.sysprepRef", "{type: SysprepRef, sysprepRef: {kind: Secret, name: s}}"),
        ("cpu.coreFraction", "{cores: 1, coreFraction: Auto}"),
    ],
    "VirtualMachineOperation": [
        ("type", "Restore"),
        ("type", "Clone"),
        ("restore", "{mode: Strict, virtualMachineSnapshotName: s}"),
        ("clone", "{mode: Strict}"),
    ],
    "VirtualMachineClass": [
        ("cpu.type", "{type: Host}"),
        ("cpu.type", "{type: HostPassthrough}"),
        ("cpu.discovery", "{type: Discovery, discovery: {nodeSelector: {}}}"),
        ("cpu.features", "{type: Features, features: [vmx]}"),
        ("sizingPolicies[].dedicatedCores", "[{cores: {min: 1, max: 4}, dedicatedCores: [true]}]"),
    ],
    "Descheduler": [
        ("strategies", "{highNodeUtilization: {enabled: true}}"),
        ("strategies", "{removeDuplicates: {enabled: true}}"),
        ("strategies.*.nodeAffinityType",
         "{removePodsViolatingNodeAffinity: {nodeAffinityType:"
         " [preferredDuringSchedulingIgnoredDuringExecution]}}"),
    ],
    "VirtualDisk": [
        ("persistentVolumeClaim.storageClassName", "{size: 1Gi, storageClassName: fast}"),
        ("dataSource.type", "{type: Upload}"),
        ("dataSource.http", "{type: HTTP, http: {url: https://images.example/linux.qcow2}}"),
        ("dataSource.containerImage", "{type: ContainerImage, containerImage: {image: linux}}"),
        ("dataSource.objectRef.kind",
         "{type: ObjectRef, objectRef: {kind: VirtualDiskSnapshot, name: s}}"),
    ],
    "ClusterVirtualImage": [
        ("dataSource.type", "{type: Upload}"),
        ("dataSource.http.caBundle",
         "{type: HTTP, http: {url: https://images.example/i, caBundle: YQ==}}"),
        ("dataSource.containerImage", "{type: ContainerImage, containerImage: {image: linux}}"),
        ("dataSource.objectRef", "{type: ObjectRef, objectRef: {kind: VirtualDisk, name: d}}"),
    ],
    "VirtualImage": [
        ("storage", "PersistentVolumeClaim"),
        ("storage", "Kubernetes"),
        ("persistentVolumeClaim", "{storageClassName: fast}"),
    ],
}  # fmt: skip


def works(kind: str) -> list[Object]:
    """Specs that together use every field that is served."""
    specs = [yaml.safe_load(text) for text in _WORKS.get(kind, [])]
    if kind == "VirtualImage":  # everything of the cluster-wide kind and where it is stored
        specs = [{**spec, "storage": "ContainerRegistry"} for spec in works("ClusterVirtualImage")]
    return specs


def refused(kind: str) -> list[tuple[str, Object]]:
    """Each field that is not served, below spec, with a spec that uses it."""
    entries = list(_REFUSED.get(kind, []))
    if kind == "VirtualImage":
        entries += _REFUSED["ClusterVirtualImage"]
    return [(field, _with(works(kind)[0], field, yaml.safe_load(text))) for field, text in entries]


def _with(spec: Object, field: str, value: Any) -> Object:
    top = field.partition(".")[0].removesuffix("[]")
    return {**copy.deepcopy(spec), top: value}
