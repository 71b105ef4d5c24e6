# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""``adet threshold``."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any, TYPE_CHECKING

if TYPE_CHECKING:
    from adet_core.objectives import Objective

HELP = 'show what the threshold of a bundle does, and choose another'
EXAMPLE = 'adet threshold models/PaDiM --target-recall 0.95 --apply'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument('bundle', type=Path, metavar='BUNDLE', help='bundle folder')
    one = parser.add_mutually_exclusive_group()
    one.add_argument(
        '--false-reject-rate',
        type=_share,
        metavar='R',
        help='share of good parts that may be rejected',
    )
    one.add_argument(
        '--target-recall', type=_share, metavar='R', help='share of known anomalies to catch'
    )
    one.add_argument('--cost-miss', type=_cost, metavar='C', help='cost of an anomaly that passes')
    parser.add_argument(
        '--cost-reject',
        type=_cost,
        default=1.0,
        metavar='C',
        help='cost of a good part that is rejected, with --cost-miss (default: %(default)g)',
    )
    parser.add_argument(
        '--apply',
        action='store_true',
        help='put the threshold into service; adet retrain BUNDLE --rollback takes it back',
    )


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Show, choose and apply; returns what the threshold does to the scores of the bundle."""
    from adet_core.bundle import only_retraining, open_bundle
    from adet_core.errors import ConfigError
    from adet_core.set_threshold import apply, choose, describe, trade_offs

    bundle = open_bundle(arguments.bundle, in_service=True)
    objective = _objective(arguments)
    if arguments.apply and objective is None:
        msg = '--apply needs --false-reject-rate, --target-recall or --cost-miss'
        raise ConfigError(msg)
    kept = bundle.manifest.score_range
    result: dict[str, Any] = {
        'present': describe(bundle.manifest.image_threshold.value, kept),
        'chosen': None,
        'applied': arguments.apply,
        'trade_offs': trade_offs(bundle),
    }
    if objective is not None:
        chosen = choose(bundle, objective)
        result['chosen'] = {**describe(chosen.value, kept), 'detail': chosen.detail}
        if arguments.apply:
            with only_retraining(arguments.bundle):
                bundle = apply(bundle, chosen, objective)
    return {'bundle_dir': str(bundle.folder), 'bundle_id': bundle.bundle_id, **result}


def show(result: dict[str, Any]) -> None:
    """Print the threshold in service, the trade-offs, and the chosen one."""
    print(f'in service: {result["present"]["threshold"]:.4g}, {result["present"]["text"]}')
    for row in result['trade_offs']:
        rate = f'{100 * row["false_reject_rate"]:g}%'
        print(f'false-reject rate {rate:>5}: {row["threshold"]:.4g}, {row["text"]}')
    chosen = result['chosen']
    if chosen:
        print(f'chosen: {chosen["threshold"]:.4g} ({chosen["detail"]})')
        print(f'on the kept scores: {chosen["text"]}')
        if result['applied']:
            print(f'in service now, bundle {result["bundle_id"]}: {result["bundle_dir"]}')
        else:
            print('put it into service with --apply')


def _objective(arguments: argparse.Namespace) -> Objective | None:
    from adet_core.objectives import Objective

    if arguments.false_reject_rate is not None:
        return Objective(false_reject_rate=arguments.false_reject_rate)
    if arguments.target_recall is not None:
        return Objective(kind='recall', target_recall=arguments.target_recall)
    if arguments.cost_miss is not None:
        return Objective(
            kind='cost', cost_miss=arguments.cost_miss, cost_reject=arguments.cost_reject
        )
    return None


def _share(text: str) -> float:
    value = _number(text)
    if not 0 < value < 1:
        msg = f'{text!r} is not between 0 and 1'
        raise argparse.ArgumentTypeError(msg)
    return value


def _cost(text: str) -> float:
    value = _number(text)
    if not 0 < value < 1e12:
        msg = f'{text!r} is not a cost above 0'
        raise argparse.ArgumentTypeError(msg)
    return value


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        msg = f'{text!r} is not a number'
        raise argparse.ArgumentTypeError(msg) from None
