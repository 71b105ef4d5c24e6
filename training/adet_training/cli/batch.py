# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""``adet batch``."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
import sys
from typing import Any, TYPE_CHECKING

from adet_core.cli.arguments import count
from adet_core.errors import IncompleteError

if TYPE_CHECKING:
    from adet_training.batch.batch import Tell
    from adet_training.batch.jobs import Job

HELP = 'run many trainings, exports and evaluations, on this machine or a Ray cluster'
EXAMPLE = 'adet batch jobs.yaml --output batch --local'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument('jobs', type=Path, metavar='JOBS', help='YAML file of the jobs')
    parser.add_argument(
        '--output',
        type=Path,
        default=Path('batch'),
        metavar='DIR',
        help='folder for results and report; finished jobs there are kept (default: %(default)s)',
    )
    where = parser.add_mutually_exclusive_group()
    where.add_argument('--local', action='store_true', help='without Ray, on this machine')
    where.add_argument(
        '--address',
        default='',
        metavar='A',
        help='of a running Ray cluster, auto or ray://HOST:10001 (default: a new one here)',
    )
    parser.add_argument(
        '--workers',
        type=count,
        default=0,
        metavar='N',
        help='jobs at once with --local, or cores of a new Ray cluster; 0: as many as there are '
        'cores for',
    )


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Run the jobs; returns the report without its rows."""
    from adet_core.cores import usable_cores
    from adet_training.batch.batch import run_batch
    from adet_training.batch.jobs import read_jobs
    from adet_training.batch.pools import on_ray, on_this_machine

    jobs, retries = read_jobs(arguments.jobs)
    if arguments.local:
        fitting = max(usable_cores() // max(job.cpus for job in jobs), 1)
        pool = partial(on_this_machine, workers=arguments.workers or fitting)
    else:
        pool = partial(on_ray, address=arguments.address, workers=arguments.workers)
    with _progress(jobs) as tell:
        report = run_batch(jobs, retries, arguments.output, pool, tell=tell)
    result = {name: value for name, value in report.items() if name != 'rows'}
    result['report'] = str(arguments.output / 'report.csv')
    if report['failed']:
        name, reason = next(iter(report['failed'].items()))
        msg = f'{len(report["failed"])} of {len(jobs)} jobs failed, e.g. {name}: {reason}'
        raise IncompleteError(msg, result)
    return result


def show(result: dict[str, Any]) -> None:
    """Print how many jobs ended how, and the merged figures."""
    print(f'{result["done"]} done, {result["kept"]} kept, {len(result["failed"])} failed')
    for model, figures in result['merged'].items():
        area = figures['image_auroc']
        told = 'needs labels' if area is None else f'{area:.4f}'
        print(f'{model}: {figures["images"]} images, image_auroc {told}')
    print(result['report'])


@contextmanager
def _progress(jobs: list[Job]) -> Iterator[Tell]:
    """One table of the states on a terminal; else a line for each job that has ended."""
    from rich.console import Console
    from rich.live import Live
    from rich.table import Table

    console = Console(stderr=True, markup=False, emoji=False)
    states: dict[str, str] = {}

    def table() -> Table:
        made = Table('command', 'jobs', 'kept', 'done', 'failed', show_edge=False)
        for command in dict.fromkeys(job.command for job in jobs):
            names = [job.name for job in jobs if job.command == command]
            ended = [states[name] for name in names if name in states]
            counts = [str(ended.count(state)) for state in ('kept', 'done', 'failed')]
            made.add_row(command, str(len(names)), *counts)
        return made

    if not console.is_terminal:
        yield lambda job, state, why: print(f'{state} {job.name} {why}'.rstrip(), file=sys.stderr)
        return
    with Live(table(), console=console, auto_refresh=False) as live:

        def tell(job: Job, state: str, _: str) -> None:
            states[job.name] = state
            live.update(table(), refresh=True)

        yield tell
