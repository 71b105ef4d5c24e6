# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Several categories in one detector: which bundle inspects what, and which are in memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
import shutil
import threading
import time

from builders import flat_statistics, IMAGE_THRESHOLD, make_bundle, make_engine, SIZE
import numpy as np
import pytest

from adet_core.deployed import category_folder
from adet_core.errors import BundleError, ConfigError
from adet_core.image import Image
from adet_core.inference.detector import Detector
from adet_core.inference.image_queue import Arrived
from adet_core.inference.inspection_service import InspectionService, Outcome
from adet_core.inference.products import Products
from adet_core.inference.recent_images import RecentImages

LEVELS = {'plate': 100, 'lid': 30, 'cup': 200}


class Line:
    """A service that knows the parts of `LEVELS`, and a hand to hold its images up."""

    def __init__(
        self, root: Path, *, most: int = 3, names: Sequence[str] = ('plate', 'lid')
    ) -> None:
        self.root = root
        self.outcomes: list[Outcome] = []
        self.faults: list[str] = []
        self.loaded: list[str] = []
        self.go_on, self.begun = threading.Event(), threading.Event()
        self.go_on.set()
        self.may_load = threading.Event()
        self.may_load.set()
        for name, level in LEVELS.items():
            self.deploy(name, level)
        self.products = Products(
            self._load,
            [self.find(name) for name in names],
            most=most,
            find=self.find,
            on_fault=self.faults.append,
        )
        recent = RecentImages(root / 'data', save='none', limit=9, float_range=(0.0, 1.0))
        self.service = InspectionService(
            self.products, recent, waiting_bytes=1 << 20, keep_all=True
        )
        self.thread = threading.Thread(target=self.service.run, args=(self.outcomes.append,))
        self.thread.start()

    def deploy(self, category: str, level: int) -> Path:
        folder = self.root / 'PaDiM' / category
        make_engine(make_bundle(folder, arrays=flat_statistics(level), category=category))
        return folder

    def find(self, category: str) -> Path:
        return category_folder(self.root, 'padim', category)

    def submit(self, stamp: int, level: int) -> None:
        def read() -> Image:
            self.begun.set()
            assert self.go_on.wait(60)
            return Image(np.full((SIZE, SIZE, 3), level, np.uint8), 'bgr8')

        self.service.submit(Arrived(stamp, 'lens', read))

    def until(self, count: int) -> list[Outcome]:
        deadline = time.monotonic() + 60
        while len(self.outcomes) < count:
            assert time.monotonic() < deadline
            time.sleep(0.005)
        return self.outcomes

    def inspect(self, category: str) -> Outcome:
        count = len(self.outcomes)
        self.submit(count, LEVELS[category])
        return self.until(count + 1)[-1]

    def resident(self) -> list[str]:
        return [one.category for one in self.products.resident()]

    def close(self) -> None:
        self.go_on.set()
        self.service.stop()
        self.thread.join()
        self.service.close()

    def _load(self, folder: Path, beside: Sequence[Detector]) -> Detector:
        assert self.may_load.wait(60)
        self.loaded.append(folder.name)
        return Detector.load(folder, threads=1, beside=beside)


@pytest.fixture
def line(tmp_path: Path) -> Iterator[Line]:
    made = Line(tmp_path)
    yield made
    made.close()


def verdicts(outcomes: Sequence[Outcome]) -> list[tuple[str, bool | None]]:
    return [(one.category, one.inspection and one.inspection.is_anomalous) for one in outcomes]


def test_an_image_is_inspected_for_what_was_in_service_when_it_came(line: Line) -> None:
    line.go_on.clear()
    line.submit(1, LEVELS['plate'])
    line.begun.wait(60)
    # Two wait, then the line changes over, and back.
    line.submit(2, LEVELS['plate'])
    line.submit(3, LEVELS['lid'])
    line.service.select('lid')
    line.submit(4, LEVELS['lid'])
    line.submit(5, LEVELS['plate'])
    line.service.select('plate')
    line.submit(6, LEVELS['plate'])
    line.go_on.set()
    found = line.until(6)
    assert verdicts(found) == [
        ('plate', False),
        ('plate', False),
        ('plate', True),
        ('lid', False),
        ('lid', True),
        ('plate', False),
    ]
    assert all(one.inspection and one.inspection.category == one.category for one in found)
    # Both were in memory from the start.
    assert line.loaded == ['lid', 'plate']


def test_bundles_with_the_same_graph_are_one_session(line: Line) -> None:
    detectors = [one.detector for one in line.products.resident()]
    sessions = {id(vars(one.backend)['_session']) for one in detectors if one}
    assert (len(detectors), len(sessions)) == (2, 1)


