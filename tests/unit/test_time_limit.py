# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""A run that takes too long is ended, one of a process that was stopped is not."""

from __future__ import annotations

import signal
import subprocess
import sys
import time

import pytest

_RUN = """
import sys, time
from adet_core.inference.time_limit import TimeLimit
with TimeLimit(1.0, look=0.1).limited() as options:
    print('running', flush=True)
    # Until it may go on.
    sys.stdin.readline()
    time.sleep(float(sys.argv[1]))
    print(options.terminate, flush=True)
"""


@pytest.mark.parametrize(('runs_s', 'is_ended'), [(0.2, False), (3.0, True)])
def test_time_for_which_the_process_was_stopped_does_not_count(
    runs_s: float, is_ended: bool
) -> None:
    words = [sys.executable, '-c', _RUN, str(runs_s)]
    with subprocess.Popen(
        words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == 'running\n'
        process.send_signal(signal.SIGSTOP)
        time.sleep(2.0)
        process.send_signal(signal.SIGCONT)
        told, _ = process.communicate('\n', timeout=30)
    assert told == f'{is_ended}\n'
