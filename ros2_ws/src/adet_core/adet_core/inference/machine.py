# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""What belongs to this machine alone: its key, its files, and what its speed depends on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, ExitStack, suppress
import fcntl
import hashlib
import hmac
import os
from pathlib import Path
import secrets
import tempfile
import time

from adet_core.errors import BackendError, ConfigError
from adet_core.paths import user_path

_KEY_FILE = 'machine.key'
_KEY_BYTES = 32
_LOCK_FILE = 'measuring.lock'
_CPU_INFO = Path('/proc/cpuinfo')
# What x86 and Arm call the model of a CPU and what it can do.
_MODEL = ('model name', 'CPU implementer', 'CPU part', 'CPU variant')
_FLAGS = ('flags', 'Features')


def seal(text: str) -> str:
    """The HMAC-SHA256 of a text with a key that never leaves this machine.

    Raises:
        BackendError: There is no key, and none can be kept.
    """
    return hmac.new(_machine_key(), text.encode(), hashlib.sha256).hexdigest()


def describe_cpu() -> dict[str, str]:
    """Model and features of the CPU, as the kernel names them; empty where it does not."""
    try:
        lines = _CPU_INFO.read_text(errors='replace').split('\n\n', 1)[0].splitlines()
    except OSError:
        return {}
    pairs = (line.partition(':') for line in lines)
    found = {name.strip(): value.strip() for name, _, value in pairs}
    model = ' '.join(found[name] for name in _MODEL if name in found)
    return {'cpu': model, 'flags': next((found[name] for name in _FLAGS if name in found), '')}


@contextmanager
def alone(seconds: float) -> Iterator[str]:
    """Wait for others of this user that measure here.

    Args:
        seconds: How long to wait.

    Yields:
        Empty if nobody else measures during the block, else what stands against it.
    """
    with ExitStack() as stack:
        try:
            folder = state_folder()
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
            descriptor = os.open(folder / _LOCK_FILE, flags, 0o600)
        except ConfigError as error:
            problem = str(error)
        except OSError as error:
            problem = f'{error.filename}: {error.strerror}'
        else:
            # Closing gives the lock back.
            stack.callback(os.close, descriptor)
            free = _lock(descriptor, time.monotonic() + seconds)
            problem = '' if free else 'another process measures'
        yield problem


def _lock(descriptor: int, end: float) -> bool:
    while True:
        with suppress(BlockingIOError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        if time.monotonic() >= end:
            return False
        time.sleep(0.05)


def _machine_key() -> bytes:
    """A secret of this machine and user, made when it is first needed.

    Raises:
        BackendError: It cannot be kept.
    """
    try:
        folder = state_folder()
    except ConfigError as error:
        raise BackendError(str(error)) from None
    path = folder / _KEY_FILE
    try:
        if not path.exists():
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            # Private from the beginning: mkstemp makes it for its owner alone.
            descriptor, fresh = tempfile.mkstemp(dir=folder)
            with os.fdopen(descriptor, 'wb') as file:
                file.write(secrets.token_bytes(_KEY_BYTES))
            # Of two that begin at once, both go on with the first one's.
            with suppress(FileExistsError):
                os.link(fresh, path)
            Path(fresh).unlink()
        return path.read_bytes()
    except OSError as error:
        msg = f'{path}: {error.strerror}; set XDG_STATE_HOME to a folder that can be written'
        raise BackendError(msg) from None


def state_folder() -> Path:
    """Where this machine's own files are kept.

    Raises:
        ConfigError: There is no home folder.
    """
    home = os.environ.get('XDG_STATE_HOME') or '~/.local/state'
    return user_path(home, 'XDG_STATE_HOME') / 'adet'
