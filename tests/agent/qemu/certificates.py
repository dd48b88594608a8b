"""A small authority for tests: what the lab's own one gives to the two ends of a migration."""

from __future__ import annotations

import datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_SIGN = {
    "digital_signature": True,
    "key_cert_sign": False,
    "crl_sign": False,
    "key_encipherment": True,
}
_CA = {
    "digital_signature": False,
    "key_cert_sign": True,
    "crl_sign": True,
    "key_encipherment": False,
}


class Certificates:
    """One authority, in memory."""

    def __init__(self, name: str) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _common_name(name)
        builder = _builder(self._name, self._name, self._key, ca=True)
        self._cert = builder.sign(self._key, hashes.SHA256())

    def write(self, directory: Path, node: str) -> None:
        """The five files that QEMU's tls-creds-x509 wants, for one node as server and client."""
        directory.mkdir(parents=True, exist_ok=True)
        key = ec.generate_private_key(ec.SECP256R1())
        usage = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
        cert = (
            _builder(_common_name(node), self._name, key, ca=False)
            .add_extension(x509.ExtendedKeyUsage(usage), critical=False)
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(node)]), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        (directory / "ca-cert.pem").write_bytes(_pem(self._cert))
        for end in ("server", "client"):
            (directory / f"{end}-cert.pem").write_bytes(_pem(cert))
            (directory / f"{end}-key.pem").write_bytes(
                key.private_bytes(
                    serialization.Encoding.PEM,
                    serialization.PrivateFormat.PKCS8,
                    serialization.NoEncryption(),
                )
            )


def _common_name(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, ca: bool
) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    other = ("content_commitment", "data_encipherment", "key_agreement")
    unused = dict.fromkeys((*other, "encipher_only", "decipher_only"), False)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca, None), critical=True)
        .add_extension(x509.KeyUsage(**(_CA if ca else _SIGN), **unused), critical=True)
    )


def _pem(cert: x509.Certificate) -> bytes:
    return cert.public_bytes(serialization.Encoding.PEM)
