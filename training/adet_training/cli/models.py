# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""``adet models``: which models can be trained, and their hyper-parameters."""

from __future__ import annotations

import argparse
from typing import Any

HELP = 'list the models that can be trained, or the hyper-parameters of one'
EXAMPLE = 'adet models padim'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        'model', nargs='?', metavar='MODEL', help='list its hyper-parameters (default: all models)'
    )


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """List; returns names, or hyper-parameters with type, default and meaning.

    Raises:
        ConfigError: There is no such model.
    """
    from adet_core.models.names import FOLDERS
    from adet_training.models import check_model, known_models, load_adapter

    if arguments.model is None:
        known = known_models()
        return {
            'models': [
                *(name for name in known if name in FOLDERS),
                *(name for name in known if name not in FOLDERS),
            ]
        }
    check_model(arguments.model)
    from adet_core.progress import progress_bars
    from adet_training.cli.loading import loading_libraries
    from adet_training.describe import describe_parameters
    from adet_training.quiet import quiet_libraries

    with progress_bars() as progress, quiet_libraries(), loading_libraries(progress):
        adapter = load_adapter(arguments.model)
    return {
        'model': arguments.model,
        'parameters': [one._asdict() for one in describe_parameters(adapter.parameters)],
    }


def show(result: dict[str, Any]) -> None:
    """Print a line for each."""
    if 'models' in result:
        print('\n'.join(result['models']))
        print('hyper-parameters: adet models MODEL')
        return
    from adet_training.describe import Described, described_lines

    parameters = [Described(**one) for one in result['parameters']]
    print('\n'.join(described_lines(parameters)))
    print(f'give them with: adet train --model {result["model"]} --set KEY=VALUE')
