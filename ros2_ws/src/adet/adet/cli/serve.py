# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""``adet serve``: an inspection, the retrain server and the console in one go."""

from __future__ import annotations

import argparse
from typing import Any

from adet.cli import inspect as inspect_command
from adet.companions import retrain_server_of

HELP = 'inspect, with retraining and the console in a browser, in one go'
EXAMPLE = 'adet serve --model padim --source camera:0 --output-dir output'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``adet inspect``, and what to leave out."""
    inspect_command.add_arguments(parser)
    parser.add_argument(
        '--no-retrain', action='store_true', help='leave out the server of retrainings'
    )
    parser.add_argument('--no-console', action='store_true', help='leave out the console')


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Serve until the source ends, or until interrupted; returns what ``adet inspect`` does.

    Raises:
        IncompleteError: Images were lost.
    """
    arguments.console = None if arguments.no_console else 'true'
    options = inspect_command.options_from(arguments)
    companions = [] if arguments.no_retrain else [retrain_server_of(options)]
    return inspect_command.run(arguments, companions)


def show(result: dict[str, Any]) -> None:
    """Print what was recorded."""
    inspect_command.show(result)
