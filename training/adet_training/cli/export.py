# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""``adet export``."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from adet_core.bundle import open_bundle
from adet_core.progress import progress_bars

HELP = 'make the graph that the nodes run from a bundle, and check it'
EXAMPLE = 'adet export models/PaDiM'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument('bundle', type=Path, metavar='BUNDLE', help='a bundle folder')
    parser.add_argument(
        '--precision', choices=['fp32'], default='fp32', help='of the graph (default: %(default)s)'
    )
    parser.add_argument(
        '--onnx-only', action='store_true', help='make engine/model.onnx and no other engine'
    )


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Export; returns where the graph is and how well it agrees."""
    # Before torch is imported, which takes seconds: a wrong folder is answered at once.
    bundle = open_bundle(arguments.bundle)
    from adet_training.quiet import quiet_libraries

    with progress_bars() as report, quiet_libraries():
        from adet_training.export import export

        exported = export(bundle, report=report)
    return {
        'onnx': str(exported.path),
        'bundle_id': bundle.bundle_id,
        'precision': arguments.precision,
        'pictures': exported.parity.pictures,
        'score_difference': exported.parity.score_difference,
        'map_difference': exported.parity.map_difference,
        'tolerance': exported.parity.tolerance,
    }


def show(result: dict[str, Any]) -> None:
    """Print where the graph is and how well it agrees."""
    print(f'exported {result["onnx"]}')
    print(
        f'agrees with the trained model on {result["pictures"]} pictures: score within '
        f'{result["score_difference"]:.2g}, map within {result["map_difference"]:.2g} '
        f'(allowed {result["tolerance"]:.2g})'
    )
