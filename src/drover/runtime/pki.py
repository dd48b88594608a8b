"""Certificates: two small authorities and what they sign, as files of one directory.

The *cluster* authority signs whoever talks to the API server and whoever it talks to; the *migration* authority signs
the two ends of a migration stream, so that neither kind of certificate opens the other door. ``ensure`` is idempotent:
it keeps what is there and still good, makes what is missing, and a leaf anew that is nearly expired or names the wrong
addresses.
Extensions satisfy the strict checks of Python 3.13 (key usage, key identifiers) and of QEMU (key encipherment).

It does not promise revocation.
"""

from __future__ import annotations

import contextlib
import datetime
import ipaddress
import os
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_CA_DAYS = 3650
_LEAF_DAYS = 365
RENEW_DAYS = 30  # a leaf is renewed when it has less than this to live


@dataclass(frozen=True)
class Leaf:
    """One certificate to have: who it is for and where its files lie."""

    cert: Path
    key: Path
    common_name: str
    organization: str = ""
    names: tuple[str, ...] = ()  # DNS names and addresses it serves under
    server: bool = False
    client: bool = False


@dataclass(frozen=True)
class Authority:
    """A certificate authority with its key, in memory."""

    cert: x509.Certificate
    key: ec.EllipticCurvePrivateKey


def write_private(path: Path, content: bytes) -> None:
    """Replace ``path`` at once, readable by its owner alone. A crash leaves the old one or the new one, whole."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    part = path.with_name(path.name + ".part")
    fd = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(fd, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)


def ensure_authority(directory: Path, name: str, now: datetime.datetime) -> Authority:
    """Load ``name``.crt and ``name``.key, or make them where one is missing. What is there is never made anew, whatever
    it is and whatever this machine's clock says: nobody would trust the new one. Raises OSError, ValueError.
    """
    cert_file, key_file = directory / f"{name}.crt", directory / f"{name}.key"
    with contextlib.suppress(FileNotFoundError):
        return load_authority(cert_file, key_file)
    authority = new_authority(f"drover {name}", now)
    write_private(key_file, key_pem(authority.key))
    write_private(cert_file, cert_pem(authority.cert))
    return authority


def ensure_leaf(authority: Authority, leaf: Leaf, now: datetime.datetime) -> bool:
    """Make ``leaf`` unless a good one is there. True when it was made."""
    if _good(authority, leaf, now):
        return False
    key = ec.generate_private_key(ec.SECP256R1())
    write_private(leaf.key, key_pem(key))
    write_private(leaf.cert, cert_pem(_sign(authority, leaf, key, now)))
    return True


def ensure_key(path: Path) -> None:
    """A bare key pair: ``path`` and ``path``.pub, for signing ServiceAccount tokens."""
    public = path.with_suffix(".pub")
    if path.exists() and public.exists():
        return
    key = ec.generate_private_key(ec.SECP256R1())
    write_private(path, key_pem(key))
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    write_private(public, key.public_key().public_bytes(serialization.Encoding.PEM, form))


def new_authority(name: str, now: datetime.datetime) -> Authority:
    """In memory alone."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    own_id = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    cert = (
        _dated(now, _CA_DAYS)
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage("key_cert_sign", "crl_sign", "digital_signature"), critical=True)
        .add_extension(own_id, critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(own_id), critical=False
        )
        .sign(key, hashes.SHA256())
    )
    return Authority(cert, key)


def _sign(
    authority: Authority, leaf: Leaf, key: ec.EllipticCurvePrivateKey, now: datetime.datetime
) -> x509.Certificate:
    uses = [ExtendedKeyUsageOID.SERVER_AUTH] if leaf.server else []
    uses += [ExtendedKeyUsageOID.CLIENT_AUTH] if leaf.client else []
    return issue(authority, subject_of(leaf), key.public_key(), leaf.names, uses, now)


def issue(
    authority: Authority,
    subject: x509.Name,
    public: ec.EllipticCurvePublicKey,
    names: tuple[str, ...],
    uses: list[x509.ObjectIdentifier],
    now: datetime.datetime,
) -> x509.Certificate:
    issuer_id = authority.cert.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    builder = (
        _dated(now, _LEAF_DAYS)
        .subject_name(subject)
        .issuer_name(authority.cert.subject)
        .public_key(public)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage("digital_signature", "key_encipherment"), critical=True)
        .add_extension(x509.ExtendedKeyUsage(uses), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(issuer_id),
            critical=False,
        )
    )
    if names:
        alternative = x509.SubjectAlternativeName([general_name(name) for name in names])
        builder = builder.add_extension(alternative, critical=False)
    return builder.sign(authority.key, hashes.SHA256())


