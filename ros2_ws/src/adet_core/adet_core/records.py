# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""``result_<model>.csv``: one line per inspected frame, whole even after a crash."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
import csv
from dataclasses import dataclass, fields, replace
from datetime import datetime
import errno
import fcntl
import io
import itertools
import math
import os
from pathlib import Path
import re
from typing import Any, IO

from adet_core.errors import RecordError
from adet_core.folder import open_regular
from adet_core.scoring import MAX_REGIONS, Region

# Enough of the file's end to find the last whole line and the frames a restart may see again.
_TAIL_BYTES = 1 << 16
_RECENT = 64
# Longer than any path; the reader of Python's csv module ends at 131,072.
_LONGEST_CELL = 4096
_NUMBERS = {'score', 'normalised_score', 'threshold', 'inference_ms', 'latency_ms', 'p_value'}
# All cells of a row, each sign of which may take some bytes.
_LONGEST_LINE = 1 << 20
# Zeros that a power cut left behind the last row, at most.
_LONGEST_TAIL = 1 << 26
# What spreadsheets take for a formula, and what was made safe before.
_FORMULA = re.compile("'*[=+\\-@\t＝＋－＠]")  # noqa: RUF001 - wide signs count, too


@dataclass(frozen=True, kw_only=True)
class Record:
    """One row. A frame that was not inspected has ``error`` set and no figures.

    Attributes:
        stamp_ns: Stamp of the image, in nanoseconds since 1970; joins rows, messages and bags.
        frame_id: Frame of the image.
        source: File path, ``video.mp4#12`` (frames count from 0) or ``camera:0``; empty for a
            topic of another node.
        label: ``normal``, ``anomaly`` or empty.
        model: The model name.
        bundle_id: Id of the bundle that made the verdict.
        score: Raw score in the model's own unit; larger is worse.
        normalised_score: Score on a scale from 0 to 1, the threshold at 0.5.
        threshold: Raw score that ``score`` was compared with.
        is_anomalous: Whether ``score`` is at or above ``threshold``; 1 or 0 in the file.
        is_uncertain: Whether ``score`` is below ``threshold``, but in the bundle's uncertain band;
            1 or 0 in the file.
        regions: Up to 16 boxes ``x y width height peak`` in pixels of the image, separated by
            ``;``, strongest first; ``peak`` has the unit of ``score``. Empty for a normal image.
        inference_ms: Milliseconds from the decoded image to the verdict.
        latency_ms: Milliseconds from the image's stamp to the row; empty for a recording,
            whose stamps say nothing of it.
        error: Why there is no verdict, in one line; then ``score`` to ``latency_ms`` are empty.
        p_value: How often a good part scores at least so high: 0.005 is one in 200. Empty where
            the bundle knows no scores of normal images.
        category: What the bundle that made the verdict was trained for; of an image without a
            verdict, what was in service, or empty if nobody could read it.
    """

    stamp_ns: int
    frame_id: str
    source: str
    label: str
    model: str
    bundle_id: str = ''
    score: float | None = None
    normalised_score: float | None = None
    threshold: float | None = None
    is_anomalous: bool | None = None
    is_uncertain: bool | None = None
    regions: tuple[Region, ...] = ()
    inference_ms: float | None = None
    latency_ms: float | None = None
    error: str = ''
    p_value: float | None = None
    category: str = ''

    @property
    def reason(self) -> str:
        """The error without the image's name, which most of them begin with."""
        return self.error.removeprefix(self.source).lstrip(' :')


_FIGURES = (
    'score',
    'normalised_score',
    'threshold',
    'is_anomalous',
    'is_uncertain',
    'inference_ms',
)


def with_verdict(row: Record, verdict: Any, *, latency_ms: float | None = None) -> Record:
    """A row with what a detector found in its image.

    Args:
        row: What is known of the image.
        verdict: An `adet_core.inference.detector.Inspection`, or an AnomalyResult, live or out of
            a bag: they have fields of the same names.
        latency_ms: From the image's stamp to this row; None if that says nothing.

    Returns:
        A row without figures and with an error if one of them is no number, as a message may have
        it. Regions beyond the strongest ones are left out.
    """
    figures = {name: getattr(verdict, name) for name in _FIGURES}
    regions = tuple(
        Region(r.x, r.y, r.width, r.height, r.score) for r in verdict.regions[:MAX_REGIONS]
    )
    numbers = [*figures.items(), *(('region', region.score) for region in regions)]
    if odd := [f'{name} {value}' for name, value in numbers if not math.isfinite(value)]:
        return replace(row, error=f'the verdict holds what is no number: {odd[0]}')
    # A message in a bag of an earlier version lacks it.
    p_value = getattr(verdict, 'p_value', math.nan)
    return replace(
        row,
        **figures,
        regions=regions,
        latency_ms=latency_ms,
        p_value=p_value if math.isfinite(p_value) else None,
    )


