# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Who may see and who may act: passwords, sessions, and checks against other web pages."""

from __future__ import annotations

import base64
from collections import defaultdict, deque
from collections.abc import Mapping
from dataclasses import dataclass
import hashlib
import hmac
import ipaddress
import os
from pathlib import Path
import secrets
import time
from urllib.parse import urlsplit

from adet_core.errors import ConfigError
from adet_core.folder import open_regular

ROLES = ('viewer', 'operator')
"""What each may do, in rising order: look; mark, retrain and set thresholds."""

# RFC 7914 for interactive logins: 32 MiB and a tenth of a second.
_N, _R, _P = 1 << 15, 8, 1
_MEMORY = 64 << 20
_SESSION_S = 12 * 3600
_SESSIONS = 256
_TRIES, _TRIES_S = 5, 60.0
_CLIENTS = 1024
_LARGEST = 1 << 20


def hash_password(password: str) -> str:
    """A password as it is stored: scrypt (RFC 7914) with its parameters and a random salt."""
    salt = os.urandom(16)
    return f'scrypt${_N}${_R}${_P}${_text(salt)}${_text(_derive(password, salt, _N, _R, _P))}'


def check_password(password: str, stored: str) -> bool:
    """Whether a password is the stored one, in a time that does not tell how far it is right.

    Raises:
        ValueError: ``stored`` is not what `hash_password` makes.
    """
    kind, n, r, p, salt, expected = stored.split('$')
    if kind != 'scrypt':
        msg = f'unknown password hash {kind!r}'
        raise ValueError(msg)
    made = _derive(password, base64.b64decode(salt), int(n), int(r), int(p))
    return hmac.compare_digest(made, base64.b64decode(expected))


def _derive(password: str, salt: bytes, n: int, r: int, p: int) -> bytes:
    return hashlib.scrypt(password.encode(), salt=salt, n=n, r=r, p=p, maxmem=_MEMORY, dklen=32)


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def read_passwords(path: Path) -> dict[str, str]:
    """The stored password of each role, from a file of lines ``role:hash``.

    Raises:
        ConfigError: The file cannot be read by its owner alone, or a line is wrong.
    """
    try:
        with open_regular(path) as file:
            mode = os.fstat(file.fileno()).st_mode
            text = file.read(_LARGEST).decode()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else 'is no text'
        msg = f'{path}: {reason}; make it with: adet console-password {path}'
        raise ConfigError(msg) from None
    if mode & 0o077:
        msg = f'{path}: others may read the passwords; run: chmod 600 {path}'
        raise ConfigError(msg)
    found = {}
    for number, line in enumerate(text.splitlines(), start=1):
        role, _, stored = line.partition(':')
        try:
            check_password('', stored)
        except (ValueError, TypeError):
            role = ''
        if role not in ROLES:
            msg = f'{path}: line {number} is not ROLE:HASH; make it with: adet console-password'
            raise ConfigError(msg)
        found[role] = stored
    if not found:
        msg = f'{path}: holds no password; make one with: adet console-password {path}'
        raise ConfigError(msg)
    return found


@dataclass(frozen=True)
class Session:
    """Somebody who has logged in.

    Attributes:
        role: One of `ROLES`.
        name: Who it is, for the audit log.
        ends: When the session ends, by the monotonic clock.
    """

    role: str
    name: str
    ends: float


class Guard:
    """Decides who a request comes from, and whether it may come at all."""

    def __init__(self, host: str, passwords: Mapping[str, str], allowed_hosts: str = '') -> None:
        """Check that nobody outside can act without a password.

        Args:
            host: Address that the server binds to.
            passwords: By role, as `read_passwords` gives them; empty on this machine alone.
            allowed_hosts: Names that browsers may call this machine, separated by commas, beside
                its address and localhost.

        Raises:
            ConfigError: The server would be open to other machines without a password.
        """
        if not passwords and not is_loopback(host):
            msg = f'host is {host}, which other machines can reach: give a password_file'
            raise ConfigError(f'{msg} (adet console-password FILE)')
        self._passwords = dict(passwords)
        names = {'localhost', '127.0.0.1', '::1', host}
        self._hosts = names | {name.strip() for name in allowed_hosts.split(',') if name.strip()}
        # Bound to all addresses, the machine's own are as good as a name.
        self._any_address = host in {'0.0.0.0', '::'}  # noqa: S104 - compared, not bound
        self._sessions: dict[str, Session] = {}
        self._tries: defaultdict[str, deque[float]] = defaultdict(deque)

    @property
    def is_open(self) -> bool:
        """Whether no password is needed: the server can only be reached from this machine."""
        return not self._passwords

    def allows_host(self, header: str) -> bool:
        """Whether a Host header names this server; a foreign name is DNS rebinding."""
        name = urlsplit(f'//{header}').hostname or ''
        return name in self._hosts or (self._any_address and _is_address(name))

    def allows_origin(self, origin: str | None, host: str) -> bool:
        """Whether a request comes from our own page, not from another web site's."""
        return origin is not None and urlsplit(origin).netloc == host

    def log_in(self, password: str, name: str, address: str) -> str | None:
        """Check a password.

        Args:
            password: As typed.
            name: Who it is, for the audit log.
            address: Of the client, whose tries are counted.

        Returns:
            The session's token; None for a wrong password.

        Raises:
            PermissionError: There were too many tries.
        """
        role = self.role_of(password, address)
        if role is None:
            return None
        return self._begin(Session(role, name, time.monotonic() + _SESSION_S))

    def role_of(self, password: str, address: str) -> str | None:
        """The role that a password belongs to; None for a wrong one.

        Raises:
            PermissionError: There were too many tries from that address.
        """
        self._count_try(address)
        for role in reversed(ROLES):
            if role in self._passwords and check_password(password, self._passwords[role]):
                self._tries.pop(address, None)
                return role
        return None

    def log_out(self, token: str) -> None:
        """End a session."""
        self._sessions.pop(token, None)

    def session(self, token: str | None) -> Session | None:
        """The session of a request; None where it has to log in first."""
        if self.is_open:
            return Session('operator', 'local', time.monotonic() + _SESSION_S)
        found = self._sessions.get(token or '')
        if found is None or found.ends < time.monotonic():
            self._sessions.pop(token or '', None)
            return None
        return found

    def _begin(self, session: Session) -> str:
        while len(self._sessions) >= _SESSIONS:
            self._sessions.pop(next(iter(self._sessions)))
        token = secrets.token_urlsafe(32)
        self._sessions[token] = session
        return token

    def _count_try(self, address: str) -> None:
        now = time.monotonic()
        while len(self._tries) > _CLIENTS:
            self._tries.pop(next(iter(self._tries)))
        tries = self._tries[address]
        while tries and tries[0] < now - _TRIES_S:
            tries.popleft()
        if len(tries) >= _TRIES:
            msg = 'too many wrong passwords; wait a minute'
            raise PermissionError(msg)
        tries.append(now)


def is_loopback(host: str) -> bool:
    """Whether an address can be reached from this machine alone."""
    return host == 'localhost' or (_is_address(host) and ipaddress.ip_address(host).is_loopback)


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
