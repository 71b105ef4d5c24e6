# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Options that several commands share, spelled the same in all of them."""

from __future__ import annotations

import argparse
from pathlib import Path

from adet_core.models.names import DEFAULT_MODEL, FOLDERS

MOST_THREADS = 1024
_MOST = 10**9


def add_models_root(parser: argparse.ArgumentParser) -> None:
    """Declare ``--models-root``."""
    parser.add_argument(
        '--models-root',
        type=Path,
        default=Path('models'),
        metavar='DIR',
        help='folder of the models (default: %(default)s)',
    )


def add_model(parser: argparse.ArgumentParser) -> None:
    """Declare ``--model``; which names are known is for the command to say."""
    parser.add_argument(
        '--model',
        default=DEFAULT_MODEL,
        metavar='M',
        help=f'{", ".join(FOLDERS)}, or one that was added (default: %(default)s)',
    )


def add_max_megapixels(parser: argparse.ArgumentParser) -> None:
    """Declare ``--max-megapixels``; the command ``adet`` itself sees to it."""
    parser.add_argument(
        '--max-megapixels',
        metavar='M',
        help='largest image that is read, in millions of pixels (default: what '
        'ADET_MAX_MEGAPIXELS says, or 200)',
    )


def count(text: str) -> int:
    """An argument that is a number of things: 0 or more.

    Raises:
        argparse.ArgumentTypeError: It is something else.
    """
    return _number(text, _MOST, 'a count (0 or more)')


def threads(text: str) -> int:
    """An argument that is a number of threads; 0 is one per core.

    Raises:
        argparse.ArgumentTypeError: It is something else.
    """
    return _number(text, MOST_THREADS, f'a number of threads (0 to {MOST_THREADS})')


def _number(text: str, most: int, what: str) -> int:
    # The length first: Python refuses to read thousands of digits in a way of its own.
    if not text.isdecimal() or len(text) > len(str(most)) or int(text) > most:
        msg = f'{text!r:.40} is not {what}'
        raise argparse.ArgumentTypeError(msg)
    return int(text)
