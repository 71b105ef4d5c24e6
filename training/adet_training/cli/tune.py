# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""``adet tune``."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
import shlex
import sys
from typing import Any

from adet_core.cli.next_command import next_command
from adet_core.progress import progress_bars
from adet_training.cli import train as train_command
from adet_training.cli.loading import loading_libraries
from adet_training.cli.options import add_training, chosen_config, settings_of

HELP = 'search for good hyper-parameters, then train with the best ones'
EXAMPLE = 'adet tune --model patchcore --category VisA_pipe_fryum --trials 30'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add_training(parser)
    parser.add_argument(
        '--search-space',
        type=Path,
        metavar='FILE',
        help='hyper-parameters to try (default: training/search_space/<model>.yaml)',
    )
    parser.add_argument(
        '--trials',
        type=int,
        default=20,
        metavar='N',
        help='how many trials to run (default: %(default)s)',
    )
    parser.add_argument(
        '--storage',
        default='',
        metavar='URL',
        help='where the study is kept, e.g. postgresql://HOST/DB, or journal:FILE on a network '
        'folder, or grpc://HOST:PORT of a proxy, to share it with other machines (default: a '
        'SQLite file beside the runs)',
    )
    parser.add_argument(
        '--study',
        default='',
        metavar='NAME',
        help='name of the Optuna study (default: <model>_<category>)',
    )
    parser.add_argument(
        '--report', action='store_true', help='draw the search in param/report.html of the run'
    )
    parser.add_argument(
        '--no-train', action='store_true', help='only search, e.g. on all machines but one'
    )


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Search and train; returns where the run is, the best parameters and the figures."""
    settings = settings_of(arguments)
    from adet_training.quiet import quiet_libraries

    tell = train_command.Told()
    with progress_bars() as progress, quiet_libraries():
        with loading_libraries(progress):
            from adet_training.export import export
            from adet_training.search_space import default_search_space
            from adet_training.train import PARAMETERS_FILE, train
            from adet_training.tune import tune, TuneConfig
        base = chosen_config(arguments, settings, progress)
        config = TuneConfig(
            base=base,
            search_space=arguments.search_space or default_search_space(base.model),
            trials=arguments.trials,
            storage=arguments.storage,
            study=arguments.study,
            report=arguments.report,
        )
        try:
            tuned = tune(config, progress=progress, tell=tell)
        except KeyboardInterrupt:
            again = next_command('tune', carry=arguments)
            print(f'finished trials are kept; go on with: {again}', file=sys.stderr)
            raise
        names = {'model': base.model, 'category': base.category}
        result = {**names, **tuned._asdict(), 'run_dir': str(tuned.folder)}
        del result['folder']
        for line in tuned.warnings:
            tell(f'warning: {line}')
        if arguments.no_train:
            file = tuned.folder / PARAMETERS_FILE
            # All values are in the file.
            following = next_command('train', carry=arguments, parameters=file, set=[])
            return {**result, 'next': following}
        best = replace(base, settings=tuned.best_parameters)
        finished = train(best, folder=tuned.folder, progress=progress, tell=tell)
        export(finished.bundle, traced=finished.traced, progress=progress)
    summary = train_command.summary(finished, arguments, tell)
    return {**result, **summary, 'warnings': [*tuned.warnings, *summary['warnings']]}


def show(result: dict[str, Any]) -> None:
    """Print the best parameters, and the figures of the run trained with them."""
    counts = ', '.join(f'{count} {state}' for state, count in result['trials'].items())
    print(f'study {result["study"]} in {result["storage"]}: {counts}')
    print(f'best {result["objective"]} {result["best_value"]:.4f} with')
    for name, value in result['best_parameters'].items():
        print(f'  {name}: {value}')
    if result['report']:
        print(f'report: {result["report"]}')
    storage = result['storage'].removeprefix('journal:')
    # The dashboard reads what is behind a proxy, not the proxy.
    if not storage.startswith('grpc://'):
        print(f'all trials in a browser: optuna-dashboard {shlex.quote(storage)}')
    if 'bundle_id' in result:
        train_command.show(result)
    else:
        print(f'next: {result["next"]}')
