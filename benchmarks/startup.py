# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""From starting ``adet inspect`` to its first verdict, beside another checkout.

    git worktree add ../adet-before v0.1.0
    python benchmarks/startup.py --models-root demo/models --model padim --beside ../adet-before

Both run with this Python and the messages of this environment, in turns, after one start each that
is not counted: the first start measures backends and rewrites graphs. A start inspects one image
of a folder; the clock stops when its row is in the result file. Processor time is that of the
whole command, and tells more than the clock on a machine that is busy. Memory is that of the one
process that has source, detector and recorder, when the row is there. Writes startup.json.
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
import re
import resource
from statistics import median, quantiles
import subprocess
import sys
import tempfile
import time
from typing import NamedTuple

import cv2
import numpy as np

HERE = Path(__file__).parents[1]
_PACKAGES = (
    *(f'ros2_ws/src/{name}' for name in ('adet_core', 'adet_evaluation', 'adet', 'adet_console')),
    'training',
    'training/adet_synth',
)
_LOOK_S, _LIMIT_S = 0.002, 120.0
# Unit and decimal places of each figure of a `Start`.
_UNITS = (('s', 2), ('s', 2), ('MiB', 0), ('MiB', 0))


class Start(NamedTuple):
    """One start.

    Attributes:
        verdict: Seconds on the clock, to the first row.
        processor: Seconds of the processor, to the end of the command.
        resident: MiB of memory, at the first row.
        peak: MiB of memory at most, until then.
    """

    verdict: float
    processor: float
    resident: float
    peak: float


def main() -> None:
    """Start both in turns, print and write."""
    arguments = _parse()
    trees = {'this': HERE}
    if arguments.beside:
        trees['beside'] = arguments.beside.resolve()
    starts: dict[str, list[Start]] = {name: [] for name in trees}
    with tempfile.TemporaryDirectory(prefix='adet_startup_') as scratch:
        source = Path(scratch) / 'images'
        source.mkdir()
        image = np.random.default_rng(0).integers(0, 256, (256, 256, 3), np.uint8)
        cv2.imwrite(str(source / 'image.png'), image)
        for number in range(arguments.rounds + 1):
            for name, tree in trees.items():
                start = _start(arguments, tree, source, Path(scratch) / f'{name}_{number}')
                if number:
                    starts[name].append(start)
    for index, (what, (unit, places)) in enumerate(zip(Start._fields, _UNITS, strict=True)):
        for name, own in starts.items():
            values = [start[index] for start in own]
            print(f'{what}, {name}: {median(values):.{places}f} {unit} {_spread(values, places)}')
        if arguments.beside:
            pairs = zip(starts['this'], starts['beside'], strict=True)
            ratios = [one[index] / other[index] for one, other in pairs]
            print(f'{what}, this / beside: {median(ratios):.2f} {_spread(ratios)}')
    Path('startup.json').write_text(json.dumps(starts, indent=2) + '\n')


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--models-root', type=Path, required=True)
    parser.add_argument('--model', default='padim')
    parser.add_argument('--backend', default='auto')
    parser.add_argument('--beside', type=Path, metavar='CHECKOUT')
    parser.add_argument('--rounds', type=int, default=10)
    return parser.parse_args()


def _start(arguments: argparse.Namespace, tree: Path, source: Path, output: Path) -> Start:
    path = [str(tree / package) for package in _PACKAGES]
    others = os.environ.get('PYTHONPATH', '').split(os.pathsep)
    environment = {**os.environ, 'PYTHONPATH': os.pathsep.join([*path, *others])}
    # As installed packages are: compiled once, by the start that is not counted.
    environment.pop('PYTHONDONTWRITEBYTECODE', None)
    environment['PYTHONPYCACHEPREFIX'] = str(output.parent / 'compiled')
    command = [sys.executable, '-m', 'adet_core', 'inspect', '--model', arguments.model]
    command += ['--models-root', str(arguments.models_root.resolve()), '--source', str(source)]
    command += ['--output-dir', str(output), '--backend', arguments.backend, '--json']
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    began = time.perf_counter()
    with subprocess.Popen(  # noqa: S603 - this very project
        command, env=environment, cwd=output.parent, stdout=subprocess.DEVNULL
    ) as process:
        verdict = _wait_for_row(process, output, began)
        status = Path(f'/proc/{process.pid}/status').read_text()
        process.wait(_LIMIT_S)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if process.returncode:
        raise SystemExit(f'{" ".join(command)}: exit code {process.returncode}')
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    mib = [int(found) / 1024 for found in re.findall(r'Vm(?:RSS|HWM):\s*(\d+)', status)]
    return Start(verdict, used, min(mib), max(mib))


def _wait_for_row(process: subprocess.Popen[bytes], output: Path, began: float) -> float:
    """Seconds until a result file has a row below its head."""
    while time.perf_counter() - began < _LIMIT_S:
        for path in output.glob('result_*.csv'):
            if path.read_bytes().count(b'\n') > 1:
                return time.perf_counter() - began
        if process.poll() is not None:
            break
        time.sleep(_LOOK_S)
    process.kill()
    raise SystemExit(f'no row in {output}')


def _spread(values: list[float], places: int = 2) -> str:
    if len(values) < 2:
        return ''
    low, _, high = quantiles(values, n=4)
    return f'({low:.{places}f} to {high:.{places}f})'


if __name__ == '__main__':
    main()