def load_authority(cert_file: Path, key_file: Path) -> Authority:
    """Raises OSError, ValueError."""
    return read_authority(cert_file.read_bytes(), key_file.read_bytes())


def read_authority(cert_pem: bytes, key_pem: bytes) -> Authority:
    """Raises ValueError."""
    cert = x509.load_pem_x509_certificate(cert_pem)
    key = serialization.load_pem_private_key(key_pem, None)
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not _pair(cert, key):
        raise ValueError("the key is not that of the certificate")
    return Authority(cert, key)


def lasts(authority: Authority, now: datetime.datetime) -> bool:
    """Whether it outlives what it signs now."""
    left = authority.cert.not_valid_after_utc - now
    return left > datetime.timedelta(days=_LEAF_DAYS) and authority.cert.not_valid_before_utc <= now


def ends(cert: Path) -> datetime.datetime:
    """When the certificate of that file does. Raises OSError, ValueError."""
    return x509.load_pem_x509_certificate(cert.read_bytes()).not_valid_after_utc


def time_fault(cert: Path, now: datetime.datetime) -> str:
    """Why it is not valid now, and what to do; empty when it is. Raises OSError, ValueError."""
    read = x509.load_pem_x509_certificate(cert.read_bytes())
    if now > read.not_valid_after_utc:
        return (
            f"ended on {read.not_valid_after_utc:%Y-%m-%d}: get new ones, docs/install.md tells how"
        )
    if now < read.not_valid_before_utc:
        return f"is not valid before {read.not_valid_before_utc:%Y-%m-%d %H:%M}: set this machine's clock right"
    return ""


def _good(authority: Authority, leaf: Leaf, now: datetime.datetime) -> bool:
    """A pair signed by this authority, for this subject and these names, with time left."""
    try:
        cert = x509.load_pem_x509_certificate(leaf.cert.read_bytes())
        key = serialization.load_pem_private_key(leaf.key.read_bytes(), None)
        cert.verify_directly_issued_by(authority.cert)
    except (FileNotFoundError, ValueError, TypeError, InvalidSignature):
        return False
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        return False
    return (
        _fresh(cert, now)
        and _pair(cert, key)
        and cert.subject == subject_of(leaf)
        and names_of(cert) == {str(general_name(name).value) for name in leaf.names}
    )


def _fresh(cert: x509.Certificate, now: datetime.datetime) -> bool:
    left = cert.not_valid_after_utc - now
    return left > datetime.timedelta(days=RENEW_DAYS) and cert.not_valid_before_utc <= now


def _pair(cert: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> bool:
    return cert.public_key() == key.public_key()


def names_of(cert: x509.Certificate | x509.CertificateSigningRequest) -> set[str]:
    return {str(name.value) for name in alternatives(cert)}


def alternatives(
    cert: x509.Certificate | x509.CertificateSigningRequest,
) -> list[x509.GeneralName]:
    try:
        return list(cert.extensions.get_extension_for_class(x509.SubjectAlternativeName).value)
    except x509.ExtensionNotFound:
        return []


def subject_of(leaf: Leaf) -> x509.Name:
    parts = [x509.NameAttribute(NameOID.COMMON_NAME, leaf.common_name)]
    if leaf.organization:
        parts.insert(0, x509.NameAttribute(NameOID.ORGANIZATION_NAME, leaf.organization))
    return x509.Name(parts)


def general_name(text: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(text))
    except ValueError:
        return x509.DNSName(text)


def _dated(now: datetime.datetime, days: int) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=days))
    )


def _usage(*granted: str) -> x509.KeyUsage:
    every = (
        "digital_signature", "content_commitment", "key_encipherment", "data_encipherment",
        "key_agreement", "key_cert_sign", "crl_sign", "encipher_only", "decipher_only",
    )  # fmt: skip
    return x509.KeyUsage(**{use: use in granted for use in every})


def key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def cert_pem(cert: x509.Certificate) -> bytes:
    return cert.public_bytes(serialization.Encoding.PEM)
