"""Servers are upgraded one after the other: an old one leaves the kinds of a new one alone."""

from __future__ import annotations

import pytest

from drover import __version__
from drover.api import scheme
from drover.base.ids import SeededIds
from drover.runtime.client import Client
from drover.server import bootstrap
from drover.sim.api import ApiModel
from drover.sim.clock import SimClock
from drover.sim.loop import run


class Begun(Exception):
    """Manifests are put."""


@pytest.mark.parametrize(
    ("noted", "puts"),
    [("99.0.0", False), ("0.10.0", False), (__version__, True), ("0.0.9", True), ("", True)],
)
def test_kinds_of_a_later_version_stay(
    noted: str, puts: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load() -> None:
        raise Begun

    monkeypatch.setattr(bootstrap.manifest_files, "load", load)

    async def main() -> bool:
        clock = SimClock()
        client = Client(ApiModel(clock, SeededIds(1)).transport())
        meta = {"name": "drover-manifests", "namespace": "kube-system"}
        data = {"sha256": "another", "version": noted}
        await client.create(scheme.CONFIGMAP, {"metadata": meta, "data": data})
        try:
            return await bootstrap.apply_manifests(client, clock)
        except Begun:
            return True

    assert run(main(), 0) is puts
