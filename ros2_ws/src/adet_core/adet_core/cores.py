# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""The cores of this process: which there are, how busy they are, who runs on them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
import os
from pathlib import Path
import time

_STATISTICS = Path('/proc/stat')
# How often it is seen whether others are busy, and how much of a core they then take together.
_LOOK_S, _BUSY = 0.5, 0.25
_TOPOLOGY = '/sys/devices/system/cpu/cpu{}/topology/thread_siblings_list'


class IdleCores:
    """Measures from its creation on how many cores are idle."""

    def __init__(self) -> None:
        self._wall, self._own = _times()
        self._busy = _busy_seconds()

    def count(self) -> int:
        """How many cores other processes left idle until now, rounded, at least 1.

        All cores of this process where the system does not tell, as on macOS.
        """
        cores = usable_cores()
        return max(1, min(cores, round(cores - self.taken())))

    def share(self) -> float:
        """Which share of the cores nobody used until now, 0 to 1; 1 where nobody tells."""
        busy, _ = self._used()
        return max(1 - busy / usable_cores(), 0.0)

    def taken(self) -> float:
        """How many cores other processes used on average until now; 0 where nobody tells."""
        busy, own = self._used()
        return max(busy - own, 0.0)

    def _used(self) -> tuple[float, float]:
        """How many cores all processes used on average, and this one; 0 where nobody tells."""
        wall, own = _times()
        busy = _busy_seconds()
        if busy is None or self._busy is None or wall <= self._wall:
            return 0.0, 0.0
        took = wall - self._wall
        return (busy - self._busy) / took, (own - self._own) / took


def usable_cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, 'sched_getaffinity'):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def physical_cores() -> list[list[int]]:
    """The logical processors of each physical core, as far as this thread may use them.

    Returns:
        In ascending order; empty where the system does not tell, as on macOS.
    """
    if not hasattr(os, 'sched_getaffinity'):
        return []
    cores: dict[str, list[int]] = {}
    for number in sorted(os.sched_getaffinity(0)):
        try:
            siblings = Path(_TOPOLOGY.format(number)).read_text('ascii')
        except OSError:
            siblings = f'{number} alone'
        cores.setdefault(siblings, []).append(number)
    return list(cores.values())


class CallersCore:
    """Where the caller of a run belongs whose other threads are kept on a core each.

    If it shares a core with one of them, a run takes twice as long, and the system leaves both
    there for many milliseconds while another process is busy. To move it takes time, too,
    milliseconds on a virtual machine: nobody is moved while others are idle.
    """

    def __init__(self, core: Sequence[int]) -> None:
        """Keep nobody anywhere yet.

        Args:
            core: Logical processors; empty: it may run anywhere.
        """
        self._core = set(core)
        self._watch, self._since = IdleCores(), time.monotonic()
        self._is_busy = False

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Keep this thread on the core within the block, while other processes are busy.

        Whoever moves the thread away, e.g. by ``taskset``, has the last word.
        """
        before = os.sched_getaffinity(0) if self._core and self._others_are_busy() else set()
        own = self._core & before
        if not own or own == before:
            yield
            return
        with suppress(OSError):
            os.sched_setaffinity(0, own)
        try:
            yield
        finally:
            if os.sched_getaffinity(0) == own:
                with suppress(OSError):
                    os.sched_setaffinity(0, before)

    def _others_are_busy(self) -> bool:
        now = time.monotonic()
        if now - self._since >= _LOOK_S:
            self._is_busy = self._watch.taken() >= _BUSY
            self._watch, self._since = IdleCores(), now
        return self._is_busy


def _times() -> tuple[float, float]:
    """Time on the wall, and CPU time of this process, in seconds."""
    return time.monotonic(), time.process_time()


def _busy_seconds() -> float | None:
    try:
        text = _STATISTICS.read_text('ascii')
        cores = {f'cpu{number}' for number in os.sched_getaffinity(0)}
    except (OSError, AttributeError):
        return None
    # user, nice, system, idle, iowait, irq, softirq, steal
    rows = [line.split() for line in text.splitlines() if line.split(' ', 1)[0] in cores]
    ticks = sum(sum(map(int, row[1:4])) + sum(map(int, row[6:9])) for row in rows)
    return ticks / os.sysconf('SC_CLK_TCK')
