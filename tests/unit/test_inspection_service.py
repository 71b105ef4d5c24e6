# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""A running inspection without ROS: its queue, its threshold, and bundles that come and go."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
import threading
import time

from builders import flat_statistics, IMAGE_THRESHOLD, make_bundle, make_engine, SIZE
import numpy as np
import numpy.typing as npt
import pytest

from adet_core.errors import BundleError, ConfigError, ImageError
from adet_core.image import Image
from adet_core.inference.detector import Detector
from adet_core.inference.image_queue import Arrived
from adet_core.inference.inspection_service import InspectionService, Outcome
from adet_core.inference.products import Products
from adet_core.inference.recent_images import RecentImages
from adet_core.prediction import Prediction


def grey(level: int) -> Image:
    return Image(np.full((SIZE, SIZE, 3), level, np.uint8), 'bgr8')


class Running:
    """A service whose outcomes are collected, and whose detector can be held up."""

    def __init__(self, root: Path, *, keep_all: bool = False, save: str = 'none') -> None:
        self.root = root
        self.outcomes: list[Outcome] = []
        self.go_on = threading.Event()
        self.go_on.set()
        self.begun = threading.Event()
        recent = RecentImages(root / 'data', save=save, limit=9, float_range=(0.0, 1.0))
        products = Products(self.load, [self.bundle('first', 100)], most=2)
        self.service = InspectionService(
            products, recent, waiting_bytes=1 << 20, keep_all=keep_all
        )
        self.thread = threading.Thread(target=self.service.run, args=(self.outcomes.append,))
        self.thread.start()

    def bundle(self, name: str, normal: int) -> Path:
        """A bundle that knows one grey as normal."""
        statistics = flat_statistics()
        statistics['mean'] = np.full_like(statistics['mean'], normal)
        make_engine(make_bundle(self.root / name, arrays=statistics))
        return self.root / name

    def load(self, folder: Path, beside: Sequence[Detector]) -> Detector:
        return Detector.load(folder, threads=1, beside=beside)

    def submit(self, stamp: int, level: int = 100) -> None:
        def read() -> Image:
            self.begun.set()
            assert self.go_on.wait(60)
            return grey(level)

        self.service.submit(Arrived(stamp, 'lens', read))

    def until(self, holds: Callable[[], object]) -> None:
        deadline = time.monotonic() + 60
        while not holds():
            assert time.monotonic() < deadline
            time.sleep(0.005)

    def inspect(self, stamp: int, level: int = 100) -> Outcome:
        count = len(self.outcomes)
        self.submit(stamp, level)
        self.until(lambda: len(self.outcomes) > count)
        return self.outcomes[-1]

    def close(self) -> None:
        self.go_on.set()
        self.service.stop()
        self.thread.join()
        self.service.close()


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    made = Running(tmp_path)
    yield made
    made.close()


@pytest.mark.parametrize(('keep_all', 'inspected'), [(False, [1, 4]), (True, [1, 2, 3, 4])])
def test_a_newer_image_replaces_the_one_that_waits_unless_all_are_kept(
    tmp_path: Path, keep_all: bool, inspected: list[int]
) -> None:
    running = Running(tmp_path, keep_all=keep_all)
    running.go_on.clear()
    running.submit(1)
    running.until(running.begun.is_set)
    for stamp in (2, 3, 4):
        running.submit(stamp)
    running.go_on.set()
    running.until(lambda: len(running.outcomes) == len(inspected))
    running.close()
    assert [outcome.arrived.stamp_ns for outcome in running.outcomes] == inspected
    assert running.service.dropped == 4 - len(inspected)


def test_an_image_that_cannot_be_read_is_refused_and_the_next_inspected(running: Running) -> None:
    def unreadable() -> Image:
        raise ImageError('no such encoding')

    running.service.submit(Arrived(1, 'lens', unreadable, 'mine'))
    running.until(lambda: running.outcomes)
    assert running.outcomes[0].error == 'no such encoding'
    assert running.outcomes[0].inspection is None
    assert running.outcomes[0].arrived.origin == 'mine'
    assert running.inspect(2).inspection is not None
    assert running.service.refused == 1
    assert running.service.figures()['frames'] == 2


def test_who_asks_gets_the_outcome_and_at_the_end_an_error(running: Running) -> None:
    asked: list[Outcome] = []
    running.service.ask(Arrived(7, 'lens', lambda: grey(100)), asked.append)
    running.until(lambda: asked)
    assert asked[0].inspection is not None
    running.go_on.clear()
    running.submit(1)
    running.until(running.begun.is_set)
    running.service.ask(Arrived(8, 'lens', lambda: grey(100)), asked.append)
    running.service.stop()
    running.go_on.set()
    running.until(lambda: len(asked) == 2)
    assert (asked[1].inspection, asked[1].error) == (None, 'the detector is not active')
    assert [outcome.arrived.stamp_ns for outcome in running.outcomes] == [1]


@pytest.mark.parametrize('value', [float('nan'), float('inf')])
def test_a_threshold_that_nothing_reaches_is_refused(running: Running, value: float) -> None:
    with pytest.raises(ConfigError, match='expected a finite number'):
        running.service.set_threshold(value)
    assert running.service.threshold == IMAGE_THRESHOLD


