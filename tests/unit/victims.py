# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Real processes that are killed at their work.

A small parent process imports everything once and forks a victim for each word it is told, so a
test can kill many of them quickly: ``python victims.py bundle FOLDER``.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
import itertools
import os
from pathlib import Path
import random
import signal
import subprocess
import sys
import time

HERE = Path(__file__).parent


@contextmanager
def nursery(work: str, path: Path) -> Iterator[subprocess.Popen[str]]:
    """The parent process of victims that do ``work`` at ``path``."""
    command = [sys.executable, __file__, work, str(path)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=HERE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == 'ready\n'
        yield process
        process.stdin.close()
        assert process.wait(60) == 0


def kill_one(process: subprocess.Popen[str], number: int, chance: random.Random) -> None:
    """Let a victim begin its work, kill it at a random instant, and wait until it is gone."""
    print(number, file=process.stdin, flush=True)
    victim = int(process.stdout.readline())
    assert process.stdout.readline() == 'working\n'
    end = time.monotonic() + chance.uniform(0, 0.02)
    while time.monotonic() < end:
        pass
    os.kill(victim, signal.SIGKILL)
    assert process.stdout.readline() == 'killed by 9\n'


def write_bundles(folder: Path, number: int) -> None:
    """Replace a bundle again and again; its category names its statistics."""
    import builders

    for index in itertools.count():
        seed = number * 1000 + index
        builders.make_bundle(
            folder, arrays=builders.flat_statistics(seed), category=str(seed), weights=b'w' * 99999
        )
        if index == 0:
            _say('working')


def write_sets(folder: Path, number: int) -> None:
    """Put sets into service for ever, and take every third back."""
    from test_retrained import put, rollback

    for index in itertools.count():
        put(folder, number * 1000 + index, keep=100)
        if index == 0:
            _say('working')
        # A third of them are killed at this.
        if (number + index) % 3 == 0:
            rollback(folder)


def write_rows(path: Path, number: int) -> None:
    """Append rows for ever; what the row says follows from its stamp."""
    from adet_core.records import Record, RecordWriter

    writer = RecordWriter(path)
    for index in itertools.count():
        stamp = number * 10**9 + index
        writer.write(row(Record, stamp))
        if index == 0:
            _say('working')


def row(kind: type, stamp: int) -> object:
    return kind(
        stamp_ns=stamp,
        frame_id='camera',
        source=f'/images/{stamp}, "quoted".png',
        label='normal',
        model='padim',
        error='x' * (stamp % 300),
    )


def _say(word: object) -> None:
    sys.stdout.write(f'{word}\n')
    sys.stdout.flush()


def _main(work: str, path: Path) -> None:
    import test_retrained  # noqa: F401 - once, for all victims, with all that it imports

    job = {'bundle': write_bundles, 'rows': write_rows, 'sets': write_sets}[work]
    _say('ready')
    for line in sys.stdin:
        victim = os.fork()
        if victim == 0:
            _say(os.getpid())
            job(path, int(line))
        _, status = os.waitpid(victim, 0)
        _say(f'killed by {os.WTERMSIG(status)}')


if __name__ == '__main__':
    _main(sys.argv[1], Path(sys.argv[2]))
