"""The registry of kinds: where each lives in the API. One constant per kind, used everywhere instead of strings."""

from __future__ import annotations

import re
from dataclasses import dataclass

from drover.api.status import NotFound
from drover.api.wire import Object

VIRTUALIZATION = "virtualization.deckhouse.io"
DROVER = "drover.dev"
DECKHOUSE = "deckhouse.io"

# What Kubernetes allows in a path segment, less what a URL gives a meaning. Names come out of other objects, where a
# user wrote them: "../../kube-system/secrets/x" would be read with the rights of whoever follows the reference.
_SEGMENT = re.compile(r"(?!\.{1,2}$)[^/%?#\\\x00-\x20\x7f]+")


@dataclass(frozen=True, eq=False)
class Kind:
    """Group, version and names of one resource; there is one of each, so identity is equality."""

    group: str
    version: str
    kind: str
    plural: str
    namespaced: bool = True

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    def path(self, namespace: str = "", name: str = "", subresource: str = "") -> str:
        """The URL path of a collection, an object, or a subresource of it.

        Raises NotFound for a name that no object can have.
        """
        for segment in (namespace, name):
            if segment and not _SEGMENT.fullmatch(segment):
                raise NotFound(f"no {self.kind} can be called {segment!r}", "NotFound")
        base = f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"
        if self.namespaced and namespace:
            base += f"/namespaces/{namespace}"
        return "/".join(part for part in (base, self.plural, name, subresource) if part)


VM = Kind(VIRTUALIZATION, "v1alpha2", "VirtualMachine", "virtualmachines")
VMOP = Kind(VIRTUALIZATION, "v1alpha2", "VirtualMachineOperation", "virtualmachineoperations")
VMCLASS = Kind(VIRTUALIZATION, "v1alpha2", "VirtualMachineClass", "virtualmachineclasses", False)
VDISK = Kind(VIRTUALIZATION, "v1alpha2", "VirtualDisk", "virtualdisks")
VIMAGE = Kind(VIRTUALIZATION, "v1alpha2", "VirtualImage", "virtualimages")
CVIMAGE = Kind(VIRTUALIZATION, "v1alpha2", "ClusterVirtualImage", "clustervirtualimages", False)
VMIP = Kind(VIRTUALIZATION, "v1alpha2", "VirtualMachineIPAddress", "virtualmachineipaddresses")
VMIPLEASE = Kind(
    VIRTUALIZATION,
    "v1alpha2",
    "VirtualMachineIPAddressLease",
    "virtualmachineipaddressleases",
    False,
)
VML = Kind(DROVER, "v1alpha1", "VirtualMachineLease", "virtualmachineleases")
VMM = Kind(DROVER, "v1alpha1", "VirtualMachineMigration", "virtualmachinemigrations")
NODEGROUP = Kind(DECKHOUSE, "v1", "NodeGroup", "nodegroups", False)
NODEFENCE = Kind(DROVER, "v1alpha1", "NodeFence", "nodefences", False)
NODEROSTER = Kind(DROVER, "v1alpha1", "NodeRoster", "noderosters", False)
MODULECONFIG = Kind(DECKHOUSE, "v1alpha1", "ModuleConfig", "moduleconfigs", False)
DESCHEDULER = Kind(DECKHOUSE, "v1alpha2", "Descheduler", "deschedulers", False)
REBALANCEPLAN = Kind(DROVER, "v1alpha1", "RebalancePlan", "rebalanceplans", False)

POD = Kind("", "v1", "Pod", "pods")
NODE = Kind("", "v1", "Node", "nodes", False)
SECRET = Kind("", "v1", "Secret", "secrets")
EVENT = Kind("", "v1", "Event", "events")
NAMESPACE = Kind("", "v1", "Namespace", "namespaces", False)
CONFIGMAP = Kind("", "v1", "ConfigMap", "configmaps")
SERVICEACCOUNT = Kind("", "v1", "ServiceAccount", "serviceaccounts")
BUDGET = Kind("policy", "v1", "PodDisruptionBudget", "poddisruptionbudgets")
LEASE = Kind("coordination.k8s.io", "v1", "Lease", "leases")
CRD = Kind(
    "apiextensions.k8s.io", "v1", "CustomResourceDefinition", "customresourcedefinitions", False
)
PRIORITYCLASS = Kind("scheduling.k8s.io", "v1", "PriorityClass", "priorityclasses", False)
CLUSTERROLE = Kind("rbac.authorization.k8s.io", "v1", "ClusterRole", "clusterroles", False)
CSR = Kind(
    "certificates.k8s.io",
    "v1",
    "CertificateSigningRequest",
    "certificatesigningrequests",
    False,
)
ROLEBINDING = Kind("rbac.authorization.k8s.io", "v1", "RoleBinding", "rolebindings")
CLUSTERROLEBINDING = Kind(
    "rbac.authorization.k8s.io", "v1", "ClusterRoleBinding", "clusterrolebindings", False
)
WEBHOOKS = Kind(
    "admissionregistration.k8s.io",
    "v1",
    "ValidatingWebhookConfiguration",
    "validatingwebhookconfigurations",
    False,
)
ADMISSIONPOLICY = Kind(
    "admissionregistration.k8s.io",
    "v1",
    "ValidatingAdmissionPolicy",
    "validatingadmissionpolicies",
    False,
)
ADMISSIONPOLICYBINDING = Kind(
    "admissionregistration.k8s.io", "v1", "ValidatingAdmissionPolicyBinding",
    "validatingadmissionpolicybindings", False,
)  # fmt: skip

ALL: tuple[Kind, ...] = tuple(
    value for value in list(globals().values()) if isinstance(value, Kind)
)


def key_of(obj: Object) -> str:
    """``namespace/name``, or ``name`` for cluster-wide objects."""
    meta = obj["metadata"]
    namespace = meta.get("namespace")
    return f"{namespace}/{meta['name']}" if namespace else str(meta["name"])


def split_key(key: str) -> tuple[str, str]:
    """``(namespace, name)``; the namespace is empty for cluster-wide objects."""
    namespace, _, name = key.rpartition("/")
    return namespace, name