def test_a_bundle_is_swapped_and_a_threshold_of_ones_own_stays(running: Running) -> None:
    before = running.inspect(1).inspection
    old, new = running.service.products.swap(running.bundle('second', 30))
    after = running.inspect(2).inspection
    assert before is not None
    assert after is not None
    assert (before.bundle_id, after.bundle_id) == (old.bundle.bundle_id, new.bundle.bundle_id)
    assert before.score != after.score
    assert running.service.threshold == IMAGE_THRESHOLD
    running.service.set_threshold(5.5)
    # Without a folder: the one it began with.
    _, again = running.service.products.swap()
    assert again.bundle.bundle_id == old.bundle.bundle_id
    assert running.service.threshold == 5.5


def test_whatever_a_bundle_fails_with_the_old_one_stays(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(BundleError, match=r'meta\.json: missing'):
        running.service.products.swap(running.root / 'none')

    def fails(*_: object) -> Detector:
        raise IndexError('list index out of range')

    monkeypatch.setattr(running.service.products, 'load', fails)
    with pytest.raises(BundleError, match=r'first: cannot be loaded \(IndexError: list index'):
        running.service.products.swap()
    assert running.inspect(1).error == ''


def test_bundles_are_loaded_one_at_a_time_and_few_may_wait(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_once, most, go_on = [], [], threading.Event()

    def slow(folder: Path, beside: Sequence[Detector]) -> Detector:
        at_once.append(1)
        most.append(len(at_once))
        assert go_on.wait(60)
        at_once.pop()
        return running.load(folder, beside)

    monkeypatch.setattr(running.service.products, 'load', slow)
    waiting = [threading.Thread(target=running.service.products.swap) for _ in range(8)]
    for thread in waiting:
        thread.start()
    running.until(lambda: running.service.products._loads._value == 0)
    with pytest.raises(ConfigError, match='8 bundles wait to be loaded already'):
        running.service.products.swap()
    go_on.set()
    for thread in waiting:
        thread.join()
    assert max(most) == 1
    assert len(most) == 8


def test_a_repeated_stamp_takes_the_memory_of_one_image(running: Running) -> None:
    outcome = running.inspect(7)
    recent = running.service.recent
    size = recent._bytes
    for _ in range(3):
        running.inspect(7)
    assert recent._bytes == size
    assert outcome.image is not None
    assert size == outcome.image.pixels.nbytes


def test_the_drift_test_looks_at_rejected_images_too(running: Running) -> None:
    for stamp, level in ((1, 100), (2, 250), (3, 100)):
        running.inspect(stamp, level)
    found = running.service.drift.rejects.rejects
    assert (found.rejected, found.images) == (1, 3)


def test_a_drift_test_begins_anew_with_each_bundle(running: Running) -> None:
    first = running.service.drift
    running.service.products.swap()
    assert running.service.drift is not first


@pytest.mark.parametrize(
    ('overlaps', 'order'),
    [
        (True, ['begin', 'begin', 'end', 'begin', 'end', 'end']),
        (False, ['begin', 'end', 'begin', 'end', 'begin', 'end']),
    ],
)
def test_an_image_that_waits_is_preprocessed_while_a_gpu_runs(
    tmp_path: Path, overlaps: bool, order: list[str]
) -> None:
    running = Running(tmp_path, keep_all=True)
    running.inspect(0)
    backend, seen = running.service.detector.backend, []
    start = backend.start

    def begin(images: npt.NDArray[np.uint8]) -> Callable[[], Prediction]:
        finish = start(images)
        seen.append('begin')

        def end() -> Prediction:
            seen.append('end')
            return finish()

        return end

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(backend), 'overlaps', overlaps)
        patch.setattr(backend, 'start', begin)
        running.go_on.clear()
        running.begun.clear()
        for stamp, level in ((1, 100), (2, 30), (3, 100)):
            running.submit(stamp, level)
        running.until(running.begun.is_set)
        running.go_on.set()
        running.until(lambda: len(running.outcomes) == 4)
        running.close()
    assert seen == order
    found = [outcome.inspection for outcome in running.outcomes]
    assert [outcome.arrived.stamp_ns for outcome in running.outcomes] == [0, 1, 2, 3]
    assert found[1] is not None
    assert found[2] is not None
    assert found[1].score < found[2].score


def test_one_refused_image_among_overlapping_ones_keeps_its_place(tmp_path: Path) -> None:
    running = Running(tmp_path, keep_all=True)

    def unreadable() -> Image:
        raise ImageError('no such encoding')

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(running.service.detector.backend), 'overlaps', True)
        running.go_on.clear()
        running.submit(1)
        running.service.submit(Arrived(2, 'lens', unreadable))
        running.submit(3)
        running.go_on.set()
        running.until(lambda: len(running.outcomes) == 3)
        running.close()
    assert [outcome.error for outcome in running.outcomes] == ['', 'no such encoding', '']
    assert [outcome.arrived.stamp_ns for outcome in running.outcomes] == [1, 2, 3]
