# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Commands on a terminal: a pseudo-terminal, and what stands on its screen."""

from __future__ import annotations

from collections.abc import Callable, Sequence
import contextlib
import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import termios
import time
from typing import NamedTuple

_DEADLINE_S = 120.0
# A sequence with its number and its letter, a control character, or text.
_PART = re.compile(r'\x1b\[\??([\d;]*)([A-Za-z])|([\r\n])|([^\x1b\r\n]+)')


class Shown(NamedTuple):
    """How a command ended on a terminal.

    Attributes:
        code: Its exit code; negative: the signal that ended it.
        lines: What stands on the screen and above it.
        raw: What the terminal was sent.
    """

    code: int
    lines: list[str]
    raw: str


def on_terminal(
    command: Sequence[object],
    *,
    width: int = 100,
    height: int = 30,
    during: Callable[[int, str], None] = lambda *_: None,
    **environment: str,
) -> Shown:
    """Run a command with a terminal for its input and output.

    Args:
        command: Its words.
        width: Columns of the terminal.
        height: Its lines.
        during: Called with the file descriptor of the keyboard and all that was shown so far,
            whenever something was.
        environment: Variables beside those of this process.
    """
    keyboard, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack('HHHH', height, width, 0, 0))
    # pytest's workers have a size of their own.
    foreign = ('NO_COLOR', 'FORCE_COLOR', 'COLUMNS', 'LINES')
    variables = {k: v for k, v in os.environ.items() if k not in foreign}
    with subprocess.Popen(
        # Ctrl-C goes to whom the terminal controls.
        ['setsid', '--ctty', *map(str, command)],
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        env={**variables, 'TERM': 'xterm-256color', **environment},
    ) as process:
        os.close(terminal)
        raw, deadline = '', time.monotonic() + _DEADLINE_S
        # The end of a terminal is an error.
        with contextlib.suppress(OSError):
            while data := _read(keyboard, deadline):
                raw += data.decode()
                during(keyboard, raw)
        code = process.wait(_DEADLINE_S)
    os.close(keyboard)
    return Shown(code, lines_of(raw), raw)


def _read(keyboard: int, deadline: float) -> bytes:
    ready, _, _ = select.select([keyboard], [], [], max(0.0, deadline - time.monotonic()))
    assert ready, 'the command does not end'
    return os.read(keyboard, 1 << 16)


def lines_of(raw: str) -> list[str]:
    """The lines that stand there after some output; wide enough that none is wrapped."""
    lines, row, column = [''], 0, 0
    for number, letter, control, text in _PART.findall(raw):
        if letter == 'A':
            row = max(0, row - int(number or 1))
        elif letter == 'K':
            lines[row] = '' if number == '2' else lines[row][:column]
        elif control == '\r':
            column = 0
        elif control == '\n':
            row += 1
            lines += [''] if row == len(lines) else []
        elif text:
            before, after = lines[row].ljust(column)[:column], lines[row][column + len(text) :]
            lines[row] = before + text + after
            column += len(text)
    return [line.rstrip() for line in lines]
