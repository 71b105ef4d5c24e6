# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Results: one line per image, whole whatever happens to the process or the disc."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
import csv
from dataclasses import replace
import errno
import math
import os
from pathlib import Path
import random
import signal
import subprocess
import sys
import textwrap
from types import SimpleNamespace
from typing import Any

from hypothesis import given, HealthCheck, settings
from hypothesis import strategies as st
import numpy as np
import pytest
import victims

from adet_core.errors import RecordError
from adet_core.inference.detector import Inspection
from adet_core.records import (
    COLUMNS,
    read_records,
    Record,
    RecordWriter,
    results_path,
    set_aside,
    with_verdict,
)
from adet_core.scoring import Region

FULL = Record(
    stamp_ns=1_234_567_890_123_456_789,
    frame_id='camera',
    source='/data/normal/001.png',
    label='normal',
    model='padim',
    bundle_id='0123456789ab',
    score=12.5,
    normalised_score=0.25,
    threshold=37.75,
    is_anomalous=False,
    is_uncertain=True,
    regions=(Region(1, 2, 3, 4, 5.5), Region(10, 20, 30, 40, 50.0)),
    inference_ms=7.5,
    latency_ms=9.25,
    p_value=0.005,
    category='VisA_pipe_fryum',
)
FAILED = Record(
    stamp_ns=2, frame_id='', source='x.png', label='', model='padim', error='cannot be decoded'
)
HEADER = ','.join(COLUMNS) + '\n'
OLDER = HEADER.replace('is_uncertain,', '')
# Before rows named the category, and before there were p-values.
NAMELESS = HEADER.replace(',category', '')
FIRST = NAMELESS.replace(',p_value', '')


def _write(path: Path, *records: Record) -> RecordWriter:
    writer = RecordWriter(path)
    for record in records:
        writer.write(record)
    writer.close()
    return writer


def _plain(stamp: int) -> Record:
    return Record(stamp_ns=stamp, frame_id='f', source='s.png', label='', model='padim', score=1.5)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / 'output' / 'result_padim.csv'


def test_the_file_is_named_after_the_model(tmp_path: Path) -> None:
    assert results_path(tmp_path, 'padim') == tmp_path / 'result_padim.csv'


def test_rows_are_read_back_as_they_were_written(path: Path) -> None:
    _write(path, FULL, FAILED)
    assert list(read_records(path)) == [FULL, FAILED]


def test_the_file_is_plain_csv_with_a_header(path: Path) -> None:
    _write(path, FULL, FAILED)
    assert path.read_text() == (
        HEADER + '1234567890123456789,camera,/data/normal/001.png,normal,padim,0123456789ab,12.5,'
        '0.25,37.75,0,1,1 2 3 4 5.5;10 20 30 40 50,7.5,9.25,,0.005,VisA_pipe_fryum\n'
        '2,,x.png,,padim,,,,,,,,,,cannot be decoded,,\n'
    )


@pytest.mark.parametrize(
    ('header', 'end', 'lacks'),
    [
        (NAMELESS, ',', {'category': ''}),
        (FIRST, '', {'category': '', 'p_value': None}),
    ],
)
def test_a_file_of_an_earlier_version_is_read_and_goes_on_in_its_columns(
    path: Path, header: str, end: str, lacks: dict[str, Any]
) -> None:
    path.parent.mkdir()
    path.write_text(f'{header}2,,x.png,,padim,,,,,,,,,,cannot be decoded{end}\n3,,torn')
    assert list(read_records(path)) == [FAILED]
    writer = _write(path, FAILED, FULL)
    assert writer.repaired == '3,,torn'
    assert list(read_records(path)) == [FAILED, replace(FULL, **lacks)]
    assert path.read_text().splitlines()[0] == header.strip()
    # A torn first line of any version gives way to a new one.
    path.write_text(header[:-3])
    _write(path, FULL)
    assert list(read_records(path)) == [FULL]


