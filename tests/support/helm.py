"""The chart of this checkout, rendered by Helm where there is one (``DROVER_HELM``, else the machine's own), else by
``tools/chart`` (``DROVER_CHART``, which ./test builds). Nothing of a user's settings of Helm is seen or touched.

    go install helm.sh/helm/v3/cmd/helm@v3.21.4     with it all of these tests run
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.support.lab import CHECKOUT, RunningLab, Said, eventually

CHART = CHECKOUT / "deploy" / "helm"
RELEASE = ("drover", str(CHART), "--namespace", "drover-system")
NEEDED = {
    "storage": {"volume": {"nfs": {"server": "nas.example", "path": "/drover"}}},
    "network": {
        "cidr": "10.66.0.0/24",
        "first": "10.66.0.10",
        "last": "10.66.0.250",
        "gateway": "10.66.0.254",
    },
}
Values = dict[str, Any]
Objects = list[dict[str, Any]]
_LOADER: type[yaml.SafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def helm_program() -> str:
    """Empty: there is none."""
    return os.environ.get("DROVER_HELM") or shutil.which("helm") or ""


def has_chart() -> bool:
    return os.access(os.environ.get("DROVER_CHART") or "/nonexistent", os.X_OK)


def helm(*arguments: str, values: Values | None, kubeconfig: str = "") -> Said:
    program = helm_program()
    if not program:
        pytest.skip("there is no Helm here")
    with tempfile.TemporaryDirectory(prefix="drover-helm-") as home:
        given = () if values is None else ("--values", _file(home, values))
        places = {f"HELM_{kind}_HOME": home for kind in ("CACHE", "CONFIG", "DATA")}
        environment = {**os.environ, **places, "KUBECONFIG": kubeconfig or f"{home}/none"}
        return _run([program, *arguments, *given], environment)


def template(*arguments: str, values: Values) -> Said:
    """``helm template``, for the version that is developed with: Helm's own idea of one is how it was built."""
    return helm("template", *arguments, "--kube-version", "1.36.3", values=values)


def chart(values: Values) -> Said:
    if not has_chart():
        pytest.skip("DROVER_CHART names no program: run through ./test")
    with tempfile.TemporaryDirectory(prefix="drover-chart-") as home:
        argv = [os.environ["DROVER_CHART"], str(CHART), _file(home, values)]
        return _run(argv, dict(os.environ))


def _file(home: str, values: Values) -> str:
    file = Path(home) / "values.json"
    file.write_text(json.dumps(values))
    return str(file)


def _run(argv: list[str], environment: dict[str, str]) -> Said:
    done = subprocess.run(
        argv, env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    return Said(done.returncode, done.stdout, done.stderr)


def by_helm(values: Values) -> Said:
    return template(*RELEASE, values=values)


RENDERERS: dict[str, Callable[[Values], Said]] = {"helm": by_helm, "chart": chart}


def render(values: Values) -> Said:
    return RENDERERS["chart" if has_chart() else "helm"](values)


def objects_of(said: Said) -> Objects:
    assert said.code == 0, said.err
    return [obj for obj in yaml.load_all(said.out, Loader=_LOADER) if obj is not None]


def install(cluster: RunningLab, values: Values) -> Said:
    """By Helm; where there is none, kinds and then the rest by kubectl, as one would without Helm."""
    if helm_program():
        flags = ("--create-namespace", "--timeout", "60s")
        config = str(cluster.home.kubeconfig)
        return helm("install", *RELEASE, *flags, values=values, kubeconfig=config)
    said = chart(values)
    if said.code != 0:
        return said
    apply = ("apply", "--server-side", "-f")
    for argv in (
        ("create", "namespace", "drover-system"),
        (*apply, str((CHART / "crds").resolve())),
        ("wait", "--for=condition=Established", "crd", "--all", "--timeout=60s"),
    ):
        done = cluster.k(*argv)
        assert done.code == 0, done.err
    # A kind is served a moment after it is established.
    eventually(lambda: cluster.k(*apply, "-", stdin=said.out).code == 0, 30, 1.0)
    return said
