# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""What ROS 2 takes for a name, checked where people write one, before anything starts."""

from __future__ import annotations

import difflib
import re
from typing import TYPE_CHECKING

from adet_core.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Collection

_PART = r'[A-Za-z_][A-Za-z0-9_]*'
_NAME = re.compile(rf'/?{_PART}(/{_PART})*')
_RULE = 'letters, digits and _ between slashes, no digit first, e.g.'


def check_namespace(text: str) -> str:
    """A namespace as ROS 2 takes it; empty and ``/`` are none.

    Raises:
        ConfigError: ROS 2 does not take it.
    """
    if ',' in text:
        msg = f'namespace is {text!r}: several need one process (adet inspect, or compose:=true)'
        raise ConfigError(msg)
    if text not in ('', '/') and not _NAME.fullmatch(text.removesuffix('/')):
        msg = f'namespace is {text!r}, expected {_RULE} /line1'
        raise ConfigError(msg)
    return text.removesuffix('/')


def check_topic(text: str) -> str:
    """The name of a topic as ROS 2 takes it.

    Raises:
        ConfigError: ROS 2 does not take it.
    """
    if not _NAME.fullmatch(text):
        msg = f'topic is {text!r}, expected {_RULE} /camera/image_raw'
        raise ConfigError(msg)
    return text


def check_known(given: Collection[str], known: Collection[str], what: str) -> None:
    """Check that names are among those there are.

    Raises:
        ConfigError: One is not; says which is closest.
    """
    for name in given:
        if name not in known:
            closest = difflib.get_close_matches(name, known, 1)
            hint = f'did you mean {closest[0]}?' if closest else f'known: {", ".join(known)}'
            raise ConfigError(f'unknown {what} {name!r}; {hint}')
