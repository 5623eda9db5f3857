"""A private certificate authority, as companies have for the servers of their network."""

from __future__ import annotations

import datetime as dt
import ipaddress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

if TYPE_CHECKING:
    from pathlib import Path

_DAY = dt.timedelta(days=1)


@dataclass(frozen=True)
class Certificate:
    """Files in PEM.

    Attributes:
        certificate: the certificate alone.
        key: its key.
        both: certificate and key in one file, as MLflow takes that of a client.
    """

    certificate: Path
    key: Path
    both: Path


class Authority:
    """A certificate authority.

    Args:
        directory: for its files.
        name: distinguishes authorities.
    """

    def __init__(self, directory: Path, name: str = "ca") -> None:
        self._directory = directory
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _named(f"Private {name}")
        constraints = x509.BasicConstraints(ca=True, path_length=None)
        certificate = (
            _built(self._name, self._key, 0, 3650)
            .issuer_name(self._name)
            .add_extension(constraints, critical=True)
            .add_extension(_KEY_USAGE, critical=True)
            .add_extension(
                x509.SubjectKeyIdentifier.from_public_key(self._key.public_key()), critical=False
            )
            .sign(self._key, hashes.SHA256())
        )
        self.path = directory / f"{name}.pem"
        """The certificate to trust."""
        self.path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))

    def issue(
        self, name: str, *, since_days: int = -1, until_days: int = 30, password: str = ""
    ) -> Certificate:
        """Issue a certificate for a host name, an IP address or a client.

        Args:
            name: subject and the only alternative name.
            since_days: begin of its validity, in days from now.
            until_days: end of its validity, in days from now.
            password: encrypts the key; empty leaves it readable.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        try:
            alternative: x509.GeneralName = x509.IPAddress(ipaddress.ip_address(name))
        except ValueError:
            alternative = x509.DNSName(name)
        certificate = (
            _built(_named(name), key, since_days, until_days)
            .issuer_name(self._name)
            .add_extension(x509.SubjectAlternativeName([alternative]), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()),
                critical=False,
            )
            .sign(self._key, hashes.SHA256())
        )
        protection: serialization.KeySerializationEncryption = serialization.NoEncryption()
        if password:
            protection = serialization.BestAvailableEncryption(password.encode())
        in_pem = certificate.public_bytes(serialization.Encoding.PEM)
        key_in_pem = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, protection
        )
        stem = f"{name}{since_days}{until_days}{bool(password)}"
        found = Certificate(*(self._directory / f"{stem}{end}" for end in (".crt", ".key", ".pem")))
        found.certificate.write_bytes(in_pem)
        found.key.write_bytes(key_in_pem)
        found.both.write_bytes(in_pem + key_in_pem)
        return found


_KEY_USAGE = x509.KeyUsage(
    digital_signature=True,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    key_cert_sign=True,
    crl_sign=True,
    encipher_only=False,
    decipher_only=False,
)


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _built(
    subject: x509.Name, key: ec.EllipticCurvePrivateKey, since_days: int, until_days: int
) -> x509.CertificateBuilder:
    now = dt.datetime.now(dt.timezone.utc)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + since_days * _DAY)
        .not_valid_after(now + until_days * _DAY)
    )
