# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""``adet publish``."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from adet_core.cli.next_command import next_command

HELP = 'put a bundle with its graph where robots fetch it, signed'
EXAMPLE = 'adet publish models/PaDiM --to s3://fleet/bundles --key fleet.key'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument('bundle', type=Path, metavar='BUNDLE', help='bundle folder')
    parser.add_argument(
        '--to', required=True, metavar='URL', help='folder: a path, s3://, https:// or another'
    )
    parser.add_argument(
        '--key', type=Path, required=True, metavar='FILE', help='private key of adet keygen'
    )


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Publish; returns the address of the release."""
    from adet_core.progress import progress_bars
    from adet_fleet.keys import Signer
    from adet_fleet.publish import publish

    with progress_bars() as progress:
        release, address = publish(
            arguments.bundle, arguments.to, Signer(arguments.key), progress=progress
        )
    return {
        'release': address,
        'model': release.model,
        'category': release.category,
        'bundle_id': release.bundle_id,
        'number': release.number,
        'bytes': sum(entry.size for entry in release.files.values()),
        'next': next_command('fetch', address, key=f'{arguments.key}.pub'),
    }


def show(result: dict[str, Any]) -> None:
    """Print where it is."""
    what = f'{result["model"]} for {result["category"]}, bundle {result["bundle_id"]}'
    print(f'published {what}, {result["bytes"] / 1e6:.1f} MB: {result["release"]}')
    print(f'next, on a robot: {result["next"]}')
