# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""What retrain.py and convtrt.py share: the options of the tutorial, read as adet has them."""

from __future__ import annotations

import argparse
from pathlib import Path
import sys

from adet_core.errors import AdetError, ConfigError
from adet_core.models.names import FOLDERS


def parser_for(description: str) -> argparse.ArgumentParser:
    """A parser with the options that both programs have."""
    parser = argparse.ArgumentParser(description=description.partition('\n')[0])
    parser.add_argument('--model', required=True, choices=sorted(FOLDERS))
    parser.add_argument(
        '--meta_json',
        type=Path,
        help='default: models/<Model>/meta.json; its folder is the bundle',
    )
    return parser


def bundle_folder(arguments: argparse.Namespace, *files: str) -> Path:
    """The folder that the files named on the command line belong to.

    Args:
        arguments: With ``model`` and ``meta_json``.
        files: Names of the options that name other files of the bundle.

    Raises:
        ConfigError: A file lies elsewhere.
    """
    folder: Path = (
        arguments.meta_json or Path('models', FOLDERS[arguments.model], 'meta.json')
    ).parent
    for name in files:
        file = getattr(arguments, name)
        if file is not None and folder.resolve() not in file.resolve().parents:
            msg = f'--{name} {file}: not in {folder}; a bundle is one folder, with all its files'
            raise ConfigError(msg)
    return folder


def say_unused(arguments: argparse.Namespace, reasons: dict[str, str]) -> None:
    """Name the options that were given and change nothing here, each with the reason."""
    for name, reason in reasons.items():
        if getattr(arguments, name) is not None:
            print(f'note: --{name} is not used: {reason}', file=sys.stderr)


def fail(error: AdetError) -> int:
    """Print an error as adet does; returns the exit code."""
    print(f'error: {error}', file=sys.stderr)
    return 1