@pytest.mark.parametrize(
    'source',
    [
        'a, b.png',
        'a "quoted" name.png',
        '"',
        ',",",',
        "it's; ünïcode 検査.png",
        os.fsdecode(b'/data/caf\xe9/\xff.png'),
        ' leading and trailing ',
        '=1+1',
        '#',
    ],
)
def test_odd_file_names_are_read_back(path: Path, source: str) -> None:
    record = Record(stamp_ns=1, frame_id=source, source=source, label='', model='padim')
    _write(path, record)
    assert list(read_records(path)) == [record]


@pytest.mark.parametrize(
    ('source', 'recorded'),
    [
        ('two\nlines.png', 'two lines.png'),
        ('carriage\rreturn.png', 'carriage return.png'),
        ('both\r\n.png', 'both .png'),
        ('nul\0.png', 'nul .png'),
        ('vertical\x0btab\x0c\x1c\x85\u2028.png', 'vertical tab    .png'),
    ],
)
def test_one_row_is_one_line_whatever_a_file_is_called(
    path: Path, source: str, recorded: str
) -> None:
    record = Record(stamp_ns=1, frame_id='', source=source, label='', model='m', error=source)
    _write(path, record, _plain(2))
    assert path.read_bytes().count(b'\n') == 3
    first, second = read_records(path)
    assert (first.source, first.error) == (recorded, recorded)
    assert second == _plain(2)


TEXT = st.text(st.characters(exclude_categories=['Cs']), max_size=20)
NUMBER = st.none() | st.floats(width=32, allow_nan=False, allow_infinity=False)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    text=TEXT,
    number=NUMBER,
    flag=st.sampled_from([None, True, False]),
    uncertain=st.sampled_from([None, True, False]),
    box=st.tuples(
        *[st.integers(0, 10**6)] * 4, st.floats(width=32, allow_nan=False, allow_infinity=False)
    ),
)
def test_any_values_are_read_back(
    tmp_path: Path,
    text: str,
    number: float | None,
    flag: bool | None,
    uncertain: bool | None,
    box: tuple[float, ...],
) -> None:
    path = tmp_path / 'r.csv'
    path.unlink(missing_ok=True)
    record = Record(
        stamp_ns=1,
        frame_id='f',
        source=text,
        label='anomaly',
        model='padim',
        score=number,
        is_anomalous=flag,
        is_uncertain=uncertain,
        regions=(Region(*box),),
        error=text,
    )
    _write(path, record)
    (read,) = read_records(path)
    one_line = ' '.join(text.replace('\0', ' ').splitlines())
    assert (read.source, read.error) == (one_line, one_line)
    assert read.is_anomalous is flag
    assert read.is_uncertain is uncertain
    assert read.score == (None if number is None else pytest.approx(number, rel=1e-8, abs=0))
    assert read.regions[0][:4] == box[:4]
    assert read.regions[0].score == pytest.approx(box[4], rel=1e-8, abs=0)


FORMULAS = ['=1+1', '+1.png', '-1.png', '@a', '\t=1', '\uff1d1', "'=1", "''-2"]


@pytest.mark.parametrize('text', [*FORMULAS, "'", "'a", 'a=1', ' =1'])
def test_a_spreadsheet_runs_no_cell_and_every_text_is_read_back(path: Path, text: str) -> None:
    record = Record(
        stamp_ns=1, frame_id=text, source=text, label='', model='padim', score=-1.5, error=text
    )
    _write(path, record)
    assert list(read_records(path)) == [record]
    (row,) = list(csv.reader(path.read_text().splitlines()))[1:]
    assert [row[COLUMNS.index(name)] for name in ('source', 'frame_id', 'error')] == [
        f"'{text}" if text in FORMULAS else text
    ] * 3
    assert row[COLUMNS.index('score')] == '-1.5'


