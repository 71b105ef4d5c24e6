# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Running nodes until one of them is done: one in a process of its own, or a whole graph."""

from __future__ import annotations

from collections.abc import Callable, Sequence
import sys

import rclpy
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.task import Future

from adet.node import AdetNode
from adet_core.errors import AdetError

_LOOK_S = 0.2


def run(nodes: Sequence[AdetNode], *, on_look: Callable[[], None] = lambda: None) -> bool:
    """Spin nodes until one is done or the process is told to stop; then stop them all.

    Args:
        nodes: Created in an initialised context.
        on_look: Called a few times a second.

    Returns:
        True if a node finished its work; False if the process was interrupted.

    Raises:
        Exception: What a node failed with.
    """
    executor = SingleThreadedExecutor()
    finished = Future(executor=executor)
    for node in nodes:
        executor.add_node(node)
        node.done.add_done_callback(lambda _: finished.done() or finished.set_result(None))
    try:
        while not any(node.done.done() for node in nodes):
            executor.spin_until_future_complete(finished, timeout_sec=_LOOK_S)
            on_look()
    except (KeyboardInterrupt, ExternalShutdownException):
        return False
    finally:
        for node in nodes:
            node.stop()
        executor.shutdown()
        for node in nodes:
            node.destroy_node()
    for node in nodes:
        if node.done.done() and (error := node.done.exception()) is not None:
            raise error
    return True


def main(create: Callable[[], AdetNode]) -> int:
    """Run one node as a process; what the node executables are made of.

    Args:
        create: Makes the node.

    Returns:
        0 when it finished or was told to stop; 1 after an error, whose line is on standard error.
    """
    rclpy.init()
    try:
        run([create()])
    except (AdetError, OSError) as error:
        print(f'error: {error}', file=sys.stderr)
        return 1
    except (KeyboardInterrupt, ExternalShutdownException):
        return 0
    finally:
        rclpy.try_shutdown()
    return 0
