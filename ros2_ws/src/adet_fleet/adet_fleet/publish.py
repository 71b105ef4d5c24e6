# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Putting a bundle where robots find it."""

from __future__ import annotations

from pathlib import Path
import tempfile
import time

from adet_core.bundle import copy_bundle, copy_engine, open_bundle
from adet_core.bundle.reader import hash_file
from adet_core.errors import BundleError
from adet_core.progress import ProgressCallback, silent
from adet_core.storage import Storage
from adet_fleet.keys import Signer
from adet_fleet.release import Release, RELEASE_FILE, ReleasedFile, sign_release


def publish(
    folder: Path, to: str, signer: Signer, *, progress: ProgressCallback = silent
) -> tuple[Release, str]:
    """Publish a bundle with its graph, as ``adet deploy`` would put it on a robot.

    Files are stored under their sha256, and the signed release last: a robot sees the old release
    or the whole new one, and what is there already is not sent again.

    Args:
        folder: The bundle.
        to: Folder, as fsspec writes it.
        signer: The private key.
        progress: Told the files.

    Returns:
        The release, and the address of its file.

    Raises:
        BundleError: The bundle is damaged, or has no graph.
        ConfigError: The address cannot be used here.
        StorageError: It cannot be written.
    """
    bundle, storage = open_bundle(folder), Storage(to)
    with tempfile.TemporaryDirectory(prefix='adet-publish-') as scratch:
        # Every checksum is verified on the way, and a plan of this machine left out.
        copied = copy_bundle(bundle, Path(scratch) / 'bundle')
        if not copy_engine(bundle, copied):
            msg = f'{folder}: has no graph for robots; run: adet export {folder}'
            raise BundleError(msg)
        paths = sorted(path for path in copied.folder.rglob('*') if path.is_file())
        files = {
            path.relative_to(copied.folder).as_posix(): _entry(path)
            for path in paths
            # Locks and the like are no part of a bundle.
            if not path.name.startswith('.')
        }
        manifest = bundle.manifest
        release = Release(
            model=manifest.model,
            category=manifest.category,
            bundle_id=copied.bundle_id,
            number=time.time_ns(),
            files=files,
        )
        home = f'{manifest.model}/{manifest.category}'
        for done, (name, entry) in enumerate(files.items(), start=1):
            target = f'{home}/files/{entry.sha256}'
            if not storage.holds(target, entry.size):
                storage.write(copied.folder / name, target)
            progress('publishing', done, len(files))
        signed = Path(scratch) / 'release.json'
        signed.write_bytes(sign_release(release, signer))
        storage.write(signed, f'{home}/{release.bundle_id}.json')
        storage.write(signed, f'{home}/{RELEASE_FILE}')
    return release, f'{storage.url}/{home}/{RELEASE_FILE}'


def _entry(path: Path) -> ReleasedFile:
    with path.open('rb') as file:
        return ReleasedFile(hash_file(file), path.stat().st_size)
