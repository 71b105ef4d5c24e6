# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""``adet inspect``: the graph of ``inspect.launch.py`` in one process."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
import sys
from typing import Any, TYPE_CHECKING

from adet.launch_options import InspectOptions
from adet.parameters import default_text, from_texts, options_of
from adet.run_summary import fault_of
from adet_core.cli.next_command import next_command
from adet_core.errors import IncompleteError
from adet_core.records import read_records

if TYPE_CHECKING:
    from adet.companions import Companion

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


def run(arguments: argparse.Namespace, companions: Sequence[Companion] = ()) -> dict[str, Any]:
    """Inspect; returns what was recorded, per model.

    Args:
        arguments: Of the command line.
        companions: What runs beside the inspection, but for the console.

    Raises:
        IncompleteError: Images were lost.
    """
    options = options_from(arguments)
    from adet import environment
    from adet.companions import console_of
    from adet.graph import cameras
    from adet.in_process import inspect, result_paths
    from adet.live_view import live_view

    # Unless the user's own environment says otherwise, the images stay on this machine.
    environment.stay_on_this_machine()
    wanted = [*companions, *([console_of(options)] if options.console else [])]
    with live_view(wanted=not arguments.json) as view:
        try:
            done = inspect(options, view, wanted)
        except KeyboardInterrupt:
            paths = [*result_paths(cameras(options)).values()]
            if any(path.exists() and any(read_records(path)) for path in paths):
                following = _next(options, paths)
                print(f'the rows so far are kept; next: {following}', file=sys.stderr)
            raise
    paths = [Path(figures['results']) for figures in done['models'].values()]
    result = {**done, 'next': _next(options, paths)}
    if fault := fault_of(done):
        raise IncompleteError(fault, result)
    return result


def _next(options: InspectOptions, results: Sequence[Path]) -> str:
    from adet.graph import bundle_folders

    return next_command(
        'evaluate',
        results=list(results),
        bundle=[folder for _, folder in bundle_folders(options)],
        report=Path(options.output_dir) / 'report',
    )


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
