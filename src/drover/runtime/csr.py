"""Requests for certificates: made where the key stays, read and signed where the authority is.

A request is judged by what it *says* here, so whatever is not understood is refused: further parts of the subject,
extensions, names that are neither hosts nor addresses.
"""

from __future__ import annotations

import datetime
import hashlib
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, ExtensionOID, NameOID

from drover.runtime import pki


def sign_request(authority: pki.Authority, request_pem: bytes, now: datetime.datetime) -> bytes:
    """The certificate (PEM) for a request whose subject and names were judged; for servers and clients."""
    request = x509.load_pem_x509_csr(request_pem)
    public = request.public_key()
    assert isinstance(public, ec.EllipticCurvePublicKey)
    uses = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
    names = tuple(sorted(pki.names_of(request)))
    return pki.cert_pem(pki.issue(authority, request.subject, public, names, uses, now))


@dataclass(frozen=True)
class Asked:
    """What a request for a certificate says. ``key`` is a digest of its public key."""

    common_name: str
    organizations: tuple[str, ...]
    dns: tuple[str, ...]
    addresses: tuple[str, ...]
    key: str


def read_request(request_pem: bytes) -> Asked:
    """Raises ValueError for what is no request, is not signed with its own key, or asks for names of other kinds."""
    request = x509.load_pem_x509_csr(request_pem)
    public = request.public_key()
    if not request.is_signature_valid or not isinstance(public, ec.EllipticCurvePublicKey):
        raise ValueError("the request is not signed with an elliptic key of its own")
    subject: dict[x509.ObjectIdentifier, list[str]] = {
        NameOID.COMMON_NAME: [],
        NameOID.ORGANIZATION_NAME: [],
    }
    for part in request.subject:
        if part.oid not in subject:
            raise ValueError(f"the subject has a part that is not served: {part.rfc4514_string()}")
        subject[part.oid].append(str(part.value))
    if len(subject[NameOID.COMMON_NAME]) != 1:
        raise ValueError("the subject has not one common name")
    if any(one.oid != ExtensionOID.SUBJECT_ALTERNATIVE_NAME for one in request.extensions):
        raise ValueError("the request has an extension that is not served")
    dns, addresses = [], []
    for name in pki.alternatives(request):
        if isinstance(name, x509.DNSName):
            dns.append(name.value)
        elif isinstance(name, x509.IPAddress):
            addresses.append(str(name.value))
        else:
            raise ValueError("the request has a name that is neither host nor address")
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    der = public.public_bytes(serialization.Encoding.DER, form)
    return Asked(
        subject[NameOID.COMMON_NAME][0],
        tuple(subject[NameOID.ORGANIZATION_NAME]),
        tuple(dns),
        tuple(addresses),
        hashlib.sha256(der).hexdigest()[:16],
    )


def make_request(key_file: Path, leaf: pki.Leaf) -> bytes:
    """A request (PEM) for ``leaf`` with the key of that file, which is made when it is not there."""
    if not key_file.exists():
        pki.write_private(key_file, pki.key_pem(ec.generate_private_key(ec.SECP256R1())))
    key = serialization.load_pem_private_key(key_file.read_bytes(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    builder = x509.CertificateSigningRequestBuilder().subject_name(pki.subject_of(leaf))
    if leaf.names:
        alternative = x509.SubjectAlternativeName([pki.general_name(name) for name in leaf.names])
        builder = builder.add_extension(alternative, critical=False)
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def authority_hash(ca_pem: bytes) -> str:
    """``sha256:`` and the digest of the authority's public key, as kubeadm counts it. Raises ValueError."""
    public = x509.load_pem_x509_certificate(ca_pem).public_key()
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    der = public.public_bytes(serialization.Encoding.DER, form)
    return f"sha256:{hashlib.sha256(der).hexdigest()}"
