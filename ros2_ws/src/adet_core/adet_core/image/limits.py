# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""How large an image may be, whether it comes as a file, in a message or in a bag."""

from __future__ import annotations

import math
import os

from adet_core.errors import ConfigError, ImageError

LIMIT_VARIABLE = 'ADET_MAX_MEGAPIXELS'
"""Name of the environment variable that sets the limit, in millions of pixels."""
_DEFAULT_MEGAPIXELS = '200'


def max_pixels() -> int:
    """The most pixels that an image may have: 200 million, or what the environment says.

    Raises:
        ConfigError: ``ADET_MAX_MEGAPIXELS`` is no positive number.
    """
    return _pixels(os.environ.get(LIMIT_VARIABLE) or _DEFAULT_MEGAPIXELS, LIMIT_VARIABLE)


def set_max_megapixels(megapixels: float | str) -> None:
    """Set the limit for this process, and for those that it starts.

    Args:
        megapixels: In millions of pixels; 0 leaves the limit as it is.

    Raises:
        ConfigError: It is no such number.
    """
    text = str(megapixels)
    if _number(text) != 0:
        _pixels(text, 'max_megapixels')
        os.environ[LIMIT_VARIABLE] = text


def _pixels(text: str, name: str) -> int:
    megapixels = _number(text)
    if not 0 < megapixels < 1e6:
        msg = f'{name} is {text!r}, expected a number of megapixels'
        raise ConfigError(msg)
    return int(megapixels * 1e6)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def check_pixels(width: int, height: int, name: str, *, decoded: int = 0) -> None:
    """Refuse an image that is too large, before anything is allocated for it.

    Args:
        width: In pixels.
        height: In pixels.
        name: Of the image, for the message.
        decoded: Pixels that a decoder allocates, if they are more.

    Raises:
        ImageError: It has more than `max_pixels`; names ``name``.
    """
    limit = max_pixels()
    if max(width * height, decoded) > limit:
        msg = (
            f'{name}: {width}x{height} pixels are more than {limit / 1e6:g} megapixels; '
            'raise max_megapixels if it is meant to be so large'
        )
        raise ImageError(msg)
