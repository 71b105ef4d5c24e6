# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Progress of long work: bars on a terminal, one line per stage in a log."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
import time
from typing import Any

ProgressCallback = Callable[[str, int, int | None], None]
"""Takes the stage's name, how much of it is done, and of how many (None: not known)."""

_FINISHED_SHOWN = 8
_EVERY_S = 60.0


def silent(stage: str, done: int, total: int | None) -> None:
    """A `ProgressCallback` for callers that nobody watches."""
    del stage, done, total


@contextmanager
def progress_bars() -> Iterator[ProgressCallback]:
    """Show each stage on standard error while the block runs."""
    # Takes 0.2 s, which every node would wait for and none needs.
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TaskID,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    # What people call their folders is no markup.
    console = Console(stderr=True, markup=False, emoji=False)
    columns = (
        TextColumn('{task.description}', markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    tasks: dict[str, TaskID] = {}
    log = _Log(lambda text: console.print(text, highlight=False))
    with Progress(*columns, console=console, disable=not console.is_terminal) as bars:

        def progress(stage: str, done: int, total: int | None) -> None:
            if stage not in tasks:
                _hide_finished(bars)
                tasks[stage] = bars.add_task(stage, total=total)
            if not console.is_terminal:
                log.tell(stage, done, total)
            bars.update(tasks[stage], completed=done, total=total)

        yield progress


class _Log:
    """One line for each stage, and one a minute of a long one, with its expected end."""

    def __init__(self, write: Callable[[str], object]) -> None:
        self._write = write
        self._begun: dict[str, tuple[float, int]] = {}
        self._told = 0.0

    def tell(self, stage: str, done: int, total: int | None) -> None:
        """Write a line if it is time for one."""
        now = time.time()
        if stage not in self._begun:
            self._begun[stage] = now, done
            self._told = now
            self._write(f'{stage} ...')
            return
        start, first = self._begun[stage]
        if now - self._told < _EVERY_S or not total or not first < done < total:
            return
        self._told = now
        end = datetime.fromtimestamp(now + (now - start) / (done - first) * (total - done))  # noqa: DTZ006 - for people
        self._write(f'{stage}: {done} of {total}, end about {end:%H:%M}')


def _hide_finished(bars: Any) -> None:
    """Leave the last few finished stages: what does not fit on the terminal is never redrawn."""
    finished = [task for task in bars.tasks if task.finished and task.visible]
    for task in finished[:-_FINISHED_SHOWN]:
        bars.update(task.id, visible=False)
