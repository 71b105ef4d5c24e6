# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""An end for runs of ONNX Runtime: a graph from elsewhere may hold a loop that has none."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
import math
import threading
import time

import onnxruntime

from adet_core.errors import BackendError

LIMIT_S = 120.0
"""Seconds of one run, more than the slowest board needs for the largest graph."""
_LOOK_S = 1.0


@dataclass
class _Run:
    """A run, and how often it may still be seen running."""

    options: onnxruntime.RunOptions
    looks: int


class TimeLimit:
    """Ends runs that take too long, from one thread that looks once a second while any runs.

    Looks are counted, not time: a process that was stopped, as by Ctrl-Z, does not look either.
    """

    def __init__(self, seconds: float = LIMIT_S, *, look: float = _LOOK_S) -> None:
        """Begin nothing yet.

        Args:
            seconds: How long a run may take.
            look: Seconds between two looks.
        """
        self._seconds, self._look = seconds, look
        self._running: dict[int, _Run] = {}
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None

    @contextmanager
    def limited(self) -> Iterator[onnxruntime.RunOptions]:
        """Options for one run within the block.

        Raises:
            BackendError: The run took too long and was ended.
        """
        options = onnxruntime.RunOptions()
        with self._changed:
            self._running[id(options)] = _Run(options, math.ceil(self._seconds / self._look))
            # A process that was forked has none.
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._watch, name='time_limit', daemon=True)
                self._thread.start()
            self._changed.notify()
        try:
            yield options
        except Exception:
            if options.terminate:
                msg = f'inference was ended after {self._seconds:g} s; export the bundle again'
                raise BackendError(msg) from None
            raise
        finally:
            with self._changed:
                del self._running[id(options)]

    def _watch(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._running)
                for run in self._running.values():
                    run.looks -= 1
                    if run.looks < 0:
                        run.options.terminate = True
            time.sleep(self._look)


time_limit = TimeLimit()
"""That of this process."""