def test_a_text_of_any_length_is_read_back_as_far_as_a_cell_goes(path: Path) -> None:
    record = Record(stamp_ns=1, frame_id='f' * 140_000, source='', label='', model='padim')
    _write(path, record)
    (read,) = read_records(path)
    assert read.frame_id == 'f' * 4095 + '…'


@pytest.mark.parametrize('number', ['nan', 'inf', '-inf'])
def test_a_row_with_figures_that_are_no_numbers_is_damaged(path: Path, number: str) -> None:
    _write(path, FULL, _plain(2))
    path.write_text(path.read_text().replace(',12.5,', f',{number},'))
    with pytest.raises(RecordError, match=r'line 2 is damaged; remove it'):
        list(read_records(path))


@pytest.mark.parametrize('field', ['score', 'threshold', 'normalised_score', 'inference_ms'])
def test_a_verdict_that_is_no_number_is_an_error(field: str) -> None:
    inspection = Inspection(
        score=1.0,
        normalised_score=0.5,
        threshold=2.0,
        is_anomalous=False,
        is_uncertain=True,
        regions=(Region(1, 2, 3, 4, 5.0),),
        anomaly_map=np.zeros((2, 2), np.float32),
        bundle_id='abc',
        inference_ms=3.0,
        p_value=0.25,
    )
    bare = replace(_plain(1), score=None)
    row = with_verdict(bare, inspection, latency_ms=4.0)
    assert (row.score, row.threshold, row.is_uncertain) == (1.0, 2.0, True)
    assert (row.regions, row.latency_ms) == (inspection.regions, 4.0)
    assert row.p_value == 0.25
    assert with_verdict(bare, replace(inspection, p_value=math.nan)).p_value is None
    # As a message of an earlier version.
    older = SimpleNamespace(**{k: v for k, v in vars(inspection).items() if k != 'p_value'})
    assert with_verdict(bare, older).p_value is None
    refused = with_verdict(bare, replace(inspection, **{field: math.nan}))
    assert (refused.score, refused.regions) == (None, ())
    assert refused.error == f'the verdict holds what is no number: {field} nan'
    odd = Region(1, 2, 3, 4, math.inf)
    assert 'region inf' in with_verdict(bare, replace(inspection, regions=(odd,))).error
    # The cell of a CSV has an end, and so has what a message may put there.
    many = replace(inspection, regions=inspection.regions * 5000)
    assert len(with_verdict(bare, many).regions) == 16


# ---- a torn end


def test_whatever_length_a_crash_cuts_the_file_to_all_whole_rows_stay(path: Path) -> None:
    records = [FULL, _plain(2), FAILED.__class__(**{**vars(FAILED), 'stamp_ns': 3})]
    _write(path, *records)
    data = path.read_bytes()
    lines = data.splitlines(keepends=True)
    lengths = [*range(len(HEADER) + 1), *range(len(HEADER) + len(lines[1]), len(data) + 1)]
    for length in lengths:
        path.write_bytes(data[:length])
        whole = data[:length].count(b'\n') - 1
        kept = b''.join(lines[: whole + 1])

        writer = _write(path, _plain(99))

        assert writer.repaired == data[len(kept) : length].decode(), length
        assert path.read_bytes().startswith(kept or HEADER.encode()), length
        assert list(read_records(path)) == [*records[: max(whole, 0)], _plain(99)], length


@pytest.mark.parametrize('torn', [b'5,f', b'5,f,s\n', b'\0' * 4096, b'\0' * 200_000 + b'\n'])
@pytest.mark.parametrize('rows', [0, 1, 3, 700])
def test_a_torn_end_is_cut_off_on_opening(path: Path, rows: int, torn: bytes) -> None:
    _write(path, *map(_plain, range(rows)))
    whole = path.read_bytes()
    path.write_bytes(whole + torn)

    writer = RecordWriter(path)

    assert path.read_bytes() == whole
    assert writer.repaired == torn.decode()
    writer.write(_plain(1000))
    writer.close()
    assert [row.stamp_ns for row in read_records(path)] == [*range(rows), 1000]


