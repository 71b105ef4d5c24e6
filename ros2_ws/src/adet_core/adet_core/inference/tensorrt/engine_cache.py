# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Keeps the plans that this machine built, and loads a plan only if it is one of them.

A plan holds native code, so loading a plan from elsewhere would run a program from elsewhere. Its
record is therefore sealed with a key that never leaves this machine. The plan of a copied bundle
fails that check, and is built again.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, replace
import hashlib
import hmac
import json
import os
from pathlib import Path
import secrets
import tempfile

from adet_core.bundle import (
    Bundle,
    PLAN_FILE,
    PlanRecord,
    read_plan,
    read_record,
    write_atomic,
    write_plan,
)
from adet_core.errors import BackendError, BundleError, ConfigError
from adet_core.paths import user_path

_TIMINGS_FILE = 'timings.bin'
_KEY_FILE = 'machine.key'
_KEY_BYTES = 32


class StalePlanError(BackendError):
    """A bundle's plan cannot be used; the message says why."""


def save_plan(bundle: Bundle, plan: bytes, record: PlanRecord) -> Path:
    """Keep a plan for the next start.

    Returns:
        The path of ``engine/model.plan``.

    Raises:
        BackendError: The folder cannot be written; the old plan is untouched.
        BundleError: The bundle has no graph any more.
    """
    try:
        return write_plan(bundle, plan, replace(record, seal=_seal(record)))
    except OSError as error:
        place = error.filename or bundle.folder
        msg = f'{place}: {error.strerror}; the engine was built, but cannot be kept there'
        raise BackendError(msg) from None


def load_plan(bundle: Bundle, wanted: Mapping[str, object]) -> tuple[bytes, PlanRecord]:
    """The kept plan of a bundle, if this machine built it and nothing has changed since.

    Args:
        bundle: As it is in service.
        wanted: Fields of `PlanRecord` with the values that they must have.

    Returns:
        The plan and its record.

    Raises:
        BundleError: The record is missing or damaged.
        StalePlanError: There is no plan, or it cannot be used.
    """
    record = read_record(bundle).plan
    if record is None:
        raise StalePlanError('no engine has been built yet')
    if not hmac.compare_digest(record.seal.encode(), _seal(record).encode()):
        msg = f'{PLAN_FILE} was not built on this machine by this user'
        raise StalePlanError(msg)
    for name, value in wanted.items():
        if (was := getattr(record, name)) != value:
            msg = f'{PLAN_FILE} was built for {name} {was or "none"}, now it is {value or "none"}'
            raise StalePlanError(msg)
    try:
        plan = read_plan(bundle)
    except BundleError as error:
        raise StalePlanError(str(error)) from None
    if hashlib.sha256(plan).hexdigest() != record.plan_sha256:
        raise StalePlanError(f'{PLAN_FILE} is damaged: checksum mismatch')
    return plan, record


def read_timings() -> bytes:
    """The timing cache of earlier builds on this machine; empty if there is none."""
    try:
        return (_state_folder() / _TIMINGS_FILE).read_bytes()
    except (ConfigError, OSError):
        return b''


def save_timings(timings: bytes) -> None:
    """Keep the timing cache for the next build; without it, that only takes longer."""
    with suppress(ConfigError, OSError):
        write_atomic(_state_folder() / _TIMINGS_FILE, timings)


def _seal(record: PlanRecord) -> str:
    text = json.dumps(asdict(replace(record, seal='')), sort_keys=True)
    return hmac.new(_machine_key(), text.encode(), hashlib.sha256).hexdigest()


def _machine_key() -> bytes:
    """A secret of this machine and user, made when it is first needed.

    Raises:
        BackendError: It cannot be kept.
    """
    try:
        folder = _state_folder()
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


def _state_folder() -> Path:
    """Where this machine's own files are kept.

    Raises:
        ConfigError: There is no home folder.
    """
    home = os.environ.get('XDG_STATE_HOME') or '~/.local/state'
    return user_path(home, 'XDG_STATE_HOME') / 'adet'
