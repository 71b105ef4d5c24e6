# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Nodes as processes, for the benchmarks that need them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
import os
from pathlib import Path
import subprocess
import threading
import time
from typing import Any

from ament_index_python.packages import get_package_prefix
import rclpy

DEADLINE_S = 600.0


def until(holds: Callable[[], object], what: str) -> None:
    """Wait for something; gives up after `DEADLINE_S`."""
    deadline = time.monotonic() + DEADLINE_S
    while not holds():
        if time.monotonic() > deadline:
            msg = f'waited in vain: {what}'
            raise SystemExit(msg)
        time.sleep(0.002)


def kibibytes(process_id: int, name: str) -> int:
    """What Linux says of a process's memory, e.g. ``VmRSS``."""
    lines = Path(f'/proc/{process_id}/status').read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f'{name}:'))


def cpu_s(*process_ids: int) -> float:
    """Seconds that processes have computed for so far, on all cores together."""
    ticks = 0
    for process_id in process_ids:
        # The name before it may hold anything.
        fields = Path(f'/proc/{process_id}/stat').read_text().rpartition(')')[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf('SC_CLK_TCK')


@contextmanager
def spinning(node: Any) -> Iterator[None]:
    """Serve a node in a thread."""
    executor = rclpy.executors.SingleThreadedExecutor()
    executor.add_node(node)
    thread = threading.Thread(target=executor.spin, daemon=True)
    thread.start()
    try:
        yield
    finally:
        executor.shutdown()
        thread.join()


def in_spin(node: Any, work: Callable[[], Any]) -> Any:
    """Let the thread of `spinning` do what rclpy allows nobody else; returns the result."""
    task = node.executor.create_task(work)
    until(task.done, 'the spinning thread')
    return task.result()


@contextmanager
def running(
    name: str, parameters: dict[str, Any], remap: Sequence[str] = ()
) -> Iterator[subprocess.Popen[bytes]]:
    """Run one of adet's nodes as a process."""
    words = [str(Path(get_package_prefix('adet'), 'lib', 'adet', name)), '--ros-args']
    for key, value in parameters.items():
        words += ['-p', f'{key}:={value}']
    for rule in remap:
        words += ['-r', rule]
    with subprocess.Popen(words, stderr=subprocess.DEVNULL) as process:  # noqa: S603 - our own
        try:
            yield process
        finally:
            process.terminate()
