"""The directory of a node's migration certificates, made fit for QEMU.

QEMU 7.2 generates Diffie-Hellman parameters for every server that finds none, which takes a second
under load and would be part of each migration's start. The group that both ends would use anyway is
a constant (RFC 7919, ffdhe2048).
"""

from __future__ import annotations

from pathlib import Path

_FFDHE2048 = """\
-----BEGIN DH PARAMETERS-----
MIIBCAKCAQEA//////////+t+FRYortKmq/cViAnPTzx2LnFg84tNpWp4TZBFGQz
+8yTnc4kmz75fS/jY2MMddj2gbICrsRhetPfHtXV/WVhJDP1H18GbtCFY2VVPe0a
87VXE15/V8k1mE8McODmi3fipona8+/och3xWKE2rec1MKzKT0g6eXq8CrGCsyT7
YdEIqUuyyOP7uWrat2DX9GgdT0Kj3jlN9K5W7edjcrsZCwenyO4KbXCeAvzhzffi
7MA0BM0oNC9hkXL+nOmFg/+OTxIy7vKBg8P+OxtMb61zO7X8vC7CIAXFjvGDfRaD
ssbzSibBsu/6iGtCOGEoXJf//////////wIBAg==
-----END DH PARAMETERS-----
"""


def ensure_dh_parameters(directory: Path) -> None:
    """Write ``dh-params.pem`` unless it is there."""
    path = directory / "dh-params.pem"
    if not path.exists():
        path.write_text(_FFDHE2048)


def peer_dn(peer: str) -> str:
    """The subject of a node's certificate as GnuTLS spells it: RFC 4514, in the certificate's own
    order.
    """
    return f"CN={peer}"
