# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""``adet keygen``."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

HELP = 'make the pair of keys that bundles are published and fetched with'
EXAMPLE = 'adet keygen fleet.key'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        'file', type=Path, metavar='FILE', help='private key, mode 600; the public one is FILE.pub'
    )


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Make them; returns the two files."""
    from adet_fleet.keys import make_keys

    public = make_keys(arguments.file)
    return {'private_key': str(arguments.file), 'public_key': str(public)}


def show(result: dict[str, Any]) -> None:
    """Print what to do with them."""
    print(f'{result["private_key"]}: signs what you publish; keep it off the robots')
    print(f'{result["public_key"]}: copy it to every robot')
