# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""The one writer of bundles."""

from __future__ import annotations

from collections.abc import Mapping
import dataclasses
from pathlib import Path
import shutil
from typing import IO

from adet_core.bundle.commit import stage
from adet_core.bundle.manifest import Manifest, META_FILE
from adet_core.bundle.reader import Bundle, file_entry, open_bundle
from adet_core.errors import BundleError
from adet_core.folder import Content, open_folder


def write_bundle(folder: Path, manifest: Manifest, contents: Mapping[str, Content]) -> Bundle:
    """Write a bundle; it becomes visible whole, replacing an older one in the same folder.

    Args:
        folder: Where to put it; other files there are left alone.
        manifest: Its ``files`` are filled in here.
        contents: File names other than ``meta.json``, and what writes each.

    Returns:
        The bundle as read back.

    Raises:
        OSError: The folder cannot be written; a reader sees the old set, or the new one if the
            error came after the commit.
    """
    with open_folder(folder, make=True) as target, stage(target, contents) as staged:
        files = {name: file_entry(staged, name) for name in contents}
        meta = dataclasses.replace(manifest, files=files).to_json()
        staged.write(META_FILE, lambda file: file.write(meta))
    return open_bundle(folder)


def copy_bundle(bundle: Bundle, folder: Path) -> Bundle:
    """Copy a bundle, verifying every checksum on the way.

    Raises:
        BundleError: A file of the source is damaged, or changed while it was copied; the target
            is as it was before.
        OSError: The target cannot be written; it is as it was before.
    """

    def copier(name: str) -> Content:
        def copy(target: IO[bytes]) -> None:
            with bundle.open(name) as source:
                shutil.copyfileobj(source, target, 1 << 20)

        return copy

    contents = {name: copier(name) for name in bundle.manifest.files}
    with open_folder(folder, make=True) as target, stage(target, contents) as staged:
        for name, entry in bundle.manifest.files.items():
            if file_entry(staged, name) != entry:
                msg = f'{bundle.folder / name}: changed while it was copied; deploy again'
                raise BundleError(msg)
        staged.write(META_FILE, lambda file: file.write(bundle.meta))
    return open_bundle(folder)
