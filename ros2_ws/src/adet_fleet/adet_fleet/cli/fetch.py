# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""``adet fetch``."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import Any

from adet_core.cli.arguments import add_models_root
from adet_core.errors import ConfigError

HELP = 'take a published bundle into service, if the right key signed it and its graph works here'
EXAMPLE = 'adet fetch s3://fleet/bundles/padim/plate/latest.json --key fleet.key.pub'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        'release',
        nargs='?',
        metavar='URL',
        help='file that adet publish names; not for --rollback',
    )
    parser.add_argument(
        '--key', type=Path, metavar='FILE', help='public keys of the owner, in PEM'
    )
    add_models_root(parser)
    parser.add_argument(
        '--allow-older',
        action='store_true',
        help='take a release that is older than the last one, or was rolled back here',
    )
    parser.add_argument(
        '--rollback', metavar='M', help='put the bundle of model M before the last release back'
    )


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Fetch, check, replace; returns the state of the robot."""
    from adet_core.progress import progress_bars
    from adet_fleet.fetch import fetch_release, split_address
    from adet_fleet.install import Robot
    from adet_fleet.keys import TrustedKeys

    robot = Robot(arguments.models_root)
    if arguments.rollback:
        return {'model': arguments.rollback, **asdict(robot.rollback(arguments.rollback))}
    if not arguments.release or not arguments.key:
        msg = 'adet fetch needs the URL of a release and --key FILE, or --rollback M'
        raise ConfigError(msg)
    source, name = split_address(arguments.release)
    release = fetch_release(source, name, TrustedKeys(arguments.key), arguments.release)
    with progress_bars() as progress:
        state = robot.install(
            source, release, allow_older=arguments.allow_older, progress=progress
        )
    return {'model': release.model, **asdict(state)}


def show(result: dict[str, Any]) -> None:
    """Print what is in service now."""
    print(f'{result["outcome"]}: bundle {result["bundle_id"]} of {result["model"]}')
    print(result['message'])
