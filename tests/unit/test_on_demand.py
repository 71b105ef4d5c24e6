# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Images that somebody asks about, and those of the stream that wait meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from adet_core.errors import AdetError, ConfigError
from adet_core.image import Image
from adet_core.inference.image_queue import Arrived, ImageQueue
from adet_core.inference.on_demand import OnDemand

# What is in service, which the queue only hands on.
PLATE: Any = SimpleNamespace(category='plate')
IMAGE = Image(np.zeros((2, 2), np.uint8), 'mono8')


@pytest.fixture
def in_thread() -> Iterator[Callable[[Callable[[], object]], Future]]:
    """Does work in a thread of its own; returns the future of its result."""
    with ThreadPoolExecutor(1) as pool:
        yield pool.submit


def arrived(stamp: int) -> Arrived:
    return Arrived(stamp, 'lens', lambda: IMAGE)


def stamps(queue: ImageQueue) -> list[int]:
    """What is taken from a queue, one after the other."""
    turns = iter(lambda: queue.take(wait=False), None)
    return [turn.arrived.stamp_ns for turn in turns]


@pytest.mark.parametrize(('keep_all', 'left'), [(True, [7, 8, 1, 2]), (False, [7, 8, 2])])
def test_what_is_asked_for_goes_before_the_stream_and_is_not_replaced(
    keep_all: bool, left: list[int]
) -> None:
    queue = ImageQueue(keep_all=keep_all, waiting_bytes=1 << 20)
    queue.submit(arrived(1), PLATE)
    for stamp in (7, 8):
        queue.ask(arrived(stamp), PLATE, print)
    queue.submit(arrived(2), PLATE)
    assert queue.dropped == 4 - len(left)
    assert stamps(queue) == left


def test_a_queue_goes_on_with_what_comes_after_it_was_stopped() -> None:
    queue = ImageQueue(keep_all=True, waiting_bytes=1 << 20)
    queue.submit(arrived(1), PLATE)
    queue.stop()
    assert queue.take(wait=True) is None
    queue.resume()
    queue.submit(arrived(2), PLATE)
    assert stamps(queue) == [2]


def test_only_so_many_wait_on_demand_and_none_once_it_was_stopped() -> None:
    queue = ImageQueue(keep_all=False, waiting_bytes=1 << 20)
    for stamp in range(8):
        queue.ask(arrived(stamp), PLATE, print)
    with pytest.raises(ConfigError, match='8 images wait to be inspected on demand'):
        queue.ask(arrived(9), PLATE, print)
    queue.stop()
    assert queue.take(wait=True) is None
    assert [turn.arrived.stamp_ns for turn in queue.left()] == list(range(8))
    with pytest.raises(ConfigError, match='the detector is not active'):
        queue.ask(arrived(9), PLATE, print)


class Service:
    """Answers at once: with a verdict, or with why there is none."""

    def __init__(self, error: str = '') -> None:
        self.error = error

    def ask(self, one: Arrived, tell: Callable[[object], None]) -> None:
        inspection = None if self.error else 'a verdict'
        tell(SimpleNamespace(arrived=one, inspection=inspection, error=self.error))


def test_an_image_that_is_refused_is_an_error_for_who_asked() -> None:
    with pytest.raises(AdetError, match='no such encoding'):
        OnDemand(Service('no such encoding')).inspect(arrived(1))


def test_the_newest_image_is_inspected_however_old_it_is() -> None:
    on_demand = OnDemand(Service())
    for stamp in (10, 20):
        on_demand.offer(arrived(stamp))
    assert on_demand.inspect_newest(0, 0.0).arrived.stamp_ns == 20
    assert on_demand.inspect_newest(20, 0.0).arrived.stamp_ns == 20


def test_who_wants_a_newer_image_waits_for_it(in_thread) -> None:
    on_demand = OnDemand(Service())
    on_demand.offer(arrived(10))
    asked = in_thread(lambda: on_demand.inspect_newest(30, 60.0))
    for stamp in (20, 30):
        on_demand.offer(arrived(stamp))
    assert asked.result(60).arrived.stamp_ns == 30


def test_the_end_of_the_detector_ends_the_waiting(in_thread) -> None:
    on_demand = OnDemand(Service())
    asked = in_thread(lambda: on_demand.inspect_newest(0, 60.0))
    on_demand.stop()
    with pytest.raises(AdetError, match='the detector is not active'):
        asked.result(60)


@pytest.mark.parametrize(
    ('newest', 'reason'),
    [([], 'is the camera running'), ([4_000_000_000], 'the newest is 1.000 s too early')],
)
def test_why_no_image_came_in_time_is_said(newest: list[int], reason: str) -> None:
    on_demand = OnDemand(Service())
    for stamp in newest:
        on_demand.offer(arrived(stamp))
    with pytest.raises(AdetError, match=reason):
        on_demand.inspect_newest(5_000_000_000, 0.01)


def test_a_pile_of_images_is_bounded_and_what_is_dropped_is_counted() -> None:
    queue = ImageQueue(keep_all=True, waiting_bytes=100)
    for stamp in range(30):
        queue.submit(arrived(stamp)._replace(size=5), PLATE)
    # 20 of them take all that may wait.
    assert (queue.waiting_bytes, queue.dropped) == (100, 10)
    assert stamps(queue) == list(range(10, 30))
    assert queue.waiting_bytes == 0


def test_who_waits_for_rows_has_sixteen_images_on_the_way_and_loses_none() -> None:
    queue = ImageQueue(keep_all=True, waiting_bytes=100)
    for stamp in range(16):
        queue.submit(arrived(stamp)._replace(size=1000), PLATE)
    assert queue.dropped == 0
    assert stamps(queue) == list(range(16))
