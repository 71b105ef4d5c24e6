# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""``adet runs``."""

from __future__ import annotations

import argparse
from pathlib import Path
import sys
from typing import Any

from adet_core.cli.arguments import add_models_root
from adet_core.cli.next_command import next_command
from adet_core.errors import ConfigError

HELP = 'list the trainings, on which images and with which figures, or compare two'
EXAMPLE = 'adet runs --category VisA_pipe_fryum'

_COLUMNS = ('bundle_id', 'service', 'created', 'model', 'category', 'images', 'data')


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        'runs',
        nargs='*',
        metavar='RUN',
        help='bundle ids or folders of runs to compare: prints what they do not have in common',
    )
    add_models_root(parser)
    parser.add_argument('--model', metavar='M', help='only of this model')
    parser.add_argument('--category', metavar='C', help='only of this category')
    parser.add_argument(
        '--plot', type=Path, metavar='FILE', help='write the image AUROC over time as an HTML page'
    )


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Read the runs; returns them and, of those named, what differs."""
    from adet_evaluation.runs import (
        differences,
        find_runs,
        pick,
        service_of,
        trainings,
        write_plot,
    )

    found, damaged = find_runs(
        arguments.models_root, model=arguments.model, category=arguments.category
    )
    for line in damaged:
        print(f'skipped: {line}', file=sys.stderr)
    if not trainings(found):
        raise ConfigError(f'{arguments.models_root}: no run there; train one: adet train')
    if len(arguments.runs) == 1:
        raise ConfigError(f'name two runs to compare, got {arguments.runs[0]} alone')
    chosen = [pick(found, name) for name in arguments.runs] or trainings(found)
    if arguments.plot:
        write_plot(chosen, arguments.plot)
    return {
        'runs': [{**one.to_json(), 'service': service_of(one, found)} for one in chosen],
        'differences': differences(chosen) if arguments.runs else None,
        'plot': str(arguments.plot) if arguments.plot else None,
        'next': next_command('list', models_root=arguments.models_root),
    }


def show(result: dict[str, Any]) -> None:
    """Print one table."""
    from adet_evaluation.runs import FIGURES, text

    runs, differing = result['runs'], result['differences']
    if differing is None:
        columns = [*_COLUMNS, *FIGURES[:1], *FIGURES[2:3], 'mib', 'folder']
        rows = [[_cell(one, name) for name in columns] for one in runs]
    else:
        columns = ['', *(one['bundle_id'] for one in runs)]
        rows = [[name, *map(text, values)] for name, values in differing.items()]
    widths = [max(map(len, column)) for column in zip(columns, *rows, strict=True)]
    for row in (columns, *rows):
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        print('  '.join(cells).rstrip())
    if differing == {}:
        print('the runs have everything in common that is recorded')
    if result['plot']:
        print(f'plot {result["plot"]}')
    if differing is None:
        print(f'what is deployed: {result["next"]}')


def _cell(one: dict[str, Any], name: str) -> str:
    from adet_evaluation.runs import text

    value = one[name] if name in one else one['metrics'].get(name)
    if name == 'data':
        return str(value)[:8]
    return f'{value:.1f}' if name == 'mib' else text(value)
