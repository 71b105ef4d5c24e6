# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""``adet train``."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
import math
import sys
from typing import Any, TYPE_CHECKING

from adet_core.cli.next_command import next_command
from adet_core.errors import ConfigError
from adet_training.cli.devices import add_devices, devices_of, first_ones_progress
from adet_training.cli.loading import loading_libraries
from adet_training.cli.options import add_training, chosen_config, settings_of
from adet_training.cli.outcome import outcome_lines, outcome_of

if TYPE_CHECKING:
    from adet_core.bundle import BackboneSpec
    from adet_training.contest import Result
    from adet_training.train import Run

HELP = 'fit one model to images of good parts, test it, and write a bundle with its graph'
EXAMPLE = 'adet train --model padim --category VisA_pipe_fryum --data-root data'

# As `adet_training.contest.AUTO` and `adet_training.unfinished.AUTO`, which import torch.
_AUTO = 'auto'
_AUTO_MINUTES = 30.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add_training(parser)
    add_devices(parser)
    parser.add_argument(
        '--track',
        metavar='URI',
        help='log parameters, figures and the bundle to MLflow, e.g. sqlite:///runs.db',
    )
    parser.add_argument(
        '--max-time',
        type=_minutes,
        metavar='MINUTES',
        help='time for the steps of a model that learns by steps, or for all models of --model '
        f'auto, which recommends one of several (default: no limit; auto: {_AUTO_MINUTES:g})',
    )
    parser.add_argument(
        '--resume',
        default=_AUTO,
        metavar='auto|none|RUN_DIR',
        help='an interrupted training by steps to go on with (default: %(default)s: the newest '
        'one that was begun with the same command and images)',
    )


def _minutes(text: str) -> float:
    """A time above 0."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f'{text!r} is not a number of minutes above 0')
    return value


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Train; returns where the run is and its figures."""
    settings = settings_of(arguments, models=[_AUTO])
    devices = devices_of(arguments)
    if devices is None:
        return _train((arguments, settings))
    from adet_training.launch import run_together

    if arguments.model == _AUTO:
        msg = '--model auto trains several models, one after the other: name one for --devices'
        raise ConfigError(msg)
    # A module cannot be pickled, and is not needed.
    without = argparse.Namespace(**{**vars(arguments), 'command': None})
    return run_together(_train, (without, settings), devices)


def _train(asked: tuple[argparse.Namespace, dict[str, Any]]) -> dict[str, Any]:
    """Train, test and export in this process, or help the one that does.

    Args:
        asked: Options and hyper-parameters.

    Returns:
        As of `run`; nothing where this process helped.
    """
    arguments, settings = asked
    from adet_core.image import set_max_megapixels
    from adet_training.quiet import quiet_libraries

    if arguments.max_megapixels:
        # A process that was started for this has not been told yet.
        set_max_megapixels(arguments.max_megapixels)
    results = []
    tell = Told()
    with first_ones_progress() as progress, quiet_libraries():
        with loading_libraries(progress):
            from adet_training import contest, processes
            from adet_training.export import export
            from adet_training.track import check_tracking, track
            from adet_training.train import take_part, train
        if arguments.track:
            check_tracking()
        if arguments.model == _AUTO:
            first = contest.CANDIDATES[0].model
            config = chosen_config(arguments, settings, progress, cost_of=first)
            results = contest.hold_contest(
                config,
                max_s=60 * (arguments.max_time or _AUTO_MINUTES),
                progress=progress,
                candidates=contest.candidates_for(config.settings),
                tell=tell,
            )
            best = contest.recommend(results).run
            assert best is not None
            finished = best
        else:
            # Times that were measured decide, so only one process measures them.
            limited = _limited(arguments, settings)
            config = processes.from_first(lambda: chosen_config(arguments, limited, progress))
            if processes.rank():
                take_part(config)
                return {}
            finished = train(
                replace(config, resume=arguments.resume),
                progress=progress,
                tell=tell,
            )
            export(finished.bundle, traced=finished.traced, progress=progress)
        trained = [result.run for result in results if result.run] or [finished]
        tracked = [track(one, arguments.track) for one in trained if arguments.track]
    return {
        **summary(finished, arguments, tell),
        'mlflow_runs': tracked,
        'candidates': [_row(result) for result in results],
    }


def _limited(arguments: argparse.Namespace, settings: dict[str, Any]) -> dict[str, Any]:
    """The settings with the limit of time.

    Raises:
        adet_core.errors.ConfigError: There is one, and the model does not learn by steps.
    """
    from adet_core.errors import ConfigError
    from adet_training.models import load_adapter

    if arguments.max_time is None:
        return settings
    if 'max_minutes' not in load_adapter(arguments.model).parameters.__dataclass_fields__:
        msg = f'--max-time: {arguments.model} learns in one pass, not by steps; leave it out'
        raise ConfigError(msg)
    return {**settings, 'max_minutes': arguments.max_time}


