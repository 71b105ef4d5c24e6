# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Paths as people and messages write them."""

from __future__ import annotations

from collections.abc import Iterable
import os
from pathlib import Path

from adet_core.errors import ConfigError


def user_path(text: str | Path, name: str) -> Path:
    """A path that somebody wrote, with ``~`` for a home folder.

    Args:
        text: What was written.
        name: Of the option, parameter or field, for the message.

    Raises:
        ConfigError: There is no such home folder, or no path can be written so.
    """
    shown = f'{name} is {str(text)!a:.200}'
    try:
        path = Path(text).expanduser()
        # What the system calls would refuse: zero bytes, and halves of UTF-16 pairs.
        if b'\0' in os.fsencode(path):
            raise ConfigError(f'{shown}, which holds a zero byte; write another path')
    except UnicodeEncodeError:
        raise ConfigError(f'{shown}, which cannot be encoded; write another path') from None
    except RuntimeError:
        msg = f'{shown}: that home folder is not known here; write the whole path, or set HOME'
        raise ConfigError(msg) from None
    return path


def check_inside(paths: Iterable[Path], root: Path, name: str, limit: str) -> None:
    """Check that paths lie inside a folder, wherever links on the way lead.

    Args:
        paths: A folder from a message, say, and all files that would be read in it.
        root: The folder that they must not leave.
        name: Of the message's field, for the message.
        limit: Of the parameter that ``root`` comes from.

    Raises:
        ConfigError: Names the first that lies elsewhere.
    """
    real_root = root.resolve()
    for path in paths:
        try:
            is_inside = path.resolve().is_relative_to(real_root)
        except (OSError, RuntimeError):
            # Links in a circle.
            is_inside = False
        if not is_inside:
            msg = f'{name} is {path}, which is not inside {real_root} (parameter {limit})'
            raise ConfigError(msg)
