# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""The models on an NVIDIA GPU: trained, built, checked, measured and swapped within some minutes.

    python benchmarks/gpu.py --out gpu --minutes 8

It draws its images and needs no network and no ROS. Each step is a process with a time-out, so a
step that fails or hangs costs its own figures alone. gpu/gpu.json and the tables in gpu/gpu.md are
written after every step. What measures runs last, one at a time, when no training runs any more
that was started by itself, on the drawn images or on others:

    python benchmarks/gpu.py --out gpu --step curve --curve-minutes 4
    python benchmarks/gpu.py --out gpu --step curve:VisA_pipe_fryum --data-root data
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence, Set
from contextlib import suppress
import fcntl
import json
import os
from pathlib import Path
import signal
import subprocess
import sys
import time
from typing import Any, NamedTuple

from gpu_report import figures_path, GPU_LOCK, judge, MODELS, tables

from adet_core.errors import AdetError

PRECISIONS = ('fp32', 'fp16', 'int8')
_TICK_S = 0.05
# Less is not worth a start.
_LEAST_S = 10.0


class Step(NamedTuple):
    """A process that leaves its figures in a file of its own.

    Attributes:
        name: What is done, then with what: ``engine:padim:fp16``.
        limit: Seconds until it is ended.
        needs: The step that must have succeeded before.
    """

    name: str
    limit: float
    needs: str = ''


Launch = Callable[[Step], Sequence[str]]
"""Gives the command line of a step."""


def preparing(models: Sequence[str], precisions: Sequence[str] = PRECISIONS) -> list[Step]:
    """The steps that may run side by side."""
    return [
        Step('data', 90),
        *(Step(f'train:{model}', 150, 'data') for model in models),
        *(Step(f'engine:{m}:{p}', 150, f'train:{m}') for p in precisions for m in models),
        *(Step(f'compile:{model}', 150, f'train:{model}') for model in models),
    ]


def measuring(models: Sequence[str]) -> list[Step]:
    """The steps that must have the GPU for themselves, in the order of their worth."""
    return [
        *(Step(f'measure:{model}', 120, f'train:{model}') for model in models),
        *(
            Step(f'{kind}:{model}{package}', 90, f'engine:{model}:fp16')
            for kind, package in (
                ('swap', ''),
                ('variants', ':cuda-python'),
                ('variants', ':pycuda'),
            )
            for model in models
        ),
    ]


class Runner:
    """Runs steps, and keeps what becomes of them.

    Attributes:
        outcomes: By step, also of earlier runs in the same folder: ``status`` (``ok``, ``failed``,
            ``timed out`` or ``skipped``), ``seconds`` and ``error``.
    """

    def __init__(self, folder: Path, launch: Launch, *, minutes: float) -> None:
        """Start the clock.

        Args:
            folder: Gets ``gpu.json``, ``gpu.md``, ``logs`` and ``steps``.
            launch: Gives the command line of a step.
            minutes: After which nothing runs any more.
        """
        earlier = folder / 'gpu.json'
        self.outcomes: dict[str, dict[str, Any]] = (
            json.loads(earlier.read_text())['steps'] if earlier.is_file() else {}
        )
        self._folder, self._launch = folder, launch
        self._end = time.monotonic() + 60 * minutes
        self._running: dict[str, _Process] = {}
        (folder / 'logs').mkdir(parents=True, exist_ok=True)

    def run(self, steps: Sequence[Step], *, jobs: int) -> None:
        """Run all of them, so many side by side; whatever happens, none is left running."""
        waiting = list(steps)
        for step in steps:
            self.outcomes.pop(step.name, None)
        try:
            while waiting or self._running:
                for name, process in list(self._running.items()):
                    if status := process.status():
                        del self._running[name]
                        self._note(name, status, process)
                due = {step.name for step in waiting} | self._running.keys()
                waiting = [step for step in waiting if not self._start(step, jobs, due)]
                time.sleep(_TICK_S)
        finally:
            for process in self._running.values():
                process.kill()

    def wait_for_gpu(self) -> None:
        """Wait until no other process holds the GPU's lock, for half of the time that is left."""
        until = (time.monotonic() + self._end) / 2
        with (self._folder / GPU_LOCK).open('w') as file:
            while time.monotonic() < until:
                with suppress(BlockingIOError):
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    return
                time.sleep(_TICK_S)
        print('another process still uses the GPU: the times are not to be trusted', flush=True)

    def _start(self, step: Step, jobs: int, due: Set[str]) -> bool:
        """Start a step, or skip it; False if it has to wait for what is due."""
        left = self._end - time.monotonic()
        waits = step.needs in due
        met = not step.needs or self.outcomes.get(step.needs, {}).get('status') == 'ok'
        if not waits and not met:
            self._note(step.name, 'skipped', error=f'{step.needs} has not succeeded')
        elif left < min(_LEAST_S, step.limit):
            self._note(step.name, 'skipped', error='no time was left')
        elif waits or len(self._running) >= jobs:
            return False
        else:
            # What an earlier run found is not this one's.
            figures_path(self._folder, step.name).unlink(missing_ok=True)
            log = self._folder / 'logs' / f'{step.name.replace(":", ".")}.log'
            self._running[step.name] = _Process(self._launch(step), log, min(step.limit, left))
        return True

    def _note(
        self, name: str, status: str, process: _Process | None = None, error: str = ''
    ) -> None:
        seconds = process.seconds if process else 0.0
        if process and status != 'ok':
            error = process.last_line()
        self.outcomes[name] = {'status': status, 'seconds': round(seconds, 1), 'error': error}
        print(f'{status:9} {seconds:5.1f} s  {name}  {error}', flush=True)
        write_result(self._folder, self.outcomes)


