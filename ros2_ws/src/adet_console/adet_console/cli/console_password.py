# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""``adet console-password``."""

from __future__ import annotations

import argparse
import getpass
import os
from pathlib import Path
import sys
from typing import Any

from adet_console.security import hash_password, ROLES
from adet_core.errors import ConfigError

HELP = 'set the password of a role of the operator console'
EXAMPLE = 'adet console-password console.passwords --role operator'
_SHORTEST = 8


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument('file', type=Path, metavar='FILE', help='made if need be; mode 600')
    parser.add_argument('--role', choices=ROLES, default='operator', help='default: operator')


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Read the password from the terminal, or a line of standard input; store its hash."""
    if sys.stdin.isatty():
        password = getpass.getpass(f'password of the {arguments.role}: ')
        if password != getpass.getpass('once more: '):
            msg = 'the two passwords differ; nothing was written'
            raise ConfigError(msg)
    else:
        password = sys.stdin.readline().rstrip('\n')
    if len(password) < _SHORTEST:
        msg = f'the password has {len(password)} characters, at least {_SHORTEST} are needed'
        raise ConfigError(msg)
    path: Path = arguments.file
    kept = path.read_text('utf-8').splitlines() if path.exists() else []
    lines = [line for line in kept if not line.startswith(f'{arguments.role}:')]
    lines.append(f'{arguments.role}:{hash_password(password)}')
    partial = path.with_name(f'{path.name}.new')
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, 'w', encoding='utf-8') as file:
        file.write('\n'.join(lines) + '\n')
    partial.replace(path)
    return {'file': str(path), 'role': arguments.role}


def show(result: dict[str, Any]) -> None:
    """Print where it is."""
    print(f'{result["file"]}: password of the {result["role"]} set')