COLUMNS = tuple(field.name for field in fields(Record))
# Those of a new file, and of those that earlier versions began.
_KNOWN_COLUMNS = (
    COLUMNS,
    *(COLUMNS[: COLUMNS.index(later)] for later in ('category', 'p_value')),
)


def results_path(folder: Path, model: str) -> Path:
    """Where the rows of a model go."""
    return folder / f'result_{model}.csv'


def set_aside(path: Path) -> Path:
    """Rename the results of an earlier run, so that a new one starts empty and nothing is lost.

    Returns:
        The new name, ``result_<model>.<YYYYMMDD_HHMMSS>.csv`` after its last change.
    """
    changed = datetime.fromtimestamp(path.stat().st_mtime)  # noqa: DTZ006 - a name for people
    stem = f'{path.stem}.{changed:%Y%m%d_%H%M%S}'
    for number in itertools.count(1):
        target = path.with_name(f'{stem}{f"_{number}" if number > 1 else ""}{path.suffix}')
        try:
            # Made here and now, so that nothing of anybody else is replaced.
            target.touch(exist_ok=False)
        except FileExistsError:
            continue
        break
    path.rename(target)
    return target


class RecordWriter:
    """Appends rows, each with a single write: a killed process loses none but its last.

    A file that a kill or a power cut left with a torn last line is repaired when it is opened. One
    that an earlier version began keeps its columns.

    Attributes:
        path: The file.
        recent: Stamps (ns) of the last rows, to recognise a frame that comes a second time.
        repaired: What was cut off on opening, empty if nothing was.
    """

    def __init__(self, path: Path) -> None:
        """Open or create the file.

        Raises:
            OSError: The file cannot be written.
            RecordError: It is not a results file of adet, or somebody else is writing it.
        """
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        self._descriptor = os.open(
            path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644
        )
        try:
            self._lock()
            self.repaired, rows = self._repair()
        except BaseException:
            self.close()
            raise
        self.recent = deque((row.stamp_ns for row in rows), maxlen=_RECENT)

    def write(self, record: Record, *, again: bool = False) -> bool:
        """Append one row; a frame whose stamp was just written is not written again.

        Args:
            record: The row.
            again: Write it whatever its stamp is, as that of another image with the same stamp.

        Returns:
            Whether it was written.

        Raises:
            OSError: The row could not be written whole (a full disc, say); the file then ends
                with the row before it.
        """
        if record.stamp_ns in self.recent and not again:
            return False
        self._append(_line(record, self._columns))
        self.recent.append(record.stamp_ns)
        return True

    def sync(self) -> None:
        """Flush to the disk, so that the rows survive a power cut; nothing once it is closed."""
        if self._descriptor >= 0:
            os.fsync(self._descriptor)

    def close(self) -> None:
        """Flush and close; further calls do nothing."""
        if self._descriptor >= 0:
            descriptor, self._descriptor = self._descriptor, -1
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)

    def _lock(self) -> None:
        """Keep other writers out; the lock goes when the process does, however it ends."""
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            remedy = 'stop it, or give this run another output folder'
            msg = f'{self.path}: another process is writing it; {remedy}'
            raise RecordError(msg) from None

    def _append(self, line: bytes) -> None:
        size = os.fstat(self._descriptor).st_size
        try:
            written = os.write(self._descriptor, line)
        except OSError as error:
            raise _named(error, self.path) from None
        if written != len(line):
            os.ftruncate(self._descriptor, size)
            raise _named(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), self.path)

    def _repair(self) -> tuple[str, list[Record]]:
        """Cut off a torn end; returns it, and the rows among the last bytes of the file."""
        size = os.fstat(self._descriptor).st_size
        head = os.pread(self._descriptor, len(_join(COLUMNS)), 0)
        self._columns = _columns_of(head[: head.find(b'\n') + 1]) or COLUMNS
        header = _join(self._columns)
        if not head.startswith(header[: len(head)]):
            msg = f'{self.path}: not a results file of this adet (other columns); move it away'
            raise RecordError(msg)
        if size < len(header):
            os.ftruncate(self._descriptor, 0)
            self._append(header)
            self.sync()
            return head.decode(), []
        tail = _TAIL_BYTES
        lines, torn = self._tail(size, max(len(header), size - tail), len(header))
        while not lines and tail < min(size, _LONGEST_TAIL):
            # The torn end is longer than that; a power cut can leave any number of zero bytes.
            tail *= 2
            lines, torn = self._tail(size, max(len(header), size - tail), len(header))
        if not lines and size - tail > len(header):
            msg = f'{self.path}: its last {tail} bytes are damaged; move it away'
            raise RecordError(msg)
        if torn:
            os.ftruncate(self._descriptor, size - len(torn))
        rows = [_parse(line, self._columns) for line in lines[-_RECENT:]]
        return torn.decode(errors='replace'), [row for row in rows if row]

    def _tail(self, size: int, start: int, first: int) -> tuple[list[bytes], bytes]:
        """The lines from ``start`` on up to the last whole one, and the torn rest."""
        lines = os.pread(self._descriptor, size - start, start).splitlines(keepends=True)
        if start > first:
            lines = lines[1:]
        whole = len(lines)
        while whole and _parse(lines[whole - 1], self._columns) is None:
            whole -= 1
        return lines[:whole], b''.join(lines[whole:])


