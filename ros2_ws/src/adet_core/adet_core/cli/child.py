# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""A command as the child of the action server, see `adet_core.retraining.child`."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
import json
import os
import threading

from adet_core.progress import progress_bars, ProgressCallback


def add_option(parser: argparse.ArgumentParser) -> None:
    """Declare ``--child``, which is not for people."""
    parser.add_argument('--child', action='store_true', help=argparse.SUPPRESS)


@contextmanager
def progress(arguments: argparse.Namespace) -> Iterator[ProgressCallback]:
    """Progress bars; for a child JSON lines, and the end when standard input ends."""
    if arguments.child:
        threading.Thread(target=end_with, args=(0,), daemon=True).start()
        yield _line
        return
    with progress_bars() as bars:
        yield bars


def _line(stage: str, done: int, total: int | None) -> None:
    print(json.dumps({'stage': stage, 'done': done, 'total': total}), flush=True)


def end_with(descriptor: int) -> None:
    """End this process when a pipe ends, as nobody holds its other end any more.

    A server that was killed leaves no child behind; the files are whole at any instant.
    """
    # Not through sys.stdin: its lock would be held when the interpreter ends.
    while os.read(descriptor, 1):
        pass
    os._exit(130)
