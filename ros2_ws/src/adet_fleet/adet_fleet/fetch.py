# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Getting a release to a robot's disk."""

from __future__ import annotations

import hashlib
from pathlib import Path
import shutil

from adet_core.bundle import Bundle, open_bundle
from adet_core.bundle.reader import hash_file
from adet_core.errors import BundleError
from adet_core.progress import ProgressCallback, silent
from adet_core.storage import Source, Storage
from adet_fleet.keys import TrustedKeys
from adet_fleet.release import LARGEST_RELEASE, read_release, Release, ReleasedFile


def fetch_release(source: Source, name: str, keys: TrustedKeys, place: str) -> Release:
    """Read a release and check who signed it.

    Raises:
        BundleError: Nobody did whom this robot trusts, or it is too long.
        StorageError: It cannot be read.
    """
    data = bytearray()
    source.read(name, data.extend, LARGEST_RELEASE)
    return read_release(bytes(data), keys, place)


def split_address(address: str) -> tuple[Storage, str]:
    """The folder of a release's file, and its name.

    Raises:
        ConfigError: The address cannot be used here.
    """
    folder, _, name = address.rpartition('/')
    return Storage(folder or '.'), name


def fetch_files(
    source: Source, release: Release, folder: Path, *, progress: ProgressCallback = silent
) -> Bundle:
    """Bring the files of a release into a folder; those that are whole there already stay.

    Args:
        source: Has ``files/<sha256>``.
        release: As it was verified.
        folder: Made if need be; what else is in it goes.
        progress: Told the files.

    Returns:
        The bundle, with its graph.

    Raises:
        BundleError: A file is not what was signed, or together they are no such bundle.
        StorageError: A file cannot be read; call again, and the rest is fetched.
        OSError: The folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    _remove_others(folder, release)
    for done, (name, entry) in enumerate(release.files.items(), start=1):
        if not _is_whole(folder / name, entry):
            _fetch(source, entry, folder / name)
        progress('fetching', done, len(release.files))
    bundle = open_bundle(folder, model=release.model)
    if (bundle.bundle_id, bundle.manifest.category) != (release.bundle_id, release.category):
        msg = f'{folder}: is bundle {bundle.bundle_id} of {bundle.manifest.category}, signed was '
        raise BundleError(f'{msg}{release.bundle_id} of {release.category}')
    return bundle


def _fetch(source: Source, entry: ReleasedFile, path: Path) -> None:
    path.parent.mkdir(exist_ok=True)
    temporary = path.with_name(f'.{path.name}.part')
    checksum = hashlib.sha256()
    with temporary.open('wb') as file:

        def take(data: bytes) -> None:
            checksum.update(data)
            file.write(data)

        source.read(f'files/{entry.sha256}', take, entry.size)
    if checksum.hexdigest() != entry.sha256:
        temporary.unlink()
        msg = f'files/{entry.sha256}: is damaged, or not what was signed; publish the bundle again'
        raise BundleError(msg)
    temporary.rename(path)


def _is_whole(path: Path, entry: ReleasedFile) -> bool:
    if not path.is_file() or path.stat().st_size != entry.size:
        return False
    with path.open('rb') as file:
        return hash_file(file) == entry.sha256


def _remove_others(folder: Path, release: Release) -> None:
    """What an earlier release left there."""
    wanted = {folder / name for name in release.files}
    parents = {path.parent for path in wanted}
    for path in sorted(folder.rglob('*'), reverse=True):
        if path.is_symlink() or (path.is_file() and path not in wanted):
            path.unlink()
        elif path.is_dir() and path not in parents:
            shutil.rmtree(path)
