# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""A certificate authority of the tests' own, for servers on this machine."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
import ipaddress
from pathlib import Path
import ssl

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec


class Authority:
    """Signs certificates of 127.0.0.1.

    Attributes:
        file: What clients trust it by.
    """

    def __init__(self, folder: Path, name: str) -> None:
        """Make its key and certificate in a folder."""
        self._folder, self._name = folder, name
        self._key = ec.generate_private_key(ec.SECP256R1())
        own = self._builder(name, self._key.public_key(), 0).add_extension(
            x509.BasicConstraints(ca=True, path_length=0), critical=True
        )
        self.file = folder / f'{name}.pem'
        signed = own.sign(self._key, hashes.SHA256())
        self.file.write_bytes(signed.public_bytes(serialization.Encoding.PEM))

    def server(self, ended_days_ago: int = -30) -> tuple[Path, Path]:
        """Files of a server's certificate, which has expired if its end is past, and its key."""
        key = ec.generate_private_key(ec.SECP256R1())
        address = x509.IPAddress(ipaddress.ip_address('127.0.0.1'))
        signed = (
            self._builder('server', key.public_key(), ended_days_ago)
            .add_extension(x509.SubjectAlternativeName([address]), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        place = self._folder / f'{self._name}{ended_days_ago}.crt'
        place.write_bytes(signed.public_bytes(serialization.Encoding.PEM))
        secret = place.with_suffix('.key')
        secret.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        return place, secret

    def context(self, ended_days_ago: int = -30) -> ssl.SSLContext:
        """What a server takes; see `server`."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*self.server(ended_days_ago))
        return context

    def _builder(
        self, name: str, key: ec.EllipticCurvePublicKey, ended_days_ago: int
    ) -> x509.CertificateBuilder:
        now = datetime.now(timezone.utc)
        end = now - timedelta(days=ended_days_ago or -30)

        def named(common: str) -> x509.Name:
            return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, common)])

        return (
            x509.CertificateBuilder()
            .subject_name(named(name))
            .issuer_name(named(self._name))
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(end - timedelta(days=60))
            .not_valid_after(end)
        )
