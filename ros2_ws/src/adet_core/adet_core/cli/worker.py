# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""The process behind `adet_core.retraining.worker`; no command for people.

    python -m adet_core.cli.worker --child SECONDS

Each line of its standard input is a goal, the words after ``adet`` as JSON. It tells that it took
the goal, its child tells the rest, and it tells at last how the child ended. It has one thread, so
that forking is safe, and ends when its standard input does.
"""

from __future__ import annotations

import json
import os
import select
import signal
import sys
import tempfile
import threading

import onnx
import onnxruntime

from adet_core import cli
from adet_core.cli import child, learn, retrain
from adet_core.retraining import new_category

# What a goal needs: its child finds all of it in memory.
_IMPORTED = (onnx, onnxruntime, learn, new_category, retrain)


def main() -> int:
    """Serve goals until nobody has one for so many seconds."""
    idle_s = float(sys.argv[-1])
    # Whoever holds the other end of the pipes ends it in order.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Byte by byte: what is not read yet is seen by select.
    with os.fdopen(0, 'rb', buffering=0, closefd=False) as goals:
        while select.select([goals], [], [], idle_s)[0]:
            line = goals.readline()
            if not line:
                break
            _tell({'taken': True})
            code, error = _serve(json.loads(line))
            _tell({'exit': code, 'error': error})
    return 0


def _tell(news: dict[str, object]) -> None:
    # A child that was killed may have left half a line.
    line = '\n' + json.dumps(news) + '\n'
    try:
        os.write(1, line.encode())
    except BrokenPipeError:
        # Who asked is gone.
        os._exit(0)


def _serve(words: list[str]) -> tuple[int, str]:
    """Run a command in a child; its exit code, and its last line on standard error."""
    with tempfile.TemporaryFile() as errors:
        ours, life = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(life)
            os.dup2(errors.fileno(), 2)
            _run(words, ours)
        os.close(ours)
        _, status = os.waitpid(pid, 0)
        os.close(life)
        errors.seek(0)
        told = errors.read().decode(errors='replace').strip().splitlines()
    return os.waitstatus_to_exitcode(status), told[-1] if told else ''


def _run(words: list[str], life: int) -> None:
    """Be the child; never returns."""
    code = 1
    try:
        # If the worker is killed, its child must not live on.
        threading.Thread(target=child.end_with, args=(life,), daemon=True).start()
        code = cli.main(words)
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else 1
    finally:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        os._exit(code)


if __name__ == '__main__':
    sys.exit(main())
