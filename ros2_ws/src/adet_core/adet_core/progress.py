# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Progress of long work: bars on a terminal, one line per stage in a log."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from datetime import datetime
from functools import partial
import time
from typing import Any, TYPE_CHECKING

from adet_core.terminal import Terminal

if TYPE_CHECKING:
    from rich.console import RenderableType

ProgressCallback = Callable[[str, int, int | None], None]
"""Takes the stage's name, how much of it is done, and of how many (None: not known)."""

_FINISHED_SHOWN = 8
_EVERY_S = 60.0
# Columns of a terminal, below which there is room for a stage's name and its count alone.
_NARROW = 50
# A table takes longer to draw than bars.
_BARS_HZ, _TABLE_HZ = 10, 4


def silent(stage: str, done: int, total: int | None) -> None:
    """A `ProgressCallback` for callers that nobody watches."""
    del stage, done, total


@contextmanager
def progress_bars(
    terminal: Terminal | None = None, above: RenderableType | None = None
) -> Iterator[ProgressCallback]:
    """Show each stage while the block runs.

    Args:
        terminal: Where to; standard error by default.
        above: What is drawn above the bars, anew each time.
    """
    # Takes 0.2 s, which every node would wait for and none needs.
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        ProgressColumn,
        TaskID,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    # What people call their folders is no markup.
    console = terminal.console if terminal else None
    console = console or Console(stderr=True, markup=False, emoji=False)
    # One that cannot move its cursor shows no bar before the end.
    has_bars = console.is_terminal and not console.is_dumb_terminal
    columns: tuple[ProgressColumn, ...] = (
        TextColumn('{task.description}', markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    if console.width < _NARROW:
        columns = columns[0], columns[2]
    tasks: dict[str, TaskID] = {}
    log = _Log(partial(console.print, highlight=False))

    class Bars(Progress):
        def get_renderables(self) -> Iterator[RenderableType]:
            if above is not None:
                yield above
            yield from super().get_renderables()

    bars = Bars(
        *columns,
        console=console,
        disable=not has_bars,
        refresh_per_second=_BARS_HZ if above is None else _TABLE_HZ,
        # One way for all lines, so that they keep their order.
        redirect_stderr=terminal is None,
    )

    def progress(stage: str, done: int, total: int | None) -> None:
        if stage not in tasks:
            _hide_finished(bars)
            tasks[stage] = bars.add_task(stage, total=total)
        if not has_bars:
            log.tell(stage, done, total)
        bars.update(tasks[stage], completed=done, total=total)

    alone = terminal.alone if terminal else nullcontext()
    with alone:
        bars.start()
    try:
        yield progress
    finally:
        with alone:
            bars.stop()


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
