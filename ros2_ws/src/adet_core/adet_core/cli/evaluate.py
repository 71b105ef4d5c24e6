# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""``adet evaluate``."""

from __future__ import annotations

import argparse
from pathlib import Path
import sys
from typing import Any

from adet_core.cli.arguments import count
from adet_core.errors import ConfigError

HELP = 'turn a bag, pictures or recorded results into figures and a report'
EXAMPLE = 'adet evaluate --bag drive.mcap --bundle models/PaDiM --report output/report'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument(
        '--results',
        type=Path,
        action='append',
        metavar='CSV',
        help='what csv_recorder wrote; may be given several times',
    )
    source.add_argument(
        '--bag',
        type=Path,
        metavar='BAG',
        help='rosbag2 folder or file: its pictures with --bundle, else the results recorded in it',
    )
    source.add_argument('--images', metavar='DIR', help='picture folder or video, with --bundle')
    parser.add_argument(
        '--bundle',
        type=Path,
        action='append',
        default=[],
        metavar='B',
        help='deployed and exported bundle; several are compared on the same pictures',
    )
    parser.add_argument(
        '--replayed',
        type=Path,
        metavar='BAG',
        help='with --results: the bag that was inspected, for its labels and pictures; those '
        'without a row are counted',
    )
    parser.add_argument(
        '--topic', default='', metavar='T', help='pictures of the bag (default: the only topic)'
    )
    parser.add_argument(
        '--report',
        type=Path,
        metavar='DIR',
        help='folder for report.html and report.json (default: none written)',
    )
    parser.add_argument(
        '--backend',
        default='auto',
        metavar='NAME',
        help='what runs the graphs: auto, onnxruntime, tensorrt',
    )
    parser.add_argument(
        '--threads', type=count, default=0, metavar='N', help='of an inference; 0: one per core'
    )


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Evaluate; returns the figures."""
    from adet_core.any_source import open_source
    from adet_core.bags import BagSource
    from adet_core.progress import progress_bars
    from adet_core.report import to_dict, write_report
    from adet_core.study import load_detectors, study_bag, study_results, study_source

    if arguments.images and not arguments.bundle:
        msg = '--images needs --bundle: name the bundle that is to inspect them'
        raise ConfigError(msg)
    with progress_bars() as report:
        detectors = load_detectors(
            arguments.bundle,
            backend=arguments.backend,
            threads=arguments.threads,
            report=report,
        )
        if arguments.images:
            source = open_source(arguments.images)
            study = study_source(source, arguments.images, detectors, report=report)
        elif arguments.bag and detectors:
            bag = BagSource(arguments.bag, arguments.topic)
            study = study_source(bag, str(arguments.bag), detectors, report=report)
        elif arguments.bag:
            study = study_bag(arguments.bag, topic=arguments.topic, report=report)
        else:
            replayed = arguments.replayed
            study = study_results(
                arguments.results,
                detectors,
                replayed=BagSource(replayed, arguments.topic) if replayed else None,
                report=report,
            )
        result = to_dict(study.models, study.warnings)
        if arguments.report:
            result['report'] = str(write_report(arguments.report, study))
    for warning in study.warnings:
        print(f'warning: {warning}', file=sys.stderr)
    return result


def show(result: dict[str, Any]) -> None:
    """Print a table."""
    from rich.console import Console
    from rich.table import Table

    from adet_core.report import figure_rows

    models = result['models']
    table = Table('figure', *models, title='evaluation', show_edge=False)
    for name, values in figure_rows(list(models.values())):
        table.add_row(name, *values)
    Console().print(table)
    if 'report' in result:
        print(result['report'])
