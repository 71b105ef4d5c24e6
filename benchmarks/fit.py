# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""How long PaDiM and PatchCore learn and what memory that takes, beside Anomalib, in turns.

    python benchmarks/fit.py --images 200
    python benchmarks/fit.py --models patchcore --images 20    # Anomalib's coreset takes long

Both get the same module with the same weights and the same preprocessed images; Anomalib's side
has Anomalib's own methods for what they differ in. Each runs in a process of its own. The memory
is what a fit takes beside what was resident before. On a busy machine, ``--processor-time`` with
one thread counts what the fit alone computes. Writes fit.json and prints a table.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
import json
import os
from pathlib import Path
from statistics import median
import subprocess
import sys
import tempfile
import time
from typing import Any

from live import kibibytes
import torch

from adet_core.geometry import Geometry
from adet_core.progress import silent
from adet_synth import write_dataset
from adet_training.adapter import FitData
from adet_training.dataset import load_category
from adet_training.fit import fit
from adet_training.models import load_adapter
from adet_training.quiet import quiet_libraries
from adet_training.versions import library_versions

_DRAWN = 'plate'
_SIDES = ('adet', 'anomalib')


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--models', nargs='+', default=['padim'])
    parser.add_argument('--images', type=int, default=200)
    parser.add_argument('--rounds', type=int, default=3)
    parser.add_argument('--threads', type=int, default=2)
    parser.add_argument('--out', type=Path, default=Path('fit.json'))
    parser.add_argument('--processor-time', action='store_true')
    parser.add_argument('--child', nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        model, side, data = arguments.child
        clock = time.process_time if arguments.processor_time else time.perf_counter
        print(json.dumps(_fit(model, side, data, arguments.threads, clock)))
        return
    rounds: dict[str, list[dict[str, Any]]] = {name: [] for name in arguments.models}
    with tempfile.TemporaryDirectory(prefix='adet_benchmark_') as scratch:
        write_dataset(
            Path(scratch),
            category=_DRAWN,
            train=arguments.images,
            test_normal=1,
            test_anomaly=1,
            size=256,
            seed=0,
        )
        for number in range(arguments.rounds):
            for name in arguments.models:
                # Whoever is first is another one each time.
                order = _SIDES if number % 2 == 0 else _SIDES[::-1]
                found = {side: _ask(name, side, scratch, arguments) for side in order}
                rounds[name].append(found)
                print(f'{name}, round {number + 1} of {arguments.rounds}', file=sys.stderr)
    result = {
        'images': arguments.images,
        'threads': arguments.threads,
        'is_processor_time': arguments.processor_time,
        'cores': os.cpu_count(),
        'versions': library_versions('anomalib', 'torch', 'numpy'),
        'rounds': rounds,
    }
    arguments.out.write_text(json.dumps(result, indent=2) + '\n')
    print('| model | adet, s | anomalib, s | ratio | adet, MiB | anomalib, MiB | ratio |')
    print('|---|---|---|---|---|---|---|')
    for name, several in rounds.items():
        print(f'| {name} | {" | ".join(_cells(several))} |')


def _ask(model: str, side: str, data: str, arguments: argparse.Namespace) -> dict[str, float]:
    words = [sys.executable, __file__, '--threads', str(arguments.threads)]
    words += ['--processor-time'] if arguments.processor_time else []
    words += ['--child', model, side, data]
    done = subprocess.run(  # noqa: S603 - ourselves
        words, capture_output=True, text=True, check=False, env={**os.environ, 'COLUMNS': '80'}
    )
    if done.returncode:
        raise SystemExit(done.stderr)
    answer: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return answer


def _fit(
    model: str, side: str, data: str, threads: int, clock: Callable[[], float]
) -> dict[str, float]:
    torch.set_num_threads(threads)
    adapter = load_adapter(model)
    parameters = adapter.parameters()
    with quiet_libraries(), tempfile.TemporaryDirectory() as scratch:
        images = load_category(Path(data), _DRAWN, Geometry.whole(parameters.size)).train
        torch.manual_seed(0)
        module = adapter.build(parameters, adapter.backbone(parameters, 'random', seed=0))
        before = kibibytes(os.getpid(), 'VmRSS')
        # Makes VmHWM what is resident now.
        Path('/proc/self/clear_refs').write_text('5')
        start = clock()
        if side == 'adet':
            adapter.fit(module, FitData(images), Path(scratch), parameters, silent)
        else:
            # Its own class is the one that adet's module is made of.
            module.__class__ = type(module).__base__
            fit(module, images, Path(scratch), parameters.batch_size, silent)
        seconds = clock() - start
        return {'seconds': seconds, 'mib': (kibibytes(os.getpid(), 'VmHWM') - before) / 1024}


def _cells(rounds: list[dict[str, Any]]) -> list[str]:
    def of(side: str, key: str) -> list[float]:
        return [one[side][key] for one in rounds]

    def ratio(key: str) -> str:
        pairs = zip(of('anomalib', key), of('adet', key), strict=True)
        ratios = sorted(theirs / ours for theirs, ours in pairs)
        return f'{median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})'

    seconds = [f'{median(of(side, "seconds")):.1f}' for side in _SIDES]
    sizes = [f'{median(of(side, "mib")):.0f}' for side in _SIDES]
    return [*seconds, ratio('seconds'), *sizes, ratio('mib')]


if __name__ == '__main__':
    main()
