"""Flags of the control plane that follow the machine."""

from __future__ import annotations

from drover.server.parts import concurrency_flags


def test_an_api_server_works_on_no_more_at_once_than_its_cores_can() -> None:
    at_ten = ["--max-requests-inflight=400", "--max-mutating-requests-inflight=200"]
    assert concurrency_flags(10) == at_ten  # Kubernetes' own
    assert concurrency_flags(2) == [
        "--max-requests-inflight=80",
        "--max-mutating-requests-inflight=40",
    ]
