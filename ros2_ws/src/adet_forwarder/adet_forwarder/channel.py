# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""One output with its queue: reads the result files, delivers, and tries again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
import random
import threading
import time

from adet_core.errors import AdetError, describe
from adet_core.follow import ResultFollower
from adet_core.records import results_path
from adet_forwarder.outputs.output import Output, OutputError
from adet_forwarder.row_queue import RowQueue

_BATCH = 100
_FIRST_WAIT_S = 0.5
_LOOK_S = 1.0


@dataclass(frozen=True)
class ChannelStatus:
    """How an output is.

    Attributes:
        queued: Rows that wait in its queue.
        delivered: Rows it delivered since the start.
        is_full: Whether further rows wait in the result files.
        failure: Why it cannot deliver; empty if it can.
    """

    queued: int
    delivered: int
    is_full: bool
    failure: str


class Channel:
    """Delivers every row of some result files to one output, in a thread of its own.

    Attributes:
        error: A fault of the program that ended the thread.
    """

    def __init__(
        self,
        name: str,
        output: Output,
        queue: RowQueue,
        files: Mapping[str, Path],
        *,
        longest_wait_s: float = 60.0,
    ) -> None:
        """Go on where the queue's file says.

        Args:
            name: Of the output, for people.
            output: Where to deliver.
            queue: Rows that are not delivered yet.
            files: Result file of each model.
            longest_wait_s: Longest pause between two attempts, in seconds.
        """
        self.name = name
        self.error: Exception | None = None
        self._output, self._queue, self._longest_wait_s = output, queue, longest_wait_s
        self._followers = {
            model: ResultFollower(path, queue.position(model)) for model, path in files.items()
        }
        self._delivered, self._failure = 0, ''
        self._wait_s, self._next_try = _FIRST_WAIT_S, 0.0
        self._woken, self._stopping = threading.Event(), False
        self._thread = threading.Thread(target=self._run, name=f'forward-{name}', daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def wake(self) -> None:
        """Say that there may be rows; else the files are looked at once a second."""
        self._woken.set()

    def stop(self) -> None:
        """End after the attempt at hand, and close everything."""
        self._stopping = True
        self._woken.set()
        if self._thread.ident is not None:
            self._thread.join()
        self._output.close()
        for follower in self._followers.values():
            follower.close()
        self._queue.close()

    def status(self) -> ChannelStatus:
        """How it is."""
        return ChannelStatus(
            self._queue.length, self._delivered, not self._queue.room, self._failure
        )

    def step(self) -> bool:
        """Read what is new and try to deliver some of it; whether there is more to do at once."""
        try:
            is_more = self._fetch()
            self._output.tick()
            if time.monotonic() >= self._next_try:
                is_more |= self._deliver()
                self._failure, self._wait_s = '', _FIRST_WAIT_S
        except (AdetError, OSError) as error:
            self._failure = describe(error)
            told = error.wait_s if isinstance(error, OutputError) else 0.0
            # Many robots that lost one receiver do not come back all at once.
            pause = max(told, self._wait_s * random.uniform(0.5, 1.0))  # noqa: S311
            self._next_try = time.monotonic() + min(pause, self._longest_wait_s)
            self._wait_s = min(2 * self._wait_s, self._longest_wait_s)
            return False
        return is_more

    def _fetch(self) -> bool:
        """Rows of the result files to the queue, as far as there is room."""
        is_more = False
        for model, follower in self._followers.items():
            limit = min(_BATCH, self._queue.room)
            rows = follower.read(limit)
            self._queue.append(model, rows)
            is_more |= bool(rows) and len(rows) == limit
        return is_more

    def _deliver(self) -> bool:
        batch = self._queue.first(self._output.portion)
        if not batch:
            return False
        count = self._output.deliver(batch)
        self._queue.remove(count)
        self._delivered += count
        # There is room for more now.
        return count > 0

    def _run(self) -> None:
        try:
            while not self._stopping:
                if not self.step():
                    self._woken.wait(self._pause_s())
                    self._woken.clear()
        # The node ends with it, and is started again.
        except Exception as error:  # noqa: BLE001
            self.error = error

    def _pause_s(self) -> float:
        until_try = self._next_try - time.monotonic()
        return min(_LOOK_S, until_try) if until_try > 0 and self._queue.length else _LOOK_S


def result_files(output_dir: Path, models: str) -> dict[str, Path]:
    """The result file of each model of a list that is separated by commas."""
    names = [name.strip() for name in models.split(',')]
    return {name: results_path(output_dir, name) for name in names}