@pytest.mark.parametrize('name', ['pipe', '../PaDiM/lid', '', '.'])
def test_an_unknown_category_is_one_line_and_the_old_one_stays(line: Line, name: str) -> None:
    with pytest.raises(
        ConfigError, match=r'of padim these are deployed: cup, lid, plate; add one'
    ):
        line.service.select(name)
    assert verdicts([line.inspect('plate')]) == [('plate', False)]


def test_what_was_not_used_for_the_longest_time_makes_room(tmp_path: Path) -> None:
    line = Line(tmp_path, most=2, names=('plate', 'lid', 'cup'))
    # Each was tried at the start, and the first ones stayed.
    assert line.loaded == ['cup', 'lid', 'plate']
    assert line.resident() == ['plate', 'lid']
    line.service.select('cup')
    assert verdicts([line.inspect('cup')]) == [('cup', False)]
    assert line.resident() == ['cup', 'plate']
    line.service.select('plate')
    line.inspect('plate')
    line.service.select('lid')
    assert verdicts([line.inspect('lid')]) == [('lid', False)]
    assert line.resident() == ['lid', 'plate']
    line.close()


def test_a_category_that_is_deployed_later_is_loaded_when_it_is_selected(line: Line) -> None:
    shutil.rmtree(line.root / 'PaDiM' / 'cup')
    with pytest.raises(ConfigError, match='these are deployed: lid, plate'):
        line.service.select('cup')
    line.deploy('cup', LEVELS['cup'])
    line.service.select('cup')
    assert verdicts([line.inspect('cup')]) == [('cup', False)]


def test_a_category_that_cannot_be_loaded_gives_way_to_the_one_before(line: Line) -> None:
    path = line.root / 'PaDiM' / 'cup' / 'stats.npz'
    path.write_bytes(b'?' + path.read_bytes()[1:])
    # It is loaded while the images that came first are inspected.
    line.go_on.clear()
    line.submit(1, LEVELS['plate'])
    line.may_load.clear()
    line.service.select('cup')
    line.submit(2, LEVELS['cup'])
    # Not before: what comes after the fault is inspected as before.
    line.may_load.set()
    line.go_on.set()
    plate, cup = line.until(2)
    assert verdicts([plate, cup]) == [('plate', False), ('cup', None)]
    assert 'stats.npz: checksum mismatch' in cup.error
    assert line.faults == [cup.error]
    assert verdicts([line.inspect('plate')]) == [('plate', False)]
    # Once it is mended, it may be selected again.
    line.deploy('cup', LEVELS['cup'])
    line.service.select('cup')
    assert verdicts([line.inspect('cup')]) == [('cup', False)]


def test_each_category_keeps_its_threshold_and_drift_also_out_of_memory(tmp_path: Path) -> None:
    line = Line(tmp_path, most=1)
    line.service.set_threshold(5.5)
    drift = line.service.drift
    line.service.select('lid')
    assert line.service.threshold == IMAGE_THRESHOLD
    line.inspect('lid')
    assert line.resident() == ['lid']
    line.service.select('plate')
    assert line.service.threshold == 5.5
    found = line.inspect('plate').inspection
    assert found is not None
    assert found.threshold == 5.5
    assert line.service.drift is drift
    line.close()


def test_a_retrained_bundle_replaces_that_of_its_category_and_another_stays_in_service(
    line: Line,
) -> None:
    line.service.select('lid')
    folder = line.deploy('plate', 60)
    old, new = line.products.swap(folder)
    assert old.bundle.bundle_id != new.bundle.bundle_id
    assert line.service.category == 'lid'
    assert verdicts([line.inspect('lid')]) == [('lid', False)]
    line.service.select('plate')
    found = line.inspect('plate').inspection
    assert found is not None
    assert found.bundle_id == new.bundle.bundle_id
    assert found.score == 40


def test_a_bundle_of_an_unknown_category_is_put_into_service(line: Line) -> None:
    line.products.swap(line.find('cup'))
    assert line.service.category == 'cup'
    # Without a folder: that of what is in service.
    _, again = line.products.swap()
    assert again.bundle.manifest.category == 'cup'


def test_a_folder_that_holds_another_category_now_is_told(line: Line) -> None:
    folder = line.find('cup')
    make_engine(make_bundle(folder, arrays=flat_statistics(30), category='lid'))
    with pytest.raises(BundleError, match='cup: holds category lid, not cup'):
        line.service.select('cup')
    # In place of what inspects, it takes over.
    make_engine(make_bundle(line.find('plate'), arrays=flat_statistics(200), category='cup'))
    line.products.swap()
    assert line.service.category == 'cup'
    assert verdicts([line.inspect('cup')]) == [('cup', False)]
