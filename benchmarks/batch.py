# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Many small jobs: what a job costs beside its work, and how workers share the cores.

    python benchmarks/batch.py --bundle models/PaDiM --jobs 8 --images 100

Evaluations of drawn images, 1, 2 and 4 at once, with one thread each and with two. With few images
a job is over as soon as the command has started. With --ray also by a new local cluster. And what
a score costs on its way from a job to the merged figures. Writes batch.json, with the load of the
machine before each measurement.
"""

from __future__ import annotations

import argparse
from collections import Counter
from functools import partial
import json
import os
from pathlib import Path
import resource
import tempfile
import time
from typing import Any

import cv2
import numpy as np

from adet_evaluation.counts import ScoreCounts
from adet_training.batch.batch import run_batch
from adet_training.batch.jobs import Job, read_jobs
from adet_training.batch.pools import on_ray, on_this_machine, Pool

_WORKERS, _THREADS = (1, 2, 4), (1, 2)


def _write_jobs(folder: Path, bundle: Path, count: int, images: int, threads: int) -> Path:
    random = np.random.default_rng(0)
    for part in range(count):
        for label in ('normal', 'anomaly'):
            place = folder / 'parts' / f'{part}' / label
            place.mkdir(parents=True)
            for number in range(images // 2):
                pixels = random.integers(0, 255, (64, 64, 3), np.uint8)
                cv2.imwrite(str(place / f'{number}.png'), pixels)
    options = {'bundle': str(bundle.resolve()), 'backend': 'onnxruntime', 'threads': threads}
    each = {'images': str(folder / 'parts')}
    path = folder / 'jobs.yaml'
    # JSON is YAML.
    path.write_text(
        json.dumps(
            {'jobs': [{'command': 'evaluate', 'each': each, 'options': options, 'cpus': threads}]}
        )
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


def _count_scores(count: int = 100_000) -> dict[str, float]:
    """Of distinct scores: written by a job, read, merged with others, and made into figures."""
    scores = np.random.default_rng(0).random(2 * count, np.float32).tolist()
    counts = ScoreCounts(2 * count, 0, Counter(scores[:count]), Counter(scores[count:]))
    start = time.process_time()
    text = json.dumps(counts.to_json())
    merged = ScoreCounts()
    merged.add(ScoreCounts.from_json(json.loads(text)))
    merged.figures()
    seconds = time.process_time() - start
    return {'bytes': len(text) / len(scores), 'processor_us': 1e6 * seconds / len(scores)}


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--bundle', type=Path, required=True)
    parser.add_argument('--jobs', type=int, default=8)
    parser.add_argument('--images', type=int, default=4, help='of each job')
    parser.add_argument('--ray', action='store_true', help='also on a new local cluster')
    parser.add_argument('--out', type=Path, default=Path('batch.json'))
    arguments = parser.parse_args()
    pools = {'without Ray': on_this_machine, **({'Ray': on_ray} if arguments.ray else {})}
    found: dict[str, Any] = {'a distinct score': _count_scores()}
    print(found, flush=True)
    with tempfile.TemporaryDirectory() as scratch:
        for threads in _THREADS:
            place = Path(scratch, str(threads))
            jobs, _ = read_jobs(
                _write_jobs(place, arguments.bundle, arguments.jobs, arguments.images, threads)
            )
            for workers in _WORKERS:
                for name, run in pools.items():
                    what = f'{name}, {workers} at once, {threads} threads each'
                    load = os.getloadavg()[0]
                    output = place / what.replace(' ', '_')
                    # Ray counts cores.
                    at_once = workers * threads if name == 'Ray' else workers
                    one = _measure(jobs, partial(run, workers=at_once), output)
                    found[what] = {**one, 'load_before': load}
                    told = {key: round(value, 2) for key, value in found[what].items()}
                    print(what, told, flush=True)
    arguments.out.write_text(json.dumps(found, indent=1))


if __name__ == '__main__':
    main()
