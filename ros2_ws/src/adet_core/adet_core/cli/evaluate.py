# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""``adet evaluate``."""

from __future__ import annotations

import argparse
from dataclasses import asdict
import json
from pathlib import Path
from typing import Any

HELP = 'turn recorded results into figures'
EXAMPLE = 'adet evaluate --results output/result_padim.csv --report output/report'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        '--results', type=Path, required=True, metavar='CSV', help='what csv_recorder wrote'
    )
    parser.add_argument(
        '--report', type=Path, metavar='DIR', help='folder for report.json (default: none written)'
    )


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Evaluate; returns the figures."""
    from adet_core.bundle import write_atomic
    from adet_core.evaluation import evaluate
    from adet_core.records import read_records

    result = asdict(evaluate(read_records(arguments.results)))
    if arguments.report:
        text = json.dumps(result, indent=2, allow_nan=False) + '\n'
        write_atomic(arguments.report / 'report.json', text.encode())
    return result


def show(result: dict[str, Any]) -> None:
    """Print a table."""
    from rich.console import Console
    from rich.table import Table

    table = Table('figure', 'value', title='evaluation', show_edge=False)
    latency = result['latency_ms']
    for name, value in result.items():
        if name == 'uncertain':
            # Most bundles have no uncertain band.
            if value:
                table.add_row(name, f'{value} ({value / result["images"]:.1%})')
        elif name != 'latency_ms':
            table.add_row(name.replace('_', ' '), _text(value))
    for name, value in latency.items():
        table.add_row(f'latency {name}', f'{value:.1f} ms')
    Console().print(table)


def _text(value: float | None) -> str:
    if value is None:
        return 'needs labels'
    return str(value) if isinstance(value, int) else f'{value:.3f}'
