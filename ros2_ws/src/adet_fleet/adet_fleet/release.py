# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""A release: which files a bundle is made of, signed."""

from __future__ import annotations

import base64
import binascii
from dataclasses import asdict, dataclass
import json
from pathlib import PurePosixPath
import re
from typing import Annotated

from adet_core.bundle.decode import decode, parse_json
from adet_core.errors import BundleError
from adet_core.folder import check_name
from adet_core.models.names import model_folder
from adet_fleet.keys import Signer, TrustedKeys

RELEASE_FILE = 'latest.json'
LARGEST_RELEASE = 1 << 20
_SCHEMA = 1
_SHA256 = re.compile('[0-9a-f]{64}')
_LARGEST_FILE = 1 << 34


def _check_path(text: str) -> str:
    parts = PurePosixPath(text).parts
    if text != '/'.join(parts) or not 1 <= len(parts) <= 2:
        msg = f'{text!r:.80} is not NAME or FOLDER/NAME'
        raise ValueError(msg)
    for part in parts:
        check_name(part)
    return text


def _check_sha256(text: str) -> str:
    if not _SHA256.fullmatch(text):
        msg = f'{text!r:.80} is no sha256'
        raise ValueError(msg)
    return text


def _check_size(size: int) -> int:
    if not 0 <= size <= _LARGEST_FILE:
        msg = f'{size} bytes is not a size of 0 to {_LARGEST_FILE}'
        raise ValueError(msg)
    return size


@dataclass(frozen=True)
class ReleasedFile:
    """One file of a bundle.

    Attributes:
        sha256: Of its content; it is stored under that name.
        size: In bytes.
    """

    sha256: Annotated[str, _check_sha256]
    size: Annotated[int, _check_size]


@dataclass(frozen=True, kw_only=True)
class Release:
    """What is signed.

    Attributes:
        schema: Version of this description.
        model: The model name.
        category: What is inspected.
        bundle_id: Of the bundle.
        number: Time of publishing, in nanoseconds since 1970; robots refuse a smaller one than
            they have.
        files: By path in the bundle's folder.
    """

    model: str
    category: Annotated[str, check_name]
    bundle_id: Annotated[str, check_name]
    number: int
    files: dict[Annotated[str, _check_path], ReleasedFile]
    schema: int = _SCHEMA


@dataclass(frozen=True)
class _Envelope:
    """The file: the text that is signed, and by whom."""

    release: str
    key: str
    signature: str


def sign_release(release: Release, signer: Signer) -> bytes:
    """The file of a release."""
    text = json.dumps(asdict(release), sort_keys=True)
    signature = base64.b64encode(signer.sign(text.encode())).decode()
    return json.dumps(asdict(_Envelope(text, signer.key_id, signature)), indent=1).encode()


def read_release(data: bytes, keys: TrustedKeys, place: str) -> Release:
    """Read the file of a release; nothing in it is looked at before the signature holds.

    Args:
        data: The file.
        keys: Who may publish.
        place: Where it came from, for messages.

    Raises:
        BundleError: It is not signed by one of the keys, or not whole.
    """
    try:
        envelope = decode(_Envelope, parse_json(data))
        signature = base64.b64decode(envelope.signature, validate=True)
    except (ValueError, binascii.Error) as error:
        msg = f'{place}: is not a release ({error}); publish it with: adet publish'
        raise BundleError(msg) from None
    text = envelope.release.encode()
    if not keys.verify(envelope.key, signature, text):
        msg = f'{place}: is not signed by a key of {keys.path} (its key is {envelope.key!r:.40})'
        raise BundleError(msg)
    try:
        release = decode(Release, parse_json(text))
        model_folder(release.model)
    except ValueError as error:
        msg = f'{place}: {error}'
        raise BundleError(msg) from None
    if release.schema != _SCHEMA:
        msg = f'{place}: has schema {release.schema}, this adet reads {_SCHEMA}; update adet'
        raise BundleError(msg)
    return release
