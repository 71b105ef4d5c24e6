# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Source, detector and recorder in one process, as `adet inspect` has them, for a benchmark."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import get_context
from multiprocessing.connection import Connection
import time
from typing import Any

from rclpy.parameter import Parameter

from adet.hand_over import HandOver
from adet.nodes.csv_recorder import CsvRecorder
from adet.nodes.detector import DetectorNode
from adet.nodes.image_source import ImageSource
from adet.runner import end, init, run
from adet_core.image import Image
from adet_core.io.sources import Frame, PlainSource


class Composed:
    """The process, seen from outside.

    Attributes:
        pid: Its number.
    """

    def __init__(self, connection: Connection, pid: int) -> None:
        """Talk to it by a connection."""
        self._connection, self.pid = connection, pid

    def hz(self, count: int) -> float:
        """Images per second, from the first that goes out to the last row."""
        self._connection.send(count)
        return count / float(self._connection.recv())


@contextmanager
def composed(
    images: list[Image], model: str, namespace: str, parameters: dict[str, dict[str, Any]]
) -> Iterator[Composed]:
    """Start the process.

    Args:
        images: Sent over and over.
        model: The model name.
        namespace: Of its nodes.
        parameters: Those of ``detector``, ``csv_recorder`` and ``image_source``.
    """
    context = get_context('spawn')
    ours, theirs = context.Pipe()
    process = context.Process(target=_work, args=(theirs, images, model, namespace, parameters))
    process.start()
    assert process.pid is not None
    try:
        yield Composed(ours, process.pid)
    finally:
        ours.send(None)
        process.join()


class _Turns(PlainSource):
    """Sends as many images as it is asked for, and says how long their rows took."""

    total: int | None = None

    def __init__(self, node: _Source, connection: Connection, images: list[Image]) -> None:
        self._node, self._connection, self._images = node, connection, images

    def __iter__(self) -> Iterator[Frame]:
        done = 0
        while (count := self._connection.recv()) is not None:
            start = time.perf_counter()
            for number in range(count):
                yield Frame(self._images[number % len(self._images)], f'image {number}')
            done += count
            self._wait_for(done)
            self._connection.send(time.perf_counter() - start)

    def _wait_for(self, rows: int) -> None:
        with self._node.changed:
            self._node.changed.wait_for(lambda: self._node.recorded >= rows)


class _Source(ImageSource):
    """Reads from memory."""

    def __init__(self, connection: Connection, images: list[Image], **options: Any) -> None:
        self._turns = connection, images
        super().__init__(**options)

    def _open(self) -> _Turns:
        return _Turns(self, *self._turns)


def _work(
    connection: Connection,
    images: list[Image],
    model: str,
    namespace: str,
    parameters: dict[str, dict[str, Any]],
) -> None:
    def options(node: str) -> dict[str, Any]:
        given = parameters[node].items()
        overrides = [Parameter(name, value=value) for name, value in given]
        return {'namespace': namespace, 'parameter_overrides': overrides}

    init([])
    hand_over = HandOver()
    try:
        nodes = [
            CsvRecorder(hand_over=hand_over, **options('csv_recorder')),
            DetectorNode(model, hand_over=hand_over, **options('detector')),
            _Source(connection, images, hand_over=hand_over, **options('image_source')),
        ]
        run(nodes)
    finally:
        end()
