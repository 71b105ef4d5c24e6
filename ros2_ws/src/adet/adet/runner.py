# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Running nodes until one of them is done: one in a process of its own, or a whole graph."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
import ctypes
import os
from pathlib import Path
import signal
import sys
import threading
import time
from typing import Any

from ament_index_python.packages import get_package_share_directory
import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.signals import SignalHandlerOptions

from adet.node import AdetNode, WorkerNode
from adet_core.errors import AdetError

_LOOK_S = 0.2
# Until Jazzy, and after it.
_PROFILES = ('FASTRTPS_DEFAULT_PROFILES_FILE', 'FASTDDS_DEFAULT_PROFILES_FILE')
_TRANSPORTS = 'FASTDDS_BUILTIN_TRANSPORTS'
# Every message imports its package, for a function that needs none of this.
_GENERATOR = 'rosidl_generator_py.generate_py_impl'
# From what size on glibc gets a block from the kernel alone, and gives it back when it is freed;
# and how much of its other memory may lie free. Each: mallopt's number, the variable that people
# set it by, and what it is here: 32 MiB is the most that glibc accepts of the first.
_ALLOCATION = (
    (-3, 'MALLOC_MMAP_THRESHOLD_', 32 << 20),
    (-1, 'MALLOC_TRIM_THRESHOLD_', 128 << 20),
)


def init(words: Sequence[str] | None = None) -> None:
    """Initialise ROS 2 for this process, and leave its signals alone.

    rclpy's own handlers take the context away at once, under whatever a node does at that moment:
    its next message raises an error, and nothing can be said on the way out. Wherever `run` does
    not take both, SIGTERM is answered as SIGINT is: with KeyboardInterrupt.

    Fast DDS gets shared memory that holds whole images (``config/fastdds.xml``), unless the
    environment says something of its transports already.

    What generates the Python of messages is kept from being imported with the first of them: it
    brings two parsers along, a quarter of a second for each process.

    And memory is kept: an image is copied three times on its way into Python, and glibc would get
    each copy from the kernel anew, page by page. What the environment says of that in its MALLOC_
    variables goes before.

    Args:
        words: What the command line says to ROS 2; by default the process's own.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    _keep_memory()
    # None is how Python is told that a module is not there, for which its package is prepared.
    sys.modules.setdefault(_GENERATOR, None)  # type: ignore[arg-type]
    if not any(name in os.environ for name in (*_PROFILES, _TRANSPORTS)):
        path = Path(get_package_share_directory('adet'), 'config', 'fastdds.xml')
        os.environ.update(dict.fromkeys(_PROFILES, str(path)))
    rclpy.init(args=words, signal_handler_options=SignalHandlerOptions.NO)


def _keep_memory() -> None:
    # Not every C library has it.
    mallopt = getattr(ctypes.CDLL(None), 'mallopt', None)
    for option, name, value in _ALLOCATION:
        if mallopt is not None and name not in os.environ:
            mallopt(option, value)


def run(nodes: Sequence[AdetNode], *, on_look: Callable[[], None] = lambda: None) -> bool:
    """Spin nodes until one is done or the process is told to stop; then stop them all.

    To be called in the main thread: SIGINT and SIGTERM end the run.

    Args:
        nodes: Created in an initialised context.
        on_look: Called a few times a second, and at the end.

    Returns:
        True if a node finished its work; False if the process was interrupted.

    Raises:
        Exception: What a node failed with.
    """
    executor = SingleThreadedExecutor()
    for node in nodes:
        executor.add_node(node)
        # Something to do ends the spinning at once; that the executor is woken does not.
        node.done.add_done_callback(lambda _: executor.create_task(lambda: None))
    looked = time.monotonic()
    try:
        with _told_to_stop() as told:
            while not told.is_set() and not any(node.done.done() for node in nodes):
                # Not until a future is complete: rclpy hangs one more callback on it for every
                # message, for as long as the process lives.
                executor.spin_once(timeout_sec=_LOOK_S)
                if time.monotonic() - looked >= _LOOK_S:
                    on_look()
                    looked = time.monotonic()
            on_look()
        # Looked at before the nodes are stopped: that may end them too.
        ended = [node for node in nodes if node.done.done()]
    finally:
        for node in nodes:
            node.stop()
        executor.shutdown()
        for node in nodes:
            node.destroy_node()
    for node in ended:
        if (error := node.done.exception()) is not None:
            raise error
    return bool(ended)


def end() -> None:
    """End what `init` began, and the threads of nodes that a signal kept from `run`."""
    for node in tuple(WorkerNode.working):
        node.stop()
    rclpy.try_shutdown()


@contextmanager
def _told_to_stop() -> Iterator[threading.Event]:
    """Set by a signal; whatever a node is in the midst of is finished first."""
    told = threading.Event()

    def tell(*_: Any) -> None:
        told.set()

    before = {number: signal.signal(number, tell) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield told
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def main(create: Callable[[], AdetNode]) -> int:
    """Run one node as a process; what the node executables are made of.

    Args:
        create: Makes the node.

    Returns:
        0 when it finished or was told to stop; 1 after an error, whose line is on standard error.
    """
    init()
    try:
        run([create()])
    except (AdetError, OSError) as error:
        print(f'error: {error}', file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 0
    finally:
        end()
    return 0
