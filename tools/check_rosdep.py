#!/usr/bin/env python3
# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Whether rosdep and bloom find everything the packages depend on, by a checkout of ros/rosdistro.

    git clone --depth 1 https://github.com/ros/rosdistro
    tools/check_rosdep.py rosdistro

rosdep itself answers, for every distribution and every Ubuntu release that it is made for. A key
that leads to pip counts as missing: a released package cannot depend on it.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
import shutil
import subprocess
import sys
import tempfile
from typing import NamedTuple

import yaml

_WORKSPACE = Path(__file__).parents[1] / 'ros2_ws' / 'src'
_DISTRIBUTIONS = ('humble', 'jazzy', 'kilted')


class Resolution(NamedTuple):
    """What rosdep makes of a key.

    Attributes:
        installer: ``apt`` or another; empty if there is no rule.
        packages: What it would install.
    """

    installer: str
    packages: str


def main() -> int:
    """Check; returns 1 if a key does not resolve, and for unusable arguments."""
    parser = argparse.ArgumentParser(description=str(__doc__).partition('\n')[0])
    parser.add_argument('rosdistro', type=Path, help='checkout of github.com/ros/rosdistro')
    parser.add_argument('--workspace', type=Path, default=_WORKSPACE, help='holds the packages')
    parser.add_argument('--distribution', nargs='+', default=list(_DISTRIBUTIONS), metavar='NAME')
    arguments = parser.parse_args()
    if shutil.which('rosdep') is None:
        return _fail('rosdep not found: pip install rosdep')
    missing = 0
    for name in arguments.distribution:
        file = arguments.rosdistro / name / 'distribution.yaml'
        if not file.is_file():
            return _fail(f'{file}: no such file: name a checkout of github.com/ros/rosdistro')
        releases = yaml.safe_load(file.read_text('utf-8'))['release_platforms']['ubuntu']
        for release in releases:
            resolved = resolve(arguments.rosdistro, arguments.workspace, name, release)
            wrong = {key: found for key, found in resolved.items() if found.installer != 'apt'}
            print(f'{name} on {release}: {len(resolved)} keys, {len(wrong)} not from apt')
            for key, found in wrong.items():
                reason = f'only from {found.installer}' if found.installer else 'no rule'
                print(f'  {key}: {reason}')
            missing += len(wrong)
    return int(missing > 0)


def resolve(
    checkout: Path, workspace: Path, distribution: str, release: str
) -> dict[str, Resolution]:
    """Every key of the packages below a folder, as rosdep resolves it.

    Args:
        checkout: Of ros/rosdistro; nothing else is asked.
        workspace: Holds the packages; they may depend on each other.
        distribution: E.g. ``jazzy``.
        release: Code name of the Ubuntu release, e.g. ``noble``.
    """
    with tempfile.TemporaryDirectory() as scratch:
        sources = Path(scratch, 'sources')
        sources.mkdir()
        rules = sorted(checkout.resolve().glob('rosdep/*.yaml'))
        Path(sources, '20-checkout.list').write_text(
            ''.join(f'yaml {rule.as_uri()}\n' for rule in rules if 'homebrew' not in rule.name),
            'utf-8',
        )
        # A ROS that was sourced would count as part of the workspace.
        sourced = ('AMENT_PREFIX_PATH', 'CMAKE_PREFIX_PATH', 'ROS_PACKAGE_PATH')
        environment = {
            **{name: value for name, value in os.environ.items() if name not in sourced},
            'ROSDEP_SOURCE_PATH': str(sources),
            'ROSDISTRO_INDEX_URL': (checkout.resolve() / 'index-v4.yaml').as_uri(),
            'ROS_HOME': scratch,
        }

        def rosdep(*words: str, check: bool = True) -> str:
            done = subprocess.run(  # noqa: S603 - no shell
                ['rosdep', *words, '--rosdistro', distribution],  # noqa: S607 - the caller's own
                env=environment,
                capture_output=True,
                text=True,
                check=False,
            )
            if check and done.returncode:
                raise SystemExit(
                    _fail(f'rosdep {words[0]}: {(done.stderr or done.stdout).strip()}')
                )
            return done.stdout

        rosdep('update')
        keys = sorted(rosdep('keys', '--from-paths', str(workspace), '--ignore-src').split())
        # It exits with 1 where one key has no rule, and resolves the others all the same.
        told = rosdep('resolve', *keys, '--os', f'ubuntu:{release}', check=False)
    resolved = dict.fromkeys(keys, Resolution('', ''))
    for block in told.split('#ROSDEP[')[1:]:
        key, *lines = (part for part in block.replace(']', '\n', 1).splitlines() if part)
        if lines:
            resolved[key] = Resolution(lines[0].lstrip('#'), ' '.join(lines[1:]))
    return resolved


def _fail(message: str) -> int:
    print(f'error: {" ".join(message.splitlines())}', file=sys.stderr)
    return 1


if __name__ == '__main__':
    sys.exit(main())
