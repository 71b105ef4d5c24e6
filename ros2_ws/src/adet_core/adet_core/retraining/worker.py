# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""One process that serves goal after goal, so that each need not import its libraries.

The process is `adet_core.cli.worker`: it has imported what a retraining needs, and forks a child
for each goal. The memory of a goal goes back with its child; the worker itself never holds an
image, and ends when nobody has asked it for a while.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
import json
import os
import subprocess
import sys
import threading
from typing import Any, NamedTuple

from adet_core.progress import ProgressCallback

_COMMAND = (sys.executable, '-m', 'adet_core.cli.worker', '--child')


class Ended(NamedTuple):
    """How a process that served a goal ended.

    Attributes:
        returncode: As `subprocess.Popen` has it.
        result: What it came to; None if it did not.
        error: Its last line on standard error.
    """

    returncode: int
    result: dict[str, Any] | None
    error: str


class Worker:
    """Serves one goal at a time.

    Whoever kills its process ends the goal, and the next goal starts another.
    """

    def __init__(self, *, niceness: int = 0, idle_s: float = 15.0) -> None:
        """Start nothing yet.

        Args:
            niceness: How far it stands back, as the command nice has it.
            idle_s: Seconds that it waits for the next goal before it ends.
        """
        self._niceness, self._idle_s = niceness, idle_s
        self._lock = threading.Lock()
        self._process: subprocess.Popen[str] | None = None
        self._closed = False

    def follow(
        self,
        words: list[str],
        progress: ProgressCallback,
        begun: Callable[[subprocess.Popen[str]], None],
    ) -> Ended:
        """Serve a goal to its end.

        Args:
            words: What follows ``adet`` on a command line.
            progress: Told the progress.
            begun: Told the process, which may be killed from then on.
        """
        while True:
            process = self._present()
            begun(process)
            with suppress(BrokenPipeError):
                assert process.stdin is not None
                process.stdin.write(json.dumps(words) + '\n')
                process.stdin.flush()
            try:
                ended = _follow(process, progress)
            except BaseException:
                # Nobody may take what is left of this goal for the next one.
                _end(process)
                raise
            if ended is not None:
                return ended
            # It had just ended, having waited too long.

    def close(self) -> None:
        """End it; nothing is started any more."""
        with self._lock:
            self._closed = True
            process, self._process = self._process, None
        if process is not None:
            _end(process)

    def _present(self) -> subprocess.Popen[str]:
        with self._lock:
            if self._process is not None and self._process.poll() is None:
                return self._process
            if self._process is not None:
                _end(self._process)
            self._process = made = subprocess.Popen(  # noqa: S603 - our own program, and no shell
                [*_COMMAND, str(self._idle_s)],
                # Its end tells the worker that this process is gone.
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
        with suppress(ProcessLookupError):
            os.setpriority(os.PRIO_PROCESS, made.pid, self._niceness)
        return made


def _follow(process: subprocess.Popen[str], progress: ProgressCallback) -> Ended | None:
    """Pass on what the worker tells; None if it ended before it took the goal."""
    result: dict[str, Any] | None = None
    taken = False
    assert process.stdout is not None
    for line in process.stdout:
        try:
            news = json.loads(line)
        except ValueError:
            # Half a line of a child that was killed.
            continue
        taken = True
        if 'exit' in news:
            return Ended(news['exit'], result, news['error'])
        if 'stage' in news:
            progress(news['stage'], news['done'], news['total'])
        elif 'taken' not in news:
            result = news
    # The child holds the other end, too: both are gone.
    returncode = process.wait()
    return Ended(returncode, None, '') if taken or returncode else None


def _end(process: subprocess.Popen[str]) -> None:
    process.kill()
    with suppress(BrokenPipeError), process:
        pass