@pytest.mark.parametrize(
    'torn', [b'x' * 300_000, b'"' * 200_001, b'a\rb\n', b'1,' * 90_000 + b'\n', b'\xff\xfe\n']
)
def test_garbage_at_the_end_is_cut_off_on_opening(path: Path, torn: bytes) -> None:
    _write(path, FULL)
    with path.open('ab') as file:
        file.write(torn)
    assert RecordWriter(path).repaired
    assert list(read_records(path)) == [FULL]


def test_nothing_is_repaired_when_nothing_is_torn(path: Path) -> None:
    assert _write(path, FULL).repaired == ''
    assert _write(path).repaired == ''
    assert list(read_records(path)) == [FULL]


def test_several_torn_lines_are_cut_off_together(path: Path) -> None:
    _write(path, FULL)
    with path.open('a') as file:
        file.write('one\ntwo\nthr')
    writer = RecordWriter(path)
    assert writer.repaired == 'one\ntwo\nthr'
    assert list(read_records(path)) == [FULL]


@pytest.mark.parametrize(
    'foreign',
    [
        'name,value\n1,2\n',
        HEADER.replace('score', 'points'),
        HEADER.upper(),
        'x',
        '\ufeff' + HEADER,
        HEADER.replace('\n', '\r\n'),
        HEADER.replace('\n', ',extra\n'),
        # What was written before there was an uncertain band: without rows, torn, and with a row.
        OLDER,
        OLDER[:-9],
        OLDER + '1,f,s.png,,padim,abc,1.5,0.5,1,1,,,,\n',
    ],
)
def test_the_file_of_another_program_is_refused_and_untouched(path: Path, foreign: str) -> None:
    path.parent.mkdir()
    path.write_bytes(foreign.encode())
    message = f'^{path}: not a results file of this adet'
    with pytest.raises(RecordError, match=message):
        RecordWriter(path)
    with pytest.raises(RecordError, match=message):
        list(read_records(path))
    assert path.read_bytes() == foreign.encode()


def test_a_folder_that_cannot_be_written_is_an_os_error(tmp_path: Path) -> None:
    (tmp_path / 'file').write_text('')
    with pytest.raises(OSError, match=r'File exists|Not a directory'):
        RecordWriter(tmp_path / 'file' / 'result.csv')
    with pytest.raises(IsADirectoryError):
        RecordWriter(tmp_path)


# ---- frames that come a second time


def test_a_frame_is_not_written_twice(path: Path) -> None:
    writer = _write(path, _plain(1), _plain(2), _plain(1), _plain(2))
    assert [row.stamp_ns for row in read_records(path)] == [1, 2]
    assert list(writer.recent) == [1, 2]


def test_a_frame_is_not_written_again_after_reopening(path: Path) -> None:
    _write(path, *map(_plain, range(100)))
    writer = _write(path, _plain(99), _plain(36), _plain(100))
    assert [row.stamp_ns for row in read_records(path)] == list(range(101))
    assert list(writer.recent) == list(range(37, 101))


# ---- reading


def test_a_torn_last_line_is_passed_over(path: Path) -> None:
    _write(path, FULL, _plain(2))
    os.truncate(path, path.stat().st_size - 3)
    assert list(read_records(path)) == [FULL]


def test_a_file_without_rows_is_read(path: Path) -> None:
    _write(path)
    assert list(read_records(path)) == []
    assert path.read_text() == HEADER


def test_a_run_that_goes_on_can_be_read(path: Path) -> None:
    writer = RecordWriter(path)
    writer.write(FULL)
    assert list(read_records(path)) == [FULL]
    writer.write(FAILED)
    assert list(read_records(path)) == [FULL, FAILED]
    writer.close()


