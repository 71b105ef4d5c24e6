# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Running one job, in a process that ends with the one that waits for it."""

from __future__ import annotations

import ctypes
import json
import os
from pathlib import Path
import signal
import subprocess
import sys
import tempfile
import time
from typing import Any

from adet_core.errors import AdetError
from adet_training.batch.inputs import copy_here
from adet_training.batch.jobs import Job

_PR_SET_PDEATHSIG = 1
_WRONG_USAGE = 2


class JobError(AdetError):
    """A job failed.

    Attributes:
        is_final: Whether it would fail again.
    """

    def __init__(self, text: str, is_final: bool = False) -> None:
        """Say why."""
        super().__init__(text)
        self.is_final = is_final


def run_job(job: Job) -> dict[str, Any]:
    """Run a job; returns what it printed with ``--json``, ``seconds``, and counts of scores.

    Raises:
        JobError: It failed, was killed, or took too long.
    """
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix='adet-batch-') as scratch:
        words, counts = list(job.words), Path(scratch, 'counts.json')
        for address in job.remote:
            try:
                here = copy_here(address, Path(scratch))
            except AdetError as error:
                raise JobError(str(error)) from None
            words = [word.replace(address, str(here)) for word in words]
        if job.command == 'evaluate':
            words.append(f'--counts={counts}')
        line = [sys.executable, '-m', 'adet_training.batch.execute', job.command, *words]
        result = _last_line(_run([*line, '--json'], job), job)
        if counts.is_file():
            result['counts'] = json.loads(counts.read_bytes())
    return {**result, 'seconds': time.monotonic() - began}


def _run(line: list[str], job: Job) -> str:
    # As many threads as cores were asked for: several jobs share this machine.
    threads = {'OMP_NUM_THREADS': str(job.cpus)}
    with subprocess.Popen(  # noqa: S603 - this Python, with words that no shell sees
        line,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors='replace',
        env={**os.environ, **threads},
    ) as process:
        try:
            out, told = process.communicate(timeout=job.timeout_s or None)
        except subprocess.TimeoutExpired:
            process.kill()
            msg = f'took longer than {job.timeout_s:g} s'
            raise JobError(msg) from None
        except BaseException:
            process.kill()
            raise
    if process.returncode == 0:
        return out
    if process.returncode < 0:
        msg = f'was killed by {signal.Signals(-process.returncode).name}'
        raise JobError(msg)
    lines = told.strip().splitlines() or ['no message']
    raise JobError(lines[-1].removeprefix('error: '), process.returncode == _WRONG_USAGE)


def _last_line(out: str, job: Job) -> dict[str, Any]:
    try:
        result: dict[str, Any] = json.loads(out.strip().splitlines()[-1])
    except (IndexError, ValueError):
        msg = f'adet {job.command} printed no result'
        raise JobError(msg) from None
    return result


def _end_with_parent() -> None:
    """Nobody would take the result, and the job is run again."""
    if sys.platform == 'linux':
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


if __name__ == '__main__':
    _end_with_parent()
    from adet_core.cli import main

    sys.exit(main(sys.argv[1:]))
