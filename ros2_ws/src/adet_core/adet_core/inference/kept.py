# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""What this machine made from a bundle's graph and keeps beside it, so that a start is quick.

Files come with a bundle from anywhere, so a record is sealed with a key that never leaves this
machine: what another machine made, or somebody edited, is made again.
"""

from __future__ import annotations

from collections.abc import Mapping
import hashlib
import hmac
import json
from typing import Any, NamedTuple

from adet_core.bundle import Bundle, read_made, write_made
from adet_core.errors import BackendError
from adet_core.inference.machine import seal

# What a record that is none raises where it is read.
_DAMAGED = (AttributeError, KeyError, RecursionError, TypeError, ValueError)


class Kept(NamedTuple):
    """Something that was kept.

    Attributes:
        details: What is known of it, as JSON has it.
        data: Its bytes; may be empty.
    """

    details: dict[str, Any]
    data: bytes = b''


def load_kept(bundle: Bundle, name: str, identity: Mapping[str, object] | None) -> Kept | None:
    """What was kept under a name.

    Args:
        bundle: As it is in service.
        name: What it is; ``engine/<name>.json`` is its record, ``engine/<name>.bin`` its data.
        identity: What it was made from, as JSON has it; None: whatever.

    Returns:
        None if there is none, it was made from something else or elsewhere, or is damaged.
    """
    try:
        record = json.loads(read_made(bundle, f'{name}.json'))
        told, mark = record['record'], record['seal']
        if not hmac.compare_digest(mark.encode(), seal(_text(name, told)).encode()):
            return None
        if identity is not None and told['identity'] != dict(identity):
            return None
        data = read_made(bundle, f'{name}.bin') if told['sha256'] else b''
    except (*_DAMAGED, BackendError, OSError):
        return None
    if told['sha256'] and hashlib.sha256(data).hexdigest() != told['sha256']:
        return None
    return Kept(told['details'], data)


def keep(bundle: Bundle, name: str, identity: Mapping[str, object], kept: Kept) -> None:
    """Keep something for the next start.

    Raises:
        BackendError: It cannot be kept; says why.
    """
    told = {
        'identity': dict(identity),
        'details': kept.details,
        'sha256': hashlib.sha256(kept.data).hexdigest() if kept.data else '',
    }
    record = {'record': told, 'seal': seal(_text(name, told))}
    contents = {f'{name}.json': (json.dumps(record, indent=2) + '\n').encode()}
    if kept.data:
        contents[f'{name}.bin'] = kept.data
    try:
        write_made(bundle, contents)
    except OSError as error:
        place = error.filename or bundle.folder
        raise BackendError(f'{place}: {error.strerror or error}') from None


def _text(name: str, told: Mapping[str, object]) -> str:
    return f'{name} {json.dumps(told, sort_keys=True)}'
