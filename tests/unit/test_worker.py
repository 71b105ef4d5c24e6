# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""One process that serves goal after goal: what it tells, and whatever is killed."""

from __future__ import annotations

from collections.abc import Iterator
import os
from pathlib import Path
import signal
import subprocess
import sys
import time
from typing import Any

import pytest

from adet_core.progress import silent
from adet_core.retraining import worker as worker_module
from adet_core.retraining.worker import Worker

# The real process, but for what its child does.
PROGRAM = """
import json, os, sys, time
from adet_core.cli import worker

def goal(words):
    if words[0] == 'fail':
        print('warning: odd', file=sys.stderr)
        print('error: no room', file=sys.stderr)
        return 1
    print(json.dumps({'stage': 'fit', 'done': os.getpid(), 'total': None}), flush=True)
    if words[0] == 'wait':
        print('{"half', end='', flush=True)
        time.sleep(600)
    print(json.dumps({'success': True, 'niceness': os.getpriority(os.PRIO_PROCESS, 0)}))
    return 0

worker.cli.main = goal
sys.exit(worker.main())
"""
DEADLINE_S = 60.0


@pytest.fixture
def worker(monkeypatch: pytest.MonkeyPatch) -> Iterator[Worker]:
    monkeypatch.setattr(worker_module, '_COMMAND', (sys.executable, '-c', PROGRAM))
    made = Worker(niceness=5)
    yield made
    made.close()


class Followed:
    """Serves a goal, and does something when its child tells of itself."""

    def __init__(self, worker: Worker, word: str, act: Any = None) -> None:
        self.children: list[int] = []
        self.processes: list[subprocess.Popen[str]] = []

        def tell(_: str, pid: int, __: int | None) -> None:
            self.children.append(pid)
            if act:
                act(self)

        self.ended = worker.follow([word], tell, self.processes.append)


def until_gone(pid: int) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while Path(f'/proc/{pid}').exists():
        assert time.monotonic() < deadline, 'it lives on'
        time.sleep(0.01)


def test_one_process_serves_goals_that_end_well_or_badly(worker: Worker) -> None:
    first, failed, last = (Followed(worker, word) for word in ('learn', 'fail', 'learn'))
    assert first.ended == (0, {'success': True, 'niceness': 5}, '')
    assert failed.ended == (1, None, 'error: no room')
    assert last.ended.returncode == 0
    pids = {one.processes[0].pid for one in (first, failed, last)}
    assert len(pids) == 1
    # Each in a child of its own, which took its memory along.
    assert first.children != last.children
    assert not pids & {*first.children, *last.children}


def test_a_child_that_is_killed_leaves_the_process(worker: Worker) -> None:
    """As where memory is short: the kernel takes the largest."""
    killed = Followed(worker, 'wait', lambda one: os.kill(one.children[0], signal.SIGKILL))
    assert killed.ended == (-signal.SIGKILL, None, '')
    after = Followed(worker, 'learn')
    assert after.ended.returncode == 0
    assert after.processes[0].pid == killed.processes[0].pid


def test_a_process_that_is_killed_takes_the_child_along(worker: Worker) -> None:
    killed = Followed(worker, 'wait', lambda one: one.processes[0].kill())
    assert killed.ended == (-signal.SIGKILL, None, '')
    # Nothing of it writes any more when the goal has ended.
    until_gone(killed.children[0])
    after = Followed(worker, 'learn')
    assert after.ended.returncode == 0
    assert after.processes[0].pid != killed.processes[0].pid
    worker.close()
    until_gone(after.processes[0].pid)


def test_it_ends_when_nobody_asks_and_comes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_module, '_COMMAND', (sys.executable, '-c', PROGRAM))
    worker = Worker(idle_s=0.0)
    # It may end before it sees the goal: then another one is asked.
    processes: list[subprocess.Popen[str]] = []
    ended = worker.follow(['learn'], silent, processes.append)
    assert ended.returncode == 0
    assert processes[-1].wait(DEADLINE_S) == 0
    assert worker.follow(['learn'], silent, processes.append).returncode == 0
    worker.close()
