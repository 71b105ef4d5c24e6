# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""``adet evaluate``."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
import sys
from typing import Any, TYPE_CHECKING

from adet_core.cli.arguments import add_max_megapixels, threads
from adet_core.errors import ConfigError

if TYPE_CHECKING:
    from adet_evaluation.evaluation import Evaluation

HELP = 'turn a bag, images or recorded results into figures and a report'
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
        help='rosbag2 folder or file: its images with --bundle, else the results recorded in it',
    )
    source.add_argument('--images', metavar='DIR', help='image folder or video, with --bundle')
    parser.add_argument(
        '--bundle',
        type=Path,
        action='append',
        default=[],
        metavar='B',
        help='deployed and exported bundle; several are compared on the same images',
    )
    parser.add_argument(
        '--replayed',
        type=Path,
        metavar='BAG',
        help='with --results: the bag that was inspected, for its labels and images; those '
        'without a row are counted',
    )
    parser.add_argument(
        '--topic', default='', metavar='T', help='image topic of the bag (default: the only one)'
    )
    parser.add_argument(
        '--kinds',
        default='',
        metavar='REGEX',
        help='the kind of a defect: first group of this expression in the path below anomaly/ '
        '(default: the folder there, else the words of the file name before the first digit)',
    )
    parser.add_argument(
        '--report',
        type=Path,
        metavar='DIR',
        help='folder for report.html and report.json (default: none written)',
    )
    parser.add_argument(
        '--counts',
        type=Path,
        metavar='FILE',
        help='file for how often each score came up; adet batch adds them up',
    )
    parser.add_argument(
        '--backend',
        default='auto',
        metavar='NAME',
        help='what runs the graphs: auto, tensorrt, onnxruntime, openvino and others',
    )
    parser.add_argument(
        '--threads',
        type=threads,
        default=0,
        metavar='N',
        help='threads per inference; 0: one per core',
    )
    add_max_megapixels(parser)


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Evaluate; returns the figures."""
    from adet_core.io.open_source import open_source
    from adet_core.progress import progress_bars
    from adet_evaluation.bags import BagSource
    from adet_evaluation.evaluation import (
        evaluate_bag,
        evaluate_results,
        evaluate_source,
        group_kinds,
        load_detectors,
    )
    from adet_evaluation.report import to_dict, write_report

    if arguments.images and not arguments.bundle:
        msg = '--images needs --bundle: name the bundle that is to inspect them'
        raise ConfigError(msg)
    with progress_bars() as progress:
        detectors = load_detectors(
            arguments.bundle,
            backend=arguments.backend,
            threads=arguments.threads,
            progress=progress,
        )
        if arguments.images:
            source = open_source(arguments.images)
            evaluation = evaluate_source(source, arguments.images, detectors, progress=progress)
        elif arguments.bag and detectors:
            bag = BagSource(arguments.bag, arguments.topic)
            evaluation = evaluate_source(bag, str(arguments.bag), detectors, progress=progress)
        elif arguments.bag:
            evaluation = evaluate_bag(arguments.bag, topic=arguments.topic, progress=progress)
        else:
            replayed = arguments.replayed
            evaluation = evaluate_results(
                arguments.results,
                detectors,
                replayed=BagSource(replayed, arguments.topic) if replayed else None,
                progress=progress,
            )
        if arguments.kinds:
            evaluation = group_kinds(evaluation, arguments.kinds)
        result = to_dict(evaluation)
        if arguments.counts:
            _write_counts(arguments.counts, evaluation)
        if arguments.report:
            result['report'] = str(write_report(arguments.report, evaluation))
    for warning in evaluation.warnings:
        print(f'warning: {warning}', file=sys.stderr)
    return result


def _write_counts(path: Path, evaluation: Evaluation) -> None:
    from adet_core.folder import write_atomic
    from adet_evaluation.counts import count_scores

    counts = {
        model: count_scores(one.rows, missing=one.figures.missing).to_json()
        for model, one in evaluation.models.items()
    }
    write_atomic(path, json.dumps(counts).encode())


def show(result: dict[str, Any]) -> None:
    """Print a table."""
    from rich.console import Console
    from rich.table import Table

    from adet_evaluation.report import figure_rows

    models = result['models']
    table = Table('figure', *models, title='evaluation', show_edge=False)
    for name, values in figure_rows(list(models.values())):
        table.add_row(name, *values)
    # What people call their models and folders is no markup.
    Console(markup=False, emoji=False).print(table)
    if 'report' in result:
        print(result['report'])
