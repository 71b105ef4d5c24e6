# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""How large an image may be, whether it comes as a file, in a message or in a bag."""

from __future__ import annotations

import os

from adet_core.errors import ConfigError, ImageError

LIMIT_VARIABLE = 'ADET_MAX_MEGAPIXELS'
"""Name of the environment variable that sets the limit, in millions of pixels."""
_DEFAULT_MEGAPIXELS = 200.0


def max_pixels() -> int:
    """The most pixels that an image may have: 200 million, or what the environment says.

    Raises:
        ConfigError: ``ADET_MAX_MEGAPIXELS`` is no positive number.
    """
    text = os.environ.get(LIMIT_VARIABLE, '')
    try:
        megapixels = float(text) if text else _DEFAULT_MEGAPIXELS
    except ValueError:
        megapixels = 0.0
    if not 0 < megapixels < 1e6:
        msg = f'{LIMIT_VARIABLE} is {text!r}, expected a number of megapixels'
        raise ConfigError(msg)
    return int(megapixels * 1e6)


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
            f'raise {LIMIT_VARIABLE} if it is meant to be so large'
        )
        raise ImageError(msg)
