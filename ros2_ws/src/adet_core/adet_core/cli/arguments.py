# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Options that several commands share, spelled the same in all of them."""

from __future__ import annotations

import argparse
from pathlib import Path

from adet_core.models.names import DEFAULT_MODEL, FOLDERS


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


def count(text: str) -> int:
    """An argument that is a number of things: 0 or more.

    Raises:
        argparse.ArgumentTypeError: It is something else.
    """
    if not text.isdigit():
        msg = f'{text!r} is not a count (0 or more)'
        raise argparse.ArgumentTypeError(msg)
    return int(text)
