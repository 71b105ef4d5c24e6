# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Archives from the network: checked, with patience of seconds, and whole or not at all."""

from __future__ import annotations

import hashlib
from http.client import HTTPException
import os
from pathlib import Path
import shutil
from tarfile import TarError
import threading
from typing import Any
from urllib.request import Request, urlopen
from zipfile import BadZipFile

from anomalib.data.utils import DownloadInfo
from anomalib.data.utils.download import extract

from adet_core.errors import ConfigError
from adet_core.progress import ProgressCallback

_PATIENCE_S = 3.0
# Of a server that stops in the middle.
_STALLED_S = 20.0
_PORTION = 1 << 18
# What is packed takes about as much again when it is unpacked beside its archive.
_ROOM = 2.2
_LARGEST = 8 << 30


class DownloadError(ConfigError):
    """An archive cannot be had now."""


def download_and_unpack(info: DownloadInfo, folder: Path, progress: ProgressCallback) -> None:
    """Download one of Anomalib's archives and unpack it.

    Anomalib's own function has no time-out, and takes half an archive for a whole one the next
    time: this one has its addresses, checksums and its careful unpacking.

    Args:
        info: Address and sha256.
        folder: Empty; what it holds after an error is of no use.
        progress: Told the mebibytes.

    Raises:
        DownloadError: The server does not answer, there is no space, or the archive is not the
            one that is expected.
    """
    host = info.url.split('/')[2]
    try:
        response = _open(info.url)
    except (OSError, HTTPException, ValueError) as error:
        raise DownloadError(f'{host} does not answer ({error})') from None
    archive = folder / info.url.rpartition('/')[2]
    try:
        with response:
            _check_room(int(response.headers.get('Content-Length', 0)), folder, info.name)
            digest = _save(response, archive, f'downloading {info.name}, MiB', progress)
    except (OSError, HTTPException, ValueError) as error:
        msg = f'the download of {info.name} from {host} broke off ({error})'
        raise DownloadError(msg) from None
    if digest != info.hashsum:
        msg = (
            f'{info.name} from {host} is not the expected archive (its sha256 is {digest:.12}...)'
        )
        raise DownloadError(msg)
    try:
        extract(archive, folder)
    except (OSError, ValueError, BadZipFile, TarError) as error:
        raise DownloadError(f'{info.name} cannot be unpacked ({error})') from None


def _open(url: str) -> Any:
    """A response.

    Raises:
        OSError: There is none, or none within three seconds.
    """
    if os.environ.get('HF_HUB_OFFLINE', '').upper() in {'1', 'ON', 'YES', 'TRUE'}:
        # It says for the hub, and so for all, that there is no network.
        raise OSError('HF_HUB_OFFLINE is set')
    answers: list[Any] = []

    def ask() -> None:
        request = Request(url, headers={'User-Agent': 'adet'})  # noqa: S310 - Anomalib's address
        try:
            answers.append(urlopen(request, timeout=_STALLED_S))  # noqa: S310 - the same
        except Exception as error:  # noqa: BLE001 - raised again outside of the thread
            answers.append(error)

    # In a thread, because looking up a name knows no time-out.
    asker = threading.Thread(target=ask, daemon=True)
    asker.start()
    asker.join(_PATIENCE_S)
    if not answers:
        raise TimeoutError(f'for {_PATIENCE_S:.0f} s')
    if isinstance(answers[0], Exception):
        raise answers[0]
    return answers[0]


def _check_room(size: int, folder: Path, name: str) -> None:
    free = shutil.disk_usage(folder).free
    if size > _LARGEST or free < size * _ROOM:
        needed, there = (value / 2**30 for value in (size * _ROOM, free))
        msg = f'{name} needs {needed:.1f} GiB in {folder.parent}, which has {there:.1f} free'
        raise DownloadError(msg)


def _save(response: Any, path: Path, stage: str, progress: ProgressCallback) -> str:
    """Save a response.

    Returns:
        Its sha256.

    Raises:
        ValueError: It ended too early.
    """
    size, done = int(response.headers.get('Content-Length', 0)), 0
    digest = hashlib.sha256()
    with path.open('wb') as file:
        while portion := response.read(_PORTION):
            file.write(portion)
            digest.update(portion)
            if (done + len(portion)) >> 20 != done >> 20:
                progress(stage, (done + len(portion)) >> 20, size >> 20 or None)
            done += len(portion)
    if done < size:
        msg = f'after {done} of {size} bytes'
        raise ValueError(msg)
    return digest.hexdigest()
