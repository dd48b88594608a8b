"""Random nodes, Pods and rules, small in number of values so that rules meet what they speak of.

Each is an object as a client would send it. Everything comes from one ``random.Random``, so a seed is a case.
"""

from __future__ import annotations

from random import Random
from typing import Any

from tests.planner.probe import NAMESPACES, Population

from drover.api.wire import Object

ZONES = ("x", "y", "z")
POD_LABELS = {"app": ("web", "db", "cache"), "tier": ("gold", "silver"), "track": ("1", "2")}
NODE_LABELS = {"zone": ZONES, "disk": ("ssd", "hdd"), "gen": ("1", "2", "3", "10", "old")}
TOPOLOGIES = ("kubernetes.io/hostname", "kubernetes.io/hostname", "zone", "zone", "disk", "rack")
TAINTS = (("t", "v"), ("t", "w"), ("u", ""), ("drover.dev/vm-node", ""))
EFFECTS = ("NoSchedule", "NoExecute", "PreferNoSchedule")
GPU = "example.com/gpu"


class Cases:
    """An endless supply."""

    def __init__(self, seed: int) -> None:
        self._random = Random(seed)
        self._serial = 0

    def population(self) -> Population:
        nodes = [self._node(f"n{i}") for i in range(self._random.randint(2, 9))]
        pods = [self._present(node) for node in nodes for _ in range(self._random.randint(0, 3))]
        return Population(nodes, pods)

    def coming(self) -> Object:
        """A Pod that looks for a node."""
        spec: dict[str, Any] = self._containers(0.55)
        spec["tolerations"] = self._tolerations()
        if self._chance(0.2):
            spec["nodeSelector"] = self._some_labels(NODE_LABELS, 0.3)
        affinity: dict[str, Any] = {}
        if self._chance(0.3):
            terms = [self._node_term() for _ in range(self._random.randint(1, 2))]
            affinity["nodeAffinity"] = self._required({"nodeSelectorTerms": terms})
        labels = self._pod_labels()
        self._pod_rules(affinity, labels, (0.15, 0.3))
        if affinity:
            spec["affinity"] = affinity
        if self._chance(0.3):
            spec["topologySpreadConstraints"] = self._spread(labels)
        return {"metadata": {"namespace": self._pick(*NAMESPACES), "labels": labels}, "spec": spec}

    # Pieces.

    def _pick(self, *choices: Any) -> Any:
        return self._random.choice(choices)

    def _chance(self, probability: float) -> bool:
        return self._random.random() < probability

    def _some_labels(self, of: dict[str, tuple[str, ...]], each: float) -> dict[str, str]:
        return {key: self._pick(*values) for key, values in of.items() if self._chance(each)}

    def _pod_labels(self) -> dict[str, str]:
        return self._some_labels(POD_LABELS, 0.75)

    def _node(self, name: str) -> Object:
        labels = {"kubernetes.io/hostname": name, **self._some_labels(NODE_LABELS, 0.9)}
        if self._chance(0.05):
            del labels["kubernetes.io/hostname"]
        taints = []
        for key, value in TAINTS:
            if self._chance(0.1):
                taints.append({"key": key, "value": value, "effect": self._pick(*EFFECTS)})
        allocatable = {
            "cpu": self._pick("1500m", "2", "4", "8"),
            "memory": self._pick("2Gi", "4Gi", "8589934592"),
            "pods": self._pick("2", "4", "8", "8"),
            "ephemeral-storage": self._pick("1Gi", "20G"),
        }
        if self._chance(0.3):
            allocatable[GPU] = self._pick("0", "1", "2")
        return {
            "metadata": {"name": name, "labels": labels},
            "spec": {"taints": taints, "unschedulable": self._chance(0.1)},
            "status": {"allocatable": allocatable, "capacity": allocatable},
        }

    def _present(self, node: Object) -> Object:
        self._serial += 1
        meta: dict[str, Any] = {
            "name": f"there-{self._serial}",
            "namespace": self._pick(*NAMESPACES),
            "labels": self._pod_labels(),
        }
        spec = self._containers(0.4)
        affinity: dict[str, Any] = {}
        self._pod_rules(affinity, meta["labels"], (0.05, 0.2))
        fate = self._random.random()
        if fate < 0.08:
            meta["annotations"] = {"fate": "ended" if fate < 0.04 else "leaving"}
            meta["finalizers"] = ["example.com/hold"]
        placed = {"nodeName": node["metadata"]["name"], "affinity": affinity}
        return {"metadata": meta, "spec": {**spec, **placed}}

    def _containers(self, wanting: float) -> dict[str, Any]:
        def container(name: str) -> dict[str, Any]:
            requests: dict[str, str] = {}
            if self._chance(wanting):
                requests["cpu"] = self._pick("100m", "0.5", "1", "1500m", "0")
            if self._chance(wanting):
                requests["memory"] = self._pick("100M", "512Mi", "1Gi", "1e9", "3Gi")
            if self._chance(0.1):
                requests["ephemeral-storage"] = self._pick("500Mi", "5Gi")
            limits = {GPU: self._pick("1", "2")} if self._chance(0.06) else {}
            resources = {"requests": {**requests, **limits}, "limits": limits}
            return {"name": name, "image": "none", "resources": resources}

        spec: dict[str, Any] = {"containers": [container("c")]}
        if self._chance(0.15):
            spec["containers"].append(container("d"))
        if self._chance(0.15):
            steps = [container(f"i{i}") for i in range(self._random.randint(1, 3))]
            for step in steps:
                if self._chance(0.5):
                    step["restartPolicy"] = "Always"
            spec["initContainers"] = steps
        return spec

    def _tolerations(self) -> list[Object]:
        found: list[Object] = []
        if self._chance(0.4):
            key, value = self._pick(*TAINTS)
            found.append({"key": key, "operator": "Exists"})
            if self._chance(0.5):
                found[-1] = {"key": key, "operator": "Equal", "value": value}
            if self._chance(0.4):
                found[-1]["effect"] = self._pick(*EFFECTS)
        if self._chance(0.1):
            found.append({"operator": "Exists"})
            if self._chance(0.6):
                found[-1]["effect"] = self._pick(*EFFECTS)
        return found

    def _expression(self, labels: dict[str, tuple[str, ...]], numbers: bool) -> Object:
        key = self._pick(*labels)
        operator = self._pick("In", "In", "NotIn", "Exists", "DoesNotExist")
        if numbers and self._chance(0.2):
            return {
                "key": "gen",
                "operator": self._pick("Gt", "Lt"),
                "values": [self._pick("1", "2", "5")],
            }
        if operator in ("Exists", "DoesNotExist"):
            return {"key": key, "operator": operator}
        count = self._random.randint(1, min(2, len(labels[key])))
        return {"key": key, "operator": operator, "values": self._random.sample(labels[key], count)}

    def _node_term(self) -> Object:
        term: Object = {}
        if self._chance(0.8):
            count = self._random.randint(1, 2)
            term["matchExpressions"] = [self._expression(NODE_LABELS, True) for _ in range(count)]
        if self._chance(0.3):
            operator = self._pick("In", "NotIn", "NotIn")
            field = {
                "key": "metadata.name",
                "operator": operator,
                "values": [f"n{self._random.randint(0, 9)}"],
            }
            term["matchFields"] = [field]
            if self._chance(0.15):
                other = {
                    "key": "metadata.name",
                    "operator": "In",
                    "values": [f"n{self._random.randint(0, 3)}"],
                }
                term["matchFields"].append(other)
        return term

    def _selector(self) -> Object | None:
        if self._chance(0.06):
            return self._pick(None, {})  # type: ignore[no-any-return]
        selector: Object = {"matchLabels": self._some_labels(POD_LABELS, 0.4)}
        if self._chance(0.4):
            selector["matchExpressions"] = [self._expression(POD_LABELS, False)]
        if not selector["matchLabels"] and "matchExpressions" not in selector:
            selector["matchLabels"] = {"app": self._pick(*POD_LABELS["app"])}
        return selector

    def _required(self, rule: Any) -> Object:
        return {"requiredDuringSchedulingIgnoredDuringExecution": rule}

    def _pod_rules(
        self, affinity: dict[str, Any], labels: dict[str, str], each: tuple[float, float]
    ) -> None:
        for side, probability in zip(("podAffinity", "podAntiAffinity"), each, strict=True):
            if self._chance(probability):
                terms = [self._pod_term(labels, side) for _ in range(self._pick(1, 1, 2))]
                affinity[side] = self._required(terms)

    def _pod_term(self, labels: dict[str, str], side: str) -> Object:
        selector = self._selector()
        if side == "podAffinity" and labels and self._chance(0.5):
            key = self._pick(*labels)
            selector = {"matchLabels": {key: labels[key]}}  # near its own kind
        term: Object = {"topologyKey": self._pick(*TOPOLOGIES)}
        if selector is not None:
            term["labelSelector"] = selector
            self._label_keys(term, selector)
        if self._chance(0.3):
            term["namespaces"] = self._random.sample(sorted(NAMESPACES), self._random.randint(1, 2))
        if self._chance(0.3):
            wanted: list[Any] = [{}, {"matchLabels": {"team": "sea"}}]
            wanted.append({"matchExpressions": [{"key": "env", "operator": "DoesNotExist"}]})
            term["namespaceSelector"] = self._random.choice(wanted)
        return term

    def _label_keys(self, term: Object, selector: Object) -> None:
        used = {*(selector.get("matchLabels") or {})}
        used |= {e["key"] for e in selector.get("matchExpressions") or ()}
        free = [key for key in POD_LABELS if key not in used]
        if free and self._chance(0.2):
            term[self._pick("matchLabelKeys", "mismatchLabelKeys")] = [self._random.choice(free)]

    def _spread(self, labels: dict[str, str]) -> list[Object]:
        rules: dict[tuple[str, str], Object] = {}
        for _ in range(self._pick(1, 1, 2)):
            hard = self._chance(0.9)
            rule: Object = {
                "topologyKey": self._pick(*TOPOLOGIES),
                "maxSkew": self._pick(1, 1, 2),
                "whenUnsatisfiable": "DoNotSchedule" if hard else "ScheduleAnyway",
            }
            selector = self._selector()
            if labels and self._chance(0.6):
                key = self._pick(*labels)
                selector = {"matchLabels": {key: labels[key]}}
            if selector is not None:
                rule["labelSelector"] = selector
                used = {*(selector.get("matchLabels") or {})}
                used |= {e["key"] for e in selector.get("matchExpressions") or ()}
                free = [key for key in POD_LABELS if key not in used]
                if free and self._chance(0.2):
                    rule["matchLabelKeys"] = [self._random.choice(free)]
            if hard and self._chance(0.2):
                rule["minDomains"] = self._random.randint(1, 4)
            for policy in ("nodeAffinityPolicy", "nodeTaintsPolicy"):
                if self._chance(0.3):
                    rule[policy] = self._pick("Honor", "Ignore")
            rules[(rule["topologyKey"], rule["whenUnsatisfiable"])] = rule
        return list(rules.values())