@pytest.mark.parametrize(
    'line',
    [
        '3,f,s.png',
        '',
        # A row of an older adet, without is_uncertain.
        '3,f,s.png,,padim,,1,1,1,1,,,,',
        'no number,f,s.png,,padim,,,,,,,,,,',
        '²,f,s.png,,padim,,,,,,,,,,',
        '3,f,s.png,,padim,,high,,,,,,,,',
        '3,f,s.png,,padim,,1,1,1,maybe,0,,,,',
        '3,f,s.png,,padim,,1,1,1,0,maybe,,,,',
        '3,f,s.png,,padim,,1,1,1,1,0,1 2 3,,,',
        '3,f,s.png,,padim,,1,1,1,1,0,1 2 3 4 x,,,',
        '3,f,s\rt.png,,padim,,,,,,,,,,',
        '3,f,"s.png,,padim,,,,,,,,,,',
        '3,f,s.png,,padim,,,,,,,,,,"not closed',
        '3,f,\0,,padim,,,,,,,,,,',
        '3,f,' + 's' * 200_000 + ',,padim,,,,,,,,,,',
        '9' * 5000 + ',f,s.png,,padim,,,,,,,,,,',
    ],
    ids=lambda line: line[:40],
)
def test_a_damaged_line_in_the_midst_is_named(path: Path, line: str) -> None:
    _write(path, FULL)
    data = path.read_bytes()
    path.write_bytes(data + line.encode() + b'\n' + data.splitlines(keepends=True)[1])
    rows = read_records(path)
    assert next(rows) == FULL
    with pytest.raises(RecordError, match=f'^{path}: line 3 is damaged; remove it$'):
        next(rows)


def test_a_missing_file_says_how_to_make_one(path: Path) -> None:
    message = f'^{path}: No such file or directory; make it with: adet inspect$'
    with pytest.raises(RecordError, match=message):
        next(read_records(path))


# ---- earlier results


@pytest.mark.timeout(20)
def test_what_is_no_file_of_results_is_neither_waited_for_nor_read(tmp_path: Path) -> None:
    pipe = tmp_path / 'pipe.csv'
    os.mkfifo(pipe)
    with pytest.raises(RecordError, match=r'pipe\.csv: is not a regular file; make it with'):
        list(read_records(pipe))
    long = tmp_path / 'long.csv'
    RecordWriter(long).close()
    os.truncate(long, 8 << 30)
    with pytest.raises(RecordError, match=r'long\.csv: line 2 is damaged'):
        list(read_records(long))
    with pytest.raises(RecordError, match=r'long\.csv: its last 67108864 bytes are damaged; move'):
        RecordWriter(long)


def test_earlier_results_are_set_aside_under_the_time_of_their_last_change(path: Path) -> None:
    names = []
    for text in ('a', 'b', 'c'):
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        os.utime(path, (1_700_000_000, 1_700_000_000))
        target = set_aside(path)
        assert not path.exists()
        assert target.read_text() == text
        names.append(target.name)
    stem = names[0].removesuffix('.csv')
    assert stem.startswith('result_padim.2023111')
    assert names == [f'{stem}.csv', f'{stem}_2.csv', f'{stem}_3.csv']


def test_setting_aside_replaces_nothing_of_anybody_else(path: Path) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text('a')
    os.utime(path, (1_700_000_000, 1_700_000_000))
    taken = set_aside(path)
    taken.unlink()
    taken.symlink_to('nowhere')
    path.write_text('b')
    os.utime(path, (1_700_000_000, 1_700_000_000))
    assert set_aside(path).name == taken.name.replace('.csv', '_2.csv')
    assert taken.is_symlink()