class _Process:
    """A running step, with all processes that it starts."""

    def __init__(self, command: Sequence[str], log: Path, limit: float) -> None:
        self._log, self._limit = log, limit
        self._start = time.monotonic()
        with log.open('wb') as file:
            # A session of its own, so that its children can be ended with it.
            self._popen = subprocess.Popen(  # noqa: S603 - ourselves
                command, stdout=file, stderr=subprocess.STDOUT, start_new_session=True
            )

    @property
    def seconds(self) -> float:
        """Since its start."""
        return time.monotonic() - self._start

    def status(self) -> str:
        """What became of it; empty while it runs. One that takes too long is ended."""
        code = self._popen.poll()
        if code is None and self.seconds < self._limit:
            return ''
        self.kill()
        if code is None:
            return 'timed out'
        return 'failed' if code else 'ok'

    def kill(self) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self._popen.pid, signal.SIGKILL)
        self._popen.wait()

    def last_line(self) -> str:
        lines = self._log.read_text('utf-8', 'replace').split('\n')
        return next((line.strip() for line in reversed(lines) if line.strip()), '')[:300]


def write_result(folder: Path, outcomes: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Write all figures that there are into ``gpu.json``, and their tables into ``gpu.md``."""
    figures = {
        path.stem: json.loads(path.read_text()) for path in sorted(folder.glob('steps/*.json'))
    }
    result = {'steps': outcomes, 'figures': figures, 'aims': judge(figures)}
    for name, text in (('gpu.json', json.dumps(result, indent=2)), ('gpu.md', tables(result))):
        draft = folder / f'.{name}'
        draft.write_text(text + '\n')
        draft.replace(folder / name)
    return result


def main() -> int:
    """Run all steps and print the tables, or run one step; 1 if a step failed."""
    arguments = parse()
    folder = arguments.out
    folder.mkdir(parents=True, exist_ok=True)
    if arguments.step:
        # torch and TensorRT are loaded in steps only.
        from gpu_steps import run_step

        try:
            run_step(arguments)
        except AdetError as error:
            print(f'error: {error}', file=sys.stderr)
            return 1
        return 0

    def launch(step: Step) -> list[str]:
        return [sys.executable, *sys.argv, '--step', step.name]

    runner = Runner(folder, launch, minutes=arguments.minutes)
    # Threads of each: all steps together keep the machine busy, and no more.
    os.environ.setdefault('OMP_NUM_THREADS', str(max((os.cpu_count() or 1) // arguments.jobs, 1)))

    def chosen(steps: Sequence[Step]) -> list[Step]:
        kinds = arguments.kinds
        return [step for step in steps if not kinds or step.name.split(':')[0] in kinds]

    runner.run(chosen(preparing(arguments.models, arguments.precisions)), jobs=arguments.jobs)
    runner.wait_for_gpu()
    runner.run(chosen(measuring(arguments.models)), jobs=1)
    print((folder / 'gpu.md').read_text())
    return int(any(one['status'] != 'ok' for one in runner.outcomes.values()))


def parse(words: Sequence[str] | None = None) -> argparse.Namespace:
    """The options; those of the command line if no words are given."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--out', type=Path, default=Path('gpu'), metavar='DIR')
    parser.add_argument('--minutes', type=float, default=8.0, help='for all steps')
    parser.add_argument('--jobs', type=int, default=8, help='steps side by side')
    parser.add_argument('--models', nargs='+', default=MODELS, metavar='MODEL')
    parser.add_argument('--precisions', nargs='+', default=PRECISIONS, choices=PRECISIONS)
    parser.add_argument('--backbone-weights', default='auto', help='as for adet train')
    parser.add_argument('--image-size', type=int, default=256)
    parser.add_argument('--images', type=int, nargs=3, default=(100, 40, 60), metavar='N')
    parser.add_argument('--set', action='append', default=[], metavar='MODEL.KEY=VALUE')
    parser.add_argument('--seconds', type=float, default=4.0, help='of each measurement')
    parser.add_argument('--frames', type=int, default=10_000, help='inspected while swapping')
    parser.add_argument('--swaps', type=int, default=100)
    parser.add_argument('--curve-minutes', type=float, default=4.0, help='of step curve')
    parser.add_argument('--data-root', type=Path, metavar='DIR', help='of step curve:CATEGORY')
    parser.add_argument('--natural-images', type=Path, metavar='DIR', help='for step curve')
    parser.add_argument('--distill-pieces', type=int, default=4096, help='for step curve')
    parser.add_argument('--distill-steps', type=int, default=2000, help='for step curve')
    parser.add_argument('--kinds', nargs='+', metavar='KIND', help='run these again: swap, say')
    parser.add_argument('--step', default='', help='run this step alone, here')
    return parser.parse_args(words)


if __name__ == '__main__':
    sys.exit(main())
