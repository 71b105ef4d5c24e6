# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""An inspection as a terminal shows it: counts of each model, and the last verdicts."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
import os
from pathlib import PurePath
import threading
import time
from typing import TYPE_CHECKING

from adet_core.records import Record
from adet_core.terminal import lines_above, Terminal

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderableType

_SHOWN = 8
# Lines that the bars below and the prompt have.
_BELOW = 4
_RATE_S = 5.0
# Widths from which on the table also has the score, the threshold and the time.
_NARROW, _WIDE, _WIDER = 40, 60, 90
_GAP = 2
# 2001: no camera's clock is older.
_FIRST_CLOCK_NS = 10**18
_COLOURS = {
    'anomaly': 'bold red',
    'uncertain': 'yellow',
    'normal': 'green',
    'not inspected': 'magenta',
}
_COLOURED = 'RCUTILS_COLORIZED_OUTPUT'


@contextmanager
def live_view(*, wanted: bool = True) -> Iterator[LiveView | None]:
    """Show an inspection live on the terminal, with the log of ROS 2 above it.

    Args:
        wanted: Whether there is one at all.

    Yields:
        The view; None where there is no terminal to show it on.
    """
    if not wanted:
        yield None
        return
    with lines_above() as terminal:
        if terminal is None:
            yield None
            return
        # To a pipe, ROS 2 writes without colours.
        before = os.environ.get(_COLOURED)
        os.environ.setdefault(_COLOURED, '1')
        try:
            yield LiveView(terminal)
        finally:
            if before is None:
                del os.environ[_COLOURED]


@dataclass
class _Count:
    """What a model has recorded in this run."""

    rows: int = 0
    rejected: int = 0
    uncertain: int = 0
    missing: int = 0
    # When the view was drawn lately, and how many rows there were.
    drawn: deque[tuple[float, int]] = field(default_factory=deque)

    def rate(self, now: float) -> float:
        """Rows per second lately."""
        while len(self.drawn) > 1 and now - self.drawn[0][0] > _RATE_S:
            self.drawn.popleft()
        self.drawn.append((now, self.rows))
        then, rows = self.drawn[0]
        return (self.rows - rows) / (now - then) if now > then else 0.0


class LiveView:
    """What rich draws above the bars, in another thread than those the rows come from.

    Attributes:
        terminal: Where it is drawn.
    """

    def __init__(self, terminal: Terminal) -> None:
        """Begin without a row."""
        self.terminal = terminal
        self._counts: dict[str, _Count] = {}
        self._last: deque[tuple[str, Record]] = deque(maxlen=_SHOWN)
        self._lock = threading.Lock()

    def add(self, name: str, record: Record) -> None:
        """Count a row that was recorded.

        Args:
            name: The model's, with the namespace before it where there are several cameras.
            record: The row.
        """
        with self._lock:
            count = self._counts.setdefault(name, _Count())
            count.rows += 1
            count.rejected += record.is_anomalous is True
            count.uncertain += record.is_uncertain is True
            count.missing += record.score is None
            self._last.append((name, record))

    def __rich_console__(
        self, console: Console, options: ConsoleOptions
    ) -> Iterator[RenderableType]:
        """Draw: as many columns and rows as the terminal has room for."""
        from rich.text import Text

        now = time.monotonic()
        with self._lock:
            lines = [_line(name, count, now) for name, count in self._counts.items()]
            last = list(self._last)
        width = options.max_width
        taken = sum(-(-len(line) // width) for line in lines)
        # One line is the heading's.
        if (room := console.height - _BELOW - taken - 1) > 0 and last:
            yield _table(last[-room:], width, named=len(lines) > 1)
        for line in lines:
            yield Text(line, style='bold')


def _line(name: str, count: _Count, now: float) -> str:
    judged = count.rows - count.missing
    share = f' ({100 * count.rejected / judged:.1f} %)' if judged else ''
    parts = [f'{count.rejected} of {judged} rejected{share}', f'{count.rate(now):.1f} images/s']
    parts += [f'{count.uncertain} uncertain'] if count.uncertain else []
    parts += [f'{count.missing} not inspected'] if count.missing else []
    return f'{name}: {", ".join(parts)}'


def _table(rows: list[tuple[str, Record]], width: int, *, named: bool) -> RenderableType:
    from rich.cells import cell_len
    from rich.table import Table
    from rich.text import Text

    names = [
        *(['time'] if width >= _WIDER else []),
        *(['model'] if named else []),
        'image',
        'verdict',
        *(['score'] if width >= _NARROW else []),
        *(['threshold'] if width >= _WIDE else []),
    ]
    parts = 2 if width >= _WIDE else 1
    lines = [[_cell(column, name, record, parts) for column in names] for name, record in rows]
    widths = [max(map(cell_len, column)) for column in zip(names, *lines, strict=True)]
    # The image gives way: what is said of it is what people look for.
    spare = width - sum(widths) - _GAP * (len(names) - 1)
    widths[names.index('image')] = max(1, widths[names.index('image')] + min(0, spare))
    table = Table(box=None, padding=(0, _GAP, 0, 0), pad_edge=False, header_style='dim')
    for name, wide in zip(names, widths, strict=True):
        table.add_column(
            name,
            justify='right' if name in ('score', 'threshold') else 'left',
            width=wide,
            no_wrap=True,
            overflow='ellipsis',
        )
    for line in lines:
        table.add_row(*(Text(cell, _COLOURS.get(cell, '')) for cell in line))
    return table


def _cell(column: str, name: str, record: Record, parts: int) -> str:
    when = time_of_day(record.stamp_ns)
    if column == 'time':
        return when
    if column == 'model':
        return name
    if column == 'image':
        return '/'.join(PurePath(record.source).parts[-parts:]) or when
    if column == 'verdict':
        return verdict_of(record)
    value = record.score if column == 'score' else record.threshold
    return '-' if value is None else f'{value:.4g}'


def verdict_of(record: Record) -> str:
    """The verdict of a row, for people: ``not inspected`` where there is none."""
    if record.score is None:
        return 'not inspected'
    if record.is_anomalous:
        return 'anomaly'
    return 'uncertain' if record.is_uncertain else 'normal'


def time_of_day(stamp_ns: int) -> str:
    """The local time of a stamp; a source without a clock has numbers for stamps."""
    if stamp_ns < _FIRST_CLOCK_NS:
        return f'image {stamp_ns}'
    return f'{datetime.fromtimestamp(stamp_ns / 1e9):%H:%M:%S}'  # noqa: DTZ006 - for people
