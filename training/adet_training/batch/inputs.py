# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""What jobs are made of: files here and elsewhere, and whether they changed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
import hashlib
import json
from pathlib import Path
from typing import Any

from adet_core import __version__
from adet_core.bundle.engine import ENGINE_FOLDER, FEATURES_FILE, GRAPH_FILE, RECORD_FILE
from adet_core.bundle.manifest import META_FILE
from adet_core.errors import ConfigError

_MAGIC = frozenset('*?[')


def expand(pattern: str) -> list[str]:
    """The files and folders that a pattern matches, sorted; an address gives addresses.

    Raises:
        ConfigError: The address needs a library that is not installed, or cannot be listed.
    """
    if '://' in pattern:
        files, path = _file_system(pattern)
        try:
            found = files.glob(path) if _MAGIC & set(path) else [path]
            return sorted(files.unstrip_protocol(one) for one in found)
        # Each of fsspec's file systems raises the errors of its own library.
        except Exception as error:  # noqa: BLE001
            msg = f'{pattern}: {error or type(error).__name__}'
            raise ConfigError(msg) from None
    place = Path(pattern).expanduser()
    if place.is_dir():
        return sorted(str(one) for one in place.iterdir() if not one.name.startswith('.'))
    if not _MAGIC & set(pattern):
        return [str(place)] if place.exists() else []
    anchor = Path(place.anchor)
    return sorted(str(one) for one in anchor.glob(str(place.relative_to(anchor))))


def copy_here(address: str, folder: Path) -> Path:
    """Copy a file or folder from elsewhere; returns where it is.

    Raises:
        ConfigError: It cannot be read.
    """
    files, path = _file_system(address)
    target = folder / path.rstrip('/').rpartition('/')[2]
    try:
        files.get(path, str(target), recursive=True)
    except Exception as error:  # noqa: BLE001
        msg = f'{address}: {error or type(error).__name__}'
        raise ConfigError(msg) from None
    return target


def fingerprint(
    command: str,
    words: Sequence[str],
    inputs: Mapping[str, Any],
    positional: Iterable[str],
) -> str:
    """A checksum of a command line and of what it reads.

    Of files here it takes name, size and time of the last change, of those elsewhere what their
    file system says of them.
    """
    category = str(inputs.get('category', ''))
    read: list[Any] = []
    for name, value in [*inputs.items(), *(('', one) for one in positional)]:
        for one in value if isinstance(value, list) else [value]:
            if name == 'data-root' and category:
                # Others of its categories do not matter.
                for part in ('train', 'test'):
                    read += _state(str(Path(str(one), part, category)))
            else:
                read += _state(str(one))
    text = json.dumps([__version__, command, list(words), read])
    return hashlib.sha256(text.encode()).hexdigest()


def _state(text: str) -> Iterator[Any]:
    if '://' in text:
        files, path = _file_system(text)
        try:
            yield [text, files.ukey(path)]
        except FileNotFoundError:
            yield [text, '']
        return
    place = Path(text).expanduser()
    if place.is_dir():
        for one in sorted(place.rglob('*')):
            # Locks and what is being written.
            is_hidden = any(part.startswith('.') for part in one.relative_to(place).parts)
            if one.is_file() and not is_hidden and not _is_made_here(one):
                status = one.stat()
                yield [str(one.relative_to(place)), status.st_size, status.st_mtime_ns]
    elif place.is_file():
        status = place.stat()
        yield [place.name, status.st_size, status.st_mtime_ns]


def _is_made_here(path: Path) -> bool:
    """Whether this machine made a file of a bundle's graph, which running the bundle may do."""
    folder = path.parent
    is_engine = folder.name == ENGINE_FOLDER and (folder.parent / META_FILE).is_file()
    return is_engine and path.name not in (GRAPH_FILE, FEATURES_FILE, RECORD_FILE)


def _file_system(address: str) -> tuple[Any, str]:
    try:
        from fsspec.core import url_to_fs

        files, path = url_to_fs(address)
    except (ImportError, ValueError) as error:
        kind = address.partition('://')[0]
        msg = f"{address}: {error}; pip install 'fsspec[{kind}]'"
        raise ConfigError(msg) from None
    return files, path
