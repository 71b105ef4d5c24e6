# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""A terminal on which something is shown live: what anybody else says there goes above it.

Libraries in C write to file descriptor 2 past ``sys.stderr``, so it is the descriptor that leads
into a pipe meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
import faulthandler
import fcntl
import os
import select
import sys
import threading
from typing import Any, NamedTuple, TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

_STDERR = 2
# The most that Linux gives to everybody.
_PIPE_BYTES = 1 << 20
_READ_BYTES = 1 << 16


class Terminal(NamedTuple):
    """A terminal that standard error leads to.

    Attributes:
        console: Draws on it.
        stderr: Standard error for processes that are started meanwhile.
        alone: Held while lines are printed, and by whoever begins or ends to show something live:
            what is printed in the midst of that stands anywhere.
    """

    console: Console
    stderr: int
    alone: threading.Lock


@contextmanager
def lines_above() -> Iterator[Terminal | None]:
    """Print what is written to standard error above what a console shows live.

    Yields:
        The terminal; None, and nothing is changed, where standard error is none, or one that
        cannot move its cursor.
    """
    from rich.console import Console

    with suppress(AttributeError, OSError, ValueError):
        sys.stderr.flush()
    if not os.isatty(_STDERR):
        yield None
        return
    with os.fdopen(os.dup(_STDERR), 'w', encoding='utf-8', errors='backslashreplace') as file:
        console = Console(file=file, markup=False, emoji=False)
        if console.is_dumb_terminal:
            yield None
            return
        alone = threading.Lock()
        with _piped(file.fileno(), _printer(console, alone)) as stderr, _crashes_told(file):
            yield Terminal(console, stderr, alone)


def _printer(console: Console, alone: threading.Lock) -> Callable[[str], None]:
    from rich.text import Text

    def tell(text: str) -> None:
        # Colours are kept, all other control sequences are not. The terminal wraps, not rich, so
        # that a line is copied as one.
        with suppress(OSError), alone:
            console.print(Text.from_ansi(text), soft_wrap=True, highlight=False)

    return tell


@contextmanager
def _piped(terminal: int, tell: Callable[[str], None]) -> Iterator[int]:
    """Lead file descriptor 2 through a pipe to a function that is told whole lines."""
    outlet, inlet = os.pipe()
    ended, end = os.pipe()
    with suppress(OSError):
        fcntl.fcntl(inlet, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
    # A process of its own may wait for the reader. This one must not: whoever writes from C holds
    # the lock without which the reader cannot read. On a full pipe its lines are lost.
    patient = os.open(f'/proc/self/fd/{inlet}', os.O_WRONLY)
    os.set_blocking(inlet, False)
    reader = threading.Thread(target=_read, args=(outlet, ended, tell), name='stderr', daemon=True)
    reader.start()
    os.dup2(inlet, _STDERR)
    try:
        yield patient
    finally:
        with suppress(AttributeError, OSError, ValueError):
            sys.stderr.flush()
        os.dup2(terminal, _STDERR)
        os.write(end, b'.')
        reader.join()
        for number in (outlet, inlet, patient, ended, end):
            os.close(number)


def _read(outlet: int, ended: int, tell: Callable[[str], None]) -> None:
    """Pass lines on until the end is told and nothing is left to read."""
    rest = b''
    while True:
        ready, _, _ = select.select([outlet, ended], [], [])
        if outlet not in ready:
            break
        lines, newline, rest = (rest + os.read(outlet, _READ_BYTES)).rpartition(b'\n')
        if newline:
            tell(lines.decode(errors='backslashreplace'))
    if rest:
        tell(rest.decode(errors='backslashreplace'))


@contextmanager
def _crashes_told(file: Any) -> Iterator[None]:
    """Let a crash in C say where, as what it writes to the pipe is lost with the process."""
    was_enabled = faulthandler.is_enabled()
    faulthandler.enable(file)
    try:
        yield
    finally:
        faulthandler.enable() if was_enabled else faulthandler.disable()
