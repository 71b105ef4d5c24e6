# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""What is written to standard error stands above what is shown live."""

from __future__ import annotations

import sys

import pytest
from screen import on_terminal

from adet_core.terminal import lines_above

BEGIN = """
import ctypes, os, subprocess, sys, time
from adet_core.progress import progress_bars
from adet_core.terminal import lines_above
libc = ctypes.CDLL(None)
def say(text):
    libc.write(2, text.encode(), len(text.encode()))
with lines_above() as terminal:
    print('live' if terminal else 'not live', flush=True)
    with progress_bars(terminal, terminal and 'THE TABLE') as progress:
        progress('inspecting', 1, 4)
"""


def shown(body, **options):
    code = BEGIN + ''.join(f'        {line}\n' for line in body.strip().splitlines())
    return on_terminal([sys.executable, '-c', code], **options)


def test_lines_of_any_library_stand_above_the_bars_and_are_whole(tmp_path):
    said, seen = ['first', 'second half', 'of python', 'of a child'], tmp_path / 'seen'
    body = f"""
say('first\\nsecond ')
progress('inspecting', 2, 4)
say('half\\n')
print('of python', file=sys.stderr)
subprocess.run(['sh', '-c', 'echo of a child >&2'], stderr=terminal.stderr)
progress('inspecting', 4, 4)
while not os.path.exists({str(seen)!r}): time.sleep(0.01)
say('no end')
"""

    def look(_, raw):
        if all(line in raw for line in said):
            seen.touch()

    ended = shown(body, during=look)
    assert ended.code == 0
    *above, table, bar, below, _ = ended.lines
    assert above[0] == 'live'
    assert sorted(above[1:]) == sorted(said)
    assert below == 'no end'
    assert table == 'THE TABLE'
    assert bar.startswith('inspecting ')
    assert ' 4/4 ' in bar
    # The cursor is there again.
    assert ended.raw.rindex('\x1b[?25h') > ended.raw.rindex('\x1b[?25l')


def test_colours_are_kept_and_other_control_sequences_are_not():
    body = "say('\\x1b[33mwarned\\x1b[0m \\x1b[2J\\x1b]0;title\\x07of a name\\n')"
    ended = shown(body)
    assert '\x1b[33mwarned' in ended.raw
    assert '\x1b[2J' not in ended.raw
    assert '\x1b]0' not in ended.raw
    assert '\x1b[33m' not in shown(body, NO_COLOR='1').raw


def test_an_error_stands_below():
    ended = shown("say('before\\n')\nraise SystemExit('error: broken')")
    assert ended.code == 1
    assert ended.lines[-2:] == ['error: broken', '']
    assert 'before' in ended.lines


def test_a_crash_says_where():
    ended = shown('import faulthandler\nfaulthandler._sigsegv()')
    assert ended.code == -11
    assert 'Fatal Python error: Segmentation fault' in ended.raw


def test_who_writes_does_not_wait_for_a_terminal_that_stands_still(tmp_path):
    done = tmp_path / 'done'
    # Three times what the pipe holds, and nobody reads the terminal before it is written.
    body = f"for _ in range(3 << 10): say('.' * 1023 + '\\n')\nopen({str(done)!r}, 'w').close()"
    waited = []

    def wait(_, raw):
        if 'live' in raw and not waited:
            waited.append(True)
            while not done.exists():
                pass

    ended = shown(body, during=wait)
    assert ended.code == 0
    assert '.' * 1023 in ended.lines


@pytest.mark.parametrize('term', ['dumb', 'unknown'])
def test_a_terminal_that_cannot_move_its_cursor_gets_a_log(term):
    ended = shown("say('said\\n')\nprogress('inspecting', 2, 4)", TERM=term)
    assert ended.lines == ['not live', 'inspecting ...', 'said', '']


def test_where_there_is_no_terminal_nothing_changes(capfd):
    with lines_above() as terminal:
        assert terminal is None
        sys.stderr.write('said\n')
    assert capfd.readouterr() == ('', 'said\n')


@pytest.mark.parametrize('width', [20, 49])
def test_a_narrow_terminal_has_names_and_counts_alone(width):
    ended = shown("progress('inspecting', 3, 4)", width=width)
    assert ended.lines[-2] == 'inspecting 3/4'