def _row(result: Result) -> dict[str, Any]:
    """How a candidate of ``--model auto`` did."""
    run = result.run
    return {
        'model': str(result.candidate),
        'auroc': result.auroc,
        'aupro': run.bundle.manifest.metrics.get('aupro') if run else None,
        'labelled': bool(run and run.bundle.manifest.metrics),
        'ms': result.ms,
        'seconds': result.seconds,
        'run_dir': str(run.folder) if run else None,
        'reason': result.reason,
    }


class Told:
    """Prints lines for people to standard error, each once."""

    def __init__(self) -> None:
        """Have printed none."""
        self._lines: set[str] = set()

    def __call__(self, line: str) -> None:
        """Print a line, unless it was printed before."""
        if line not in self._lines:
            self._lines.add(line)
            print(line, file=sys.stderr)


def summary(finished: Run, arguments: argparse.Namespace, tell: Told) -> dict[str, Any]:
    """Where a run is and its figures; tells what makes them doubtful."""
    from adet_core.run_folders import BUNDLE_FOLDER

    for line in finished.unreadable:
        tell(f'skipped: {line}')
    for line in finished.warnings:
        tell(f'warning: {line}')
    manifest = finished.bundle.manifest
    metrics = manifest.metrics
    overlays = finished.folder / 'test_result' / 'images'
    return {
        'run_dir': str(finished.folder),
        'bundle_dir': str(finished.folder / BUNDLE_FOLDER),
        'bundle_id': finished.bundle.bundle_id,
        'threshold': manifest.image_threshold.value,
        'threshold_method': manifest.image_threshold.method,
        'threshold_detail': manifest.image_threshold.detail,
        'uncertain_from': manifest.image_threshold.uncertain_from,
        'image_auroc': metrics.get('image_auroc'),
        'pixel_auroc': metrics.get('pixel_auroc'),
        'aupro': metrics.get('aupro'),
        'image_f1': metrics.get('image_f1'),
        'outcome': outcome_of(finished.bundle, learned=finished.learned_tests),
        'overlays': str(overlays) if overlays.is_dir() else None,
        'backbone': backbone_text(manifest.backbone),
        'fit_seconds': finished.fit_seconds,
        'skipped': len(finished.unreadable),
        'unmatched_masks': finished.unmatched_masks,
        'unfit_masks': finished.unfit_masks,
        'warnings': list(finished.warnings),
        'mlflow_runs': [],
        'candidates': [],
        'next': next_command('deploy', finished.folder, carry=arguments),
    }


def backbone_text(backbone: BackboneSpec | None) -> str:
    """Which network a model begins with, and where its weights came from."""
    if backbone is None:
        return ''
    return f'{backbone.name}, {backbone.weights} weights ({backbone.source})'


def show(result: dict[str, Any]) -> None:
    """Print the figures and the next step."""
    for line in _candidate_lines(result['candidates'], result['run_dir']):
        print(line)
    for name in ('image_auroc', 'pixel_auroc', 'aupro', 'image_f1'):
        value = result[name]
        print(f'{name:12}', 'needs labelled data' if value is None else f'{value:.3f}')
    print(f'{"threshold":12} {result["threshold"]:.4g} ({result["threshold_detail"]})')
    if result['uncertain_from'] is not None:
        print(f'{"uncertain":12} from {result["uncertain_from"]:.4g}')
    for line in outcome_lines(result['outcome']):
        print(line)
    if result['overlays']:
        print(f'{"overlays":12} {result["overlays"]}')
    if result['backbone']:
        print(f'{"backbone":12} {result["backbone"]}')
    print(f'{"fit":12} {result["fit_seconds"]:.1f} s')
    for one in result['mlflow_runs']:
        print(f'{"MLflow run":12} {one}')
    print(f'bundle {result["bundle_id"]}: {result["bundle_dir"]}')
    print(f'next: {result["next"]}')


def _candidate_lines(rows: Sequence[dict[str, Any]], recommended: str) -> list[str]:
    """The table of ``--model auto``."""
    if not rows:
        return []
    on = 'test images' if any(row['labelled'] for row in rows) else 'made-up defects'
    width = max(len(row['model']) for row in rows)
    lines = [f'{"model":{width}}  AUROC  AUPRO  ms/image  minutes   (AUROC on {on})']
    for row in rows:
        if row['run_dir'] is None:
            lines.append(f'{row["model"]:{width}}  {row["reason"]}')
            continue
        figures = (
            f'{row[key]:.3f}' if row[key] is not None else '-' for key in ('auroc', 'aupro')
        )
        cells = [f'{cell:>5}' for cell in figures]
        mark = '   recommended' if row['run_dir'] == recommended else ''
        lines.append(
            f'{row["model"]:{width}}  {"  ".join(cells)}  {row["ms"]:8.1f}  '
            f'{row["seconds"] / 60:7.1f}{mark}'
        )
    return [*lines, '']


def _figure(value: float | None) -> str:
    return '-' if value is None else f'{value:.3f}'
