# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Running what is not finished, and one report over all."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
import csv
import io
import json
from pathlib import Path
import re
from typing import Any

from adet_core.bundle.decode import parse_json
from adet_core.folder import write_atomic
from adet_evaluation.counts import ScoreCounts
from adet_training.batch.jobs import Job
from adet_training.batch.pools import Pool

JOBS_FOLDER = 'jobs'
_FIGURES = ('image_auroc', 'pixel_auroc', 'aupro', 'image_f1', 'threshold', 'seconds')
Tell = Callable[[Job, str, str], object]
"""Told a job, its new state (``kept``, ``done`` or ``failed``), and why it failed."""


def run_batch(
    jobs: Sequence[Job], retries: int, output: Path, pool: Pool, *, tell: Tell
) -> dict[str, Any]:
    """Run the jobs that are not finished, and write the report.

    A job's result is written when it ends, so whatever is killed meanwhile, the same call goes
    on where it stopped.

    Args:
        jobs: What to run.
        retries: How often a job that failed is run again.
        output: Folder for ``jobs/<name>.json``, ``report.json`` and ``report.csv``.
        pool: Where they run.
        tell: Told of each job that has ended, or was finished before.

    Returns:
        The report.

    Raises:
        OSError: The folder cannot be written.
    """
    folder = output / JOBS_FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    results: dict[str, dict[str, Any]] = {}
    errors: dict[str, str] = {}
    waiting = []
    for job in jobs:
        kept = _finished(folder, job)
        if kept is None:
            waiting.append(job)
        else:
            results[job.name] = kept
            tell(job, 'kept', '')
    resumed = len(results)
    for ended in pool(waiting, retries):
        job = ended.job
        if ended.result is None:
            errors[job.name] = ended.error
            tell(job, 'failed', ended.error)
            continue
        results[job.name] = ended.result
        entry = {'fingerprint': job.fingerprint, 'told': job.told, 'result': ended.result}
        write_atomic(folder / f'{job.name}.json', json.dumps(entry).encode())
        tell(job, 'done', '')
    rows = [_row(job, results.get(job.name), errors.get(job.name, '')) for job in jobs]
    report = {
        'jobs': len(jobs),
        'done': len(results) - resumed,
        'kept': resumed,
        'failed': errors,
        'merged': merge(results.values()),
        'rows': rows,
    }
    write_atomic(output / 'report.json', json.dumps(report, indent=1).encode())
    write_atomic(output / 'report.csv', _table(rows).encode())
    return report


def merge(results: Any) -> dict[str, Any]:
    """The figures of all evaluations of a model as one, by its name."""
    merged: dict[str, ScoreCounts] = {}
    for result in results:
        for model, counts in result.get('counts', {}).items():
            merged.setdefault(model, ScoreCounts()).add(ScoreCounts.from_json(counts))
    return {model: counts.figures() for model, counts in sorted(merged.items())}


def _finished(folder: Path, job: Job) -> dict[str, Any] | None:
    try:
        entry = parse_json((folder / f'{job.name}.json').read_bytes())
        if entry['fingerprint'] == job.fingerprint:
            result: dict[str, Any] = entry['result']
            return result
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        # Not run, or written by something else.
        return None
    return None


def _row(job: Job, result: Mapping[str, Any] | None, error: str) -> dict[str, Any]:
    found = result or {}
    return {
        'job': job.name,
        'command': job.command,
        **job.told,
        'state': 'failed' if error else 'done',
        **{name: found[name] for name in _FIGURES if name in found},
        **{name: found[name] for name in ('run_dir', 'bundle_dir') if name in found},
        'error': re.sub(r'\s+', ' ', error),
    }


def _table(rows: Sequence[Mapping[str, Any]]) -> str:
    names = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, names, restval='', lineterminator='\n')
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
