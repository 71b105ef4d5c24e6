# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Many small jobs: what a job costs beside its work, and how workers share the cores.

    python benchmarks/batch.py --bundle models/PaDiM --jobs 8

Evaluations of four drawn images each, which are over as soon as the command has started: without
Ray and with a new local cluster, 1, 2 and 4 at once with one thread each. Writes batch.json.
"""

from __future__ import annotations

import argparse
from functools import partial
import json
from pathlib import Path
import resource
import tempfile
import time
from typing import Any

import cv2
import numpy as np

from adet_training.batch.batch import run_batch
from adet_training.batch.jobs import Job, read_jobs
from adet_training.batch.pools import on_ray, on_this_machine, Pool

_WORKERS = (1, 2, 4)


def _write_jobs(folder: Path, bundle: Path, count: int) -> Path:
    random = np.random.default_rng(0)
    for part in range(count):
        for label in ('normal', 'anomaly'):
            images = folder / 'parts' / f'{part}' / label
            images.mkdir(parents=True)
            for number in range(2):
                pixels = random.integers(0, 255, (64, 64, 3), np.uint8)
                cv2.imwrite(str(images / f'{number}.png'), pixels)
    options = {'bundle': str(bundle.resolve()), 'backend': 'onnxruntime', 'threads': 1}
    each = {'images': str(folder / 'parts')}
    path = folder / 'jobs.yaml'
    # JSON is YAML.
    path.write_text(
        json.dumps({'jobs': [{'command': 'evaluate', 'each': each, 'options': options}]})
    )
    return path


def _measure(jobs: list[Job], pool: Pool, output: Path) -> dict[str, float]:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    start, ended = time.perf_counter(), []
    report: dict[str, Any] = run_batch(
        jobs, 0, output, pool, tell=lambda *_: ended.append(time.perf_counter())
    )
    seconds = time.perf_counter() - start
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    processor = sum((after.ru_utime, after.ru_stime, -before.ru_utime, -before.ru_stime))
    return {
        'seconds': seconds,
        'until_first_s': ended[0] - start,
        'job_s': float(np.mean([row['seconds'] for row in report['rows']])),
        'processor_s_of_a_job': processor / len(jobs),
    }


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--bundle', type=Path, required=True)
    parser.add_argument('--jobs', type=int, default=8)
    parser.add_argument('--out', type=Path, default=Path('batch.json'))
    arguments = parser.parse_args()
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as scratch:
        jobs, _ = read_jobs(_write_jobs(Path(scratch), arguments.bundle, arguments.jobs))
        for workers in _WORKERS:
            for name, run in (('without Ray', on_this_machine), ('Ray', on_ray)):
                what = f'{name}, {workers} at once'
                output = Path(scratch, what.replace(' ', '_'))
                found[what] = _measure(jobs, partial(run, workers=workers), output)
                print(
                    what, {key: round(value, 2) for key, value in found[what].items()}, flush=True
                )
    arguments.out.write_text(json.dumps(found, indent=1))


if __name__ == '__main__':
    main()
