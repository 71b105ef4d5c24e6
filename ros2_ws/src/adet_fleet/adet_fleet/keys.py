# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Ed25519 keys: who publishes has the private one, every robot the public one."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import partial
import hashlib
import os
from pathlib import Path
import re
from typing import Any, TypeVar

from adet_core.errors import ConfigError
from adet_core.folder import open_regular

T = TypeVar('T')
_LARGEST = 1 << 16
_BLOCK = re.compile(rb'-----BEGIN PUBLIC KEY-----.+?-----END PUBLIC KEY-----', re.DOTALL)


def make_keys(path: Path) -> Path:
    """Make a pair of keys.

    Args:
        path: File of the private key, in PEM, mode 600; the public one is ``path.pub``.

    Returns:
        The file of the public key.

    Raises:
        ConfigError: One of the files is there already, or cryptography is not installed.
        OSError: A file cannot be written.
    """
    serialization, ed25519 = _library()
    public = path.with_name(f'{path.name}.pub')
    for file in (path, public):
        if file.exists():
            msg = f'{file}: is there already; a key that robots trust is not to be overwritten'
            raise ConfigError(msg)
    key = ed25519.Ed25519PrivateKey.generate()
    path.parent.mkdir(parents=True, exist_ok=True)
    data = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), 'wb') as opened:
        opened.write(data)
    public.write_bytes(
        key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
    )
    return public


class Signer:
    """A private key.

    Attributes:
        key_id: Of its public key.
    """

    def __init__(self, path: Path) -> None:
        """Read the key.

        Raises:
            ConfigError: It cannot be read, is none, or others may read it.
        """
        serialization, ed25519 = _library()
        data = _read(path, secret=True)
        key = _parsed(path, lambda: serialization.load_pem_private_key(data, None))
        if not isinstance(key, ed25519.Ed25519PrivateKey):
            raise _foreign(path)
        self._key = key
        self.key_id = _key_id(key.public_key())

    def sign(self, data: bytes) -> bytes:
        """The signature of some bytes, 64 bytes."""
        signature: bytes = self._key.sign(data)
        return signature


class TrustedKeys:
    """The public keys that a robot trusts."""

    def __init__(self, path: Path) -> None:
        """Read one or more keys in PEM from a file.

        Raises:
            ConfigError: It cannot be read, or one in it is no Ed25519 key.
        """
        serialization, ed25519 = _library()
        blocks = _BLOCK.findall(_read(path))
        self._keys: dict[str, Any] = {}
        for block in blocks:
            key = _parsed(path, partial(serialization.load_pem_public_key, block))
            if not isinstance(key, ed25519.Ed25519PublicKey):
                raise _foreign(path)
            self._keys[_key_id(key)] = key
        if not self._keys:
            raise _foreign(path)
        self.path = path

    def verify(self, key_id: str, signature: bytes, data: bytes) -> bool:
        """Whether one of the keys, the one of that id, made the signature."""
        from cryptography.exceptions import InvalidSignature

        with suppress(KeyError, InvalidSignature):
            self._keys[key_id].verify(signature, data)
            return True
        return False


def _key_id(public: Any) -> str:
    """16 hexadecimal digits of the key's sha256."""
    return hashlib.sha256(public.public_bytes_raw()).hexdigest()[:16]


def _read(path: Path, *, secret: bool = False) -> bytes:
    try:
        with open_regular(path) as file:
            mode = os.fstat(file.fileno()).st_mode
            data = file.read(_LARGEST)
    except OSError as error:
        msg = f'{path}: {error.strerror}; make a pair with: adet keygen FILE'
        raise ConfigError(msg) from None
    if secret and mode & 0o077:
        msg = f'{path}: others may read the private key; run: chmod 600 {path}'
        raise ConfigError(msg)
    return data


def _parsed(path: Path, load: Callable[[], T]) -> T:
    try:
        return load()
    # An encrypted key is a TypeError, and one of an unknown kind an error of cryptography's own.
    except Exception:  # noqa: BLE001
        raise _foreign(path) from None


def _foreign(path: Path) -> ConfigError:
    return ConfigError(f'{path}: holds no such Ed25519 key; make a pair with: adet keygen FILE')


def _library() -> tuple[Any, Any]:
    try:
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric import ed25519
    except ImportError as error:
        msg = f'signatures need cryptography ({error}): pip install cryptography'
        raise ConfigError(msg) from None
    return serialization, ed25519