def test_setting_aside_nothing_is_an_os_error(path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        set_aside(path)


# ---- discs that are full, processes that are killed, and two writers


def test_a_full_disc_leaves_whole_rows_and_names_the_file(path: Path) -> None:
    script = textwrap.dedent("""
        import resource, signal, sys
        from pathlib import Path
        from adet_core.records import Record, RecordWriter
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
        writer = RecordWriter(Path(sys.argv[1]))
        failures = 0
        for stamp in range(1, 30):
            try:
                writer.write(Record(stamp_ns=stamp, frame_id='f', source='s' * 40, label='',
                                    model='m'))
            except OSError as error:
                assert error.filename == sys.argv[1], error
                failures += 1
        print(failures, error.errno if failures == 0 else 'failed', len(writer.recent))
        writer.close()
    """)
    command = [sys.executable, '-c', script, str(path)]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    rows = [row.stamp_ns for row in read_records(path)]
    assert output == f'{29 - len(rows)} failed {len(rows)}\n'
    assert 5 < len(rows) < 20
    assert rows == list(range(1, len(rows) + 1))
    assert path.read_bytes().endswith(b'\n')


def test_a_row_that_could_not_be_written_can_be_written_later(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = RecordWriter(path)
    writer.write(FULL)
    whole = os.write
    with monkeypatch.context() as patch:
        # What the kernel does when the disc fills up in the middle of a row.
        patch.setattr(os, 'write', lambda descriptor, line: whole(descriptor, line[:10]))
        with pytest.raises(OSError, match='No space left on device') as caught:
            writer.write(_plain(2))
    assert caught.value.errno == errno.ENOSPC
    assert caught.value.filename == str(path)
    assert list(read_records(path)) == [FULL]
    writer.write(_plain(2))
    writer.close()
    assert list(read_records(path)) == [FULL, _plain(2)]


def test_a_writer_killed_at_any_instant_loses_no_row_but_its_last(path: Path) -> None:
    chance = random.Random(1)
    stamps = []
    with victims.nursery('rows', path) as process:
        for number in range(1, 16):
            victims.kill_one(process, number, chance)
            # Linux may end a write for a killed process between two pages: the row it was at is
            # torn then, and the next writer takes it out.
            rows = list(read_records(path))
            assert rows == [victims.row(Record, row.stamp_ns) for row in rows]
            stamps = [row.stamp_ns for row in rows]
            assert stamps == sorted(set(stamps))
            assert stamps[-1] // 10**9 == number
    RecordWriter(path).close()
    assert path.read_bytes().endswith(b'\n')
    assert [row.stamp_ns for row in read_records(path)] == stamps
    for number in range(1, 16):
        # The rows of each victim begin at the first and have no gap.
        own = [stamp % 10**9 for stamp in stamps if stamp // 10**9 == number]
        assert own == list(range(len(own)))


@contextmanager
def _another_writer(path: Path) -> Iterator[subprocess.Popen[str]]:
    script = textwrap.dedent("""
        import sys
        from pathlib import Path
        from adet_core.records import RecordWriter
        writer = RecordWriter(Path(sys.argv[1]))
        print('open', flush=True)
        sys.stdin.readline()
    """)
    with subprocess.Popen(
        [sys.executable, '-c', script, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout.readline() == 'open\n'
        yield process
        process.kill()


def test_a_file_another_process_is_writing_is_refused(path: Path) -> None:
    _write(path, FULL)
    with _another_writer(path) as process:
        with pytest.raises(RecordError, match=f'^{path}: another process is writing it; stop it'):
            RecordWriter(path)
        assert list(read_records(path)) == [FULL]  # reading it is fine
        process.send_signal(signal.SIGKILL)
        process.wait()
        _write(path, _plain(2))  # the lock went with the process
    assert list(read_records(path)) == [FULL, _plain(2)]


def test_a_file_is_written_once_per_process_too(path: Path) -> None:
    writer = RecordWriter(path)
    with pytest.raises(RecordError, match='another process is writing it'):
        RecordWriter(path)
    writer.write(FULL)
    writer.close()
    writer.close()
    writer.sync()
    _write(path, FAILED)
    assert list(read_records(path)) == [FULL, FAILED]