def read_records(path: Path) -> Iterator[Record]:
    """Read rows back; a torn last line (a crash, or a run still going on) is passed over.

    Raises:
        RecordError: The file is missing, is not one of adet's, or a line in its midst is damaged.
    """
    try:
        with open_regular(path) as file:
            columns = _columns_of(file.readline(_LONGEST_LINE))
            if columns is None:
                msg = f'{path}: not a results file of this adet (other columns)'
                raise RecordError(msg)
            lines = iter(lambda: file.readline(_LONGEST_LINE), b'')
            for number, line in enumerate(lines, start=2):
                row = _parse(line, columns)
                if row is not None:
                    yield row
                elif line.endswith(b'\n') or len(line) == _LONGEST_LINE:
                    msg = f'{path}: line {number} is damaged; remove it'
                    raise RecordError(msg)
    except OSError as error:
        msg = f'{path}: {error.strerror}; make it with: adet inspect'
        raise RecordError(msg) from None


def new_rows(file: IO[bytes], start: int) -> Iterator[tuple[Record, bytes, int]]:
    """Read the whole rows of an open results file from a position on.

    A torn end, and what is damaged, is passed over.

    Args:
        file: The file, which may still be written.
        start: Where to begin, in bytes: 0, or the end of a row.

    Yields:
        Each row, its line, and where that ends.

    Raises:
        RecordError: The file is not one of adet's.
    """
    file.seek(0)
    header = file.readline(_LONGEST_LINE)
    columns = _columns_of(header)
    if columns is None:
        if header.endswith(b'\n'):
            msg = f'{file.name}: not a results file of this adet (other columns)'
            raise RecordError(msg)
        return
    end = max(start, len(header))
    file.seek(end)
    for line in iter(lambda: file.readline(_LONGEST_LINE), b''):
        end += len(line)
        row = _parse(line, columns)
        if row is not None:
            yield row, line, end


def _named(error: OSError, path: Path) -> OSError:
    """The same error with the file's name, which the system call did not know."""
    return OSError(error.errno, error.strerror, str(path))


def _columns_of(header: bytes) -> tuple[str, ...] | None:
    """The columns that a whole first line names; None if they are not adet's."""
    return next((names for names in _KNOWN_COLUMNS if header == _join(names)), None)


def _line(record: Record, columns: Sequence[str]) -> bytes:
    return _join([_text(getattr(record, name)) for name in columns])


def _text(value: Any) -> str:
    if value is None:
        return ''
    if isinstance(value, bool):
        return str(int(value))
    if isinstance(value, float):
        return f'{value:.9g}'
    if isinstance(value, tuple):
        return ';'.join(' '.join(f'{number:.9g}' for number in region) for region in value)
    # One row is one line, whatever a file is called.
    line = ' '.join(str(value).replace('\0', ' ').splitlines())
    return safe_cell(line if len(line) <= _LONGEST_CELL else f'{line[: _LONGEST_CELL - 1]}…')


def safe_cell(text: str) -> str:
    """Text as a cell that spreadsheets show and do not run; `plain_text` is the reverse."""
    return f"'{text}" if _FORMULA.match(text) else text


def plain_text(cell: str) -> str:
    """What `safe_cell` made a cell of."""
    return cell[1:] if cell.startswith("'") and _FORMULA.match(cell) else cell


def _join(values: Sequence[str]) -> bytes:
    line = io.StringIO()
    csv.writer(line, lineterminator='\n').writerow(values)
    return line.getvalue().encode(errors='surrogateescape')


def _parse(line: bytes, columns: Sequence[str]) -> Record | None:
    """One line as a row; None if it is not a whole one."""
    if not line.endswith(b'\n') or b'\0' in line:
        return None
    text = line[:-1].decode(errors='surrogateescape')
    try:
        return _record(dict(zip(columns, next(csv.reader([text], strict=True), []), strict=True)))
    except (ValueError, KeyError, csv.Error):
        return None


def _record(row: dict[str, str]) -> Record:
    values: dict[str, Any] = {name: plain_text(text) for name, text in row.items()}
    values['stamp_ns'] = int(values['stamp_ns'])
    for name in _NUMBERS & values.keys():
        values[name] = _number(values[name]) if values[name] else None
    for name in ('is_anomalous', 'is_uncertain'):
        values[name] = {'1': True, '0': False, '': None}[values[name]]
    values['regions'] = tuple(
        map(_region, values['regions'].split(';') if values['regions'] else [])
    )
    return Record(**values)


def _number(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        msg = f'{text} is no figure'
        raise ValueError(msg)
    return number


def _region(text: str) -> Region:
    x, y, width, height, score = text.split()
    return Region(int(x), int(y), int(width), int(height), _number(score))
