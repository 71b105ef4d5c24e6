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
from pathlib import Path

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
from adet_core.inference.machine import seal, state_folder

_TIMINGS_FILE = 'timings.bin'


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
        return (state_folder() / _TIMINGS_FILE).read_bytes()
    except (ConfigError, OSError):
        return b''


def save_timings(timings: bytes) -> None:
    """Keep the timing cache for the next build; without it, that only takes longer."""
    with suppress(ConfigError, OSError):
        write_atomic(state_folder() / _TIMINGS_FILE, timings)


def _seal(record: PlanRecord) -> str:
    text = json.dumps(asdict(replace(record, seal='')), sort_keys=True)
    return seal(text)
