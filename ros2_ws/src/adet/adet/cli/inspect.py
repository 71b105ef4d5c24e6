# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""``adet inspect``: the graph of ``inspect.launch.py`` in one process."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from adet.launch_options import InspectOptions
from adet.parameters import default_text, from_texts, options_of
from adet.run_summary import fault_of
from adet_core.cli.next_command import next_command
from adet_core.errors import IncompleteError

HELP = 'inspect images through the ROS graph, in one process'
EXAMPLE = 'adet inspect --model padim --source data/test/VisA_pipe_fryum --output-dir output'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare one option for each of the graph's."""
    for spec in options_of(InspectOptions):
        flag, default = f'--{spec.name.replace("_", "-")}', default_text(spec)
        description = spec.metadata['description'].replace('%', '%%')
        if spec.type == 'bool':
            parser.add_argument(flag, action='store_const', const='true', help=description)
            continue
        if default not in (None, ''):
            description += f' (default: {default})'
        parser.add_argument(
            flag, metavar=spec.name.upper(), required=default is None, help=description
        )


def options_from(arguments: argparse.Namespace) -> InspectOptions:
    """What the command line chose.

    Raises:
        ConfigError: A value is not one that the option takes.
    """
    given = {spec.name: getattr(arguments, spec.name) for spec in options_of(InspectOptions)}
    return from_texts(InspectOptions, {name: t for name, t in given.items() if t is not None})


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Inspect; returns what was recorded, per model.

    Raises:
        IncompleteError: Images were lost.
    """
    options = options_from(arguments)
    from adet import environment
    from adet.companions import beside, console_of
    from adet.graph import bundle_folders
    from adet.in_process import inspect

    # Unless the user's own environment says otherwise, the images stay on this machine.
    environment.stay_on_this_machine()
    with beside([console_of(options)] if options.console else []):
        done = inspect(options)
    result = {
        **done,
        'next': next_command(
            'evaluate',
            results=[figures['results'] for figures in done['models'].values()],
            bundle=list(bundle_folders(options).values()),
            report=Path(options.output_dir) / 'report',
        ),
    }
    if fault := fault_of(done):
        raise IncompleteError(fault, result)
    return result


def show(result: dict[str, Any]) -> None:
    """Print what was recorded."""
    of = '' if result['expected'] is None else f' of {result["expected"]} images'
    for model, figures in result['models'].items():
        print(
            f'{model}: {figures["rows"]} rows{of}, {figures["anomalous"]} anomalous, '
            f'{figures["missing"]} not inspected'
        )
        if figures['rows'] > figures['missing']:
            latency = figures['latency_ms']
            print(f'  latency p50 {latency["p50"]:.1f} ms, p95 {latency["p95"]:.1f} ms')
        print(f'  {figures["results"]}')
    for path in result['earlier_results']:
        print(f'earlier results are now {path}')
    print(f'next: {result["next"]}')
