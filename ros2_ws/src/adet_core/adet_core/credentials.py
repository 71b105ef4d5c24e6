# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""What a client needs to log in elsewhere: secrets in files, and certificates."""

from __future__ import annotations

from pathlib import Path
import ssl

from adet_core.errors import ConfigError
from adet_core.folder import open_regular

_LONGEST = 4096


def read_secret(path: Path) -> str:
    """The first line of a file that holds a password or token.

    Raises:
        ConfigError: It cannot be read, or is empty.
    """
    try:
        with open_regular(path) as file:
            secret = file.readline(_LONGEST).decode().strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else 'is no text'
        msg = f'{path}: {reason}; its first line has to be the password or token'
        raise ConfigError(msg) from None
    if not secret:
        msg = f'{path}: is empty; its first line has to be the password or token'
        raise ConfigError(msg)
    return secret


def tls_context(ca_file: str) -> ssl.SSLContext:
    """What a server's certificate is checked with.

    Args:
        ca_file: Certificates in PEM; empty: those of the system.

    Raises:
        ConfigError: The file cannot be used.
    """
    try:
        return ssl.create_default_context(cafile=ca_file or None)
    except OSError as error:
        msg = f'{ca_file}: {error.strerror or error}; name a file of certificates in PEM'
        raise ConfigError(msg) from None
