# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Running nodes until one of them is done: one in a process of its own, or a whole graph."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
import signal
import sys
import threading
import time
from typing import Any

import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.signals import SignalHandlerOptions

from adet import environment
from adet.node import AdetNode, ros_errors, WorkerNode
from adet_core.errors import AdetError, describe, is_debugging

_LOOK_S = 0.2


def init(words: Sequence[str] | None = None) -> None:
    """Initialise ROS 2 for this process, and leave its signals alone.

    rclpy's own handlers take the context away at once, under whatever a node does at that moment:
    its next message raises an error, and nothing can be said on the way out. Wherever `run` does
    not take both, SIGTERM is answered as SIGINT is: with KeyboardInterrupt.

    Args:
        words: What the command line says to ROS 2; by default the process's own.

    Raises:
        ConfigError: The environment or the command line says what ROS 2 cannot do.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    environment.prepare()
    with ros_errors():
        rclpy.init(args=words, signal_handler_options=SignalHandlerOptions.NO)


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
        node.warn_of_unknown()
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
    environment.end_with_parent()
    return guarded(lambda: run([create()]))


def guarded(work: Callable[[], object]) -> int:
    """Initialise ROS 2, do the work of a process, and end in order.

    Args:
        work: Called once ROS 2 is there.

    Returns:
        As `main`.
    """

    def do() -> None:
        init()
        work()

    return reported(do)


def reported(work: Callable[[], object]) -> int:
    """Do the work of a process, which initialises ROS 2 itself, and end in order.

    Returns:
        As `main`.
    """
    try:
        work()
    except KeyboardInterrupt:
        return 0
    # As the commands do: one line, whatever happens.
    except Exception as error:
        if not isinstance(error, (AdetError, OSError)) and is_debugging():
            raise
        print(f'error: {describe(error)}', file=sys.stderr)
        return 1
    finally:
        end()
    return 0
