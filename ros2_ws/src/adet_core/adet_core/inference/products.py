# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Bundles of several categories: which one is in service, and which of them stay in memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
import itertools
from pathlib import Path
import threading
from typing import Any

from adet_core.bundle import Bundle, open_bundle
from adet_core.drift import DriftTest, EXPECTED_DEFECTS
from adet_core.errors import AdetError, BundleError, ConfigError
from adet_core.inference.detector import Detector

# Callers that may wait for a bundle to be loaded; each loads one beside that in service.
_LOADS = 8

Load = Callable[[Path, Sequence[Detector]], Detector]
"""Opens a bundle folder; the detectors are those whose weights it may share."""
Find = Callable[[str], Path]
"""Where the bundle of a category lies; ConfigError if there is none."""


def _find_none(category: str) -> Path:
    msg = f'category is {category!r:.80}, and no other is known here'
    raise ConfigError(msg)


class Product:
    """The parts of one category, and what inspects them.

    Attributes:
        category: As the bundle calls it.
        home: Folder of the bundle that it began with.
        folder: Folder of its present bundle.
        detector: None while the bundle is not in memory.
        drift: The tests of its scores and rejects.
        fault: Why its bundle could not be loaded; empty if it could.
        before: What was in service when it was selected.
        used: Larger than that of whatever was used before it.
    """

    def __init__(self, bundle: Bundle, *, expected_defects: float) -> None:
        """Know a bundle, which is not in memory yet."""
        self.category = bundle.manifest.category
        self.home = self.folder = bundle.folder
        self.detector: Detector | None = None
        self.fault, self.used = '', 0
        self.before: Product | None = None
        self._expected_defects = expected_defects
        self._own = self._threshold = bundle.manifest.image_threshold.value
        self.drift = self._new_drift(bundle)

    @property
    def threshold(self) -> float:
        """Raw score at or above which an image is anomalous."""
        return self._threshold if self.detector is None else self.detector.threshold

    @threshold.setter
    def threshold(self, value: float) -> None:
        self._threshold = value
        if self.detector is not None:
            self.detector.threshold = value

    def put(self, detector: Detector, *, again: bool = False) -> None:
        """Inspect with a detector; a threshold that somebody set stays in force.

        Args:
            detector: With the bundle of this category.
            again: It is the bundle of before, which only was out of memory.
        """
        bundle = detector.bundle
        is_set, threshold = self.threshold != self._own, self.threshold
        self.category, self.folder, self.fault = bundle.manifest.category, bundle.folder, ''
        self._own = bundle.manifest.image_threshold.value
        self.detector = detector
        self.threshold = threshold if is_set else self._own
        if not again:
            self.drift = self._new_drift(bundle)

    def drop(self) -> None:
        """Take the bundle out of memory."""
        self._threshold, self.detector = self.threshold, None

    def _new_drift(self, bundle: Bundle) -> DriftTest:
        normals = bundle.manifest.score_range.normals
        return DriftTest(normals, self.threshold, expected_defects=self._expected_defects)


class Products:
    """All categories that a detector knows; any threads may call it.

    At most so many bundles are in memory: the one that was not used for the longest time makes
    room. Bundles with the same graph share it, so that each holds its statistics alone.

    Attributes:
        load: Opens a bundle folder.
    """

    def __init__(
        self,
        load: Load,
        folders: Sequence[Path],
        *,
        most: int,
        find: Find = _find_none,
        expected_defects: float = EXPECTED_DEFECTS,
        on_fault: Callable[[str], None] = lambda _: None,
    ) -> None:
        """Load bundles, so that one that cannot be used is noticed now.

        Args:
            load: See `Load`.
            folders: The bundles; the first one is in service.
            most: How many bundles may be in memory.
            find: For categories that are selected later on.
            expected_defects: See `adet_core.drift.DriftTest`.
            on_fault: Told, from any thread, why a category that was selected is not in service.

        Raises:
            AdetError: A bundle cannot be used.
        """
        self.load, self._find, self._most = load, find, most
        self._expected_defects, self._on_fault = expected_defects, on_fault
        self._uses = itertools.count(1)
        self._known: list[Product] = []
        # Guards what is known, in memory and in service.
        self._changing = threading.RLock()
        self._loading = threading.Lock()
        self._loads = threading.BoundedSemaphore(_LOADS)
        for folder in reversed(folders):
            # The first ones are in memory at the end.
            detector = load(folder, self._make_room())
            self._latest = detector
            self._current = self._add(detector.bundle)
            self._current.put(detector)

    @property
    def current(self) -> Product:
        """What is in service for images that come now."""
        return self._current

    @property
    def detector(self) -> Detector:
        """What inspects at the moment."""
        return self._current.detector or self._latest

    def set_threshold(self, value: float) -> None:
        """Judge the category in service by another threshold from the next image on."""
        with self._changing:
            self._current.threshold = value

    def resident(self) -> list[Product]:
        """Those whose bundle is in memory, the last used first."""
        with self._changing:
            found = [one for one in self._known if one.detector is not None]
            return sorted(found, key=lambda one: -one.used)

    def categories(self) -> list[str]:
        """All that are known, in memory or not."""
        with self._changing:
            return sorted(one.category for one in self._known)

    def select(self, category: str) -> Product:
        """Put a category into service for all images that come from now on.

        One that is not in memory is loaded by who first asks for its detector.

        Returns:
            What was in service before.

        Raises:
            AdetError: No such category is deployed; what is in service stays.
            OSError: Its bundle cannot be read; what is in service stays.
        """
        product = self._of(category)
        if product is None:
            bundle = open_bundle(self._find(category), in_service=True)
            if bundle.manifest.category != category:
                msg = f'{bundle.folder}: holds category {bundle.manifest.category}, not {category}'
                raise BundleError(msg)
        with self._changing:
            before = self._current
            product = self._of(category) or self._add(bundle)
            product.fault = ''
            if product is not before:
                product.before, self._current = before, product
                self._use(product)
        return before

    def detector_of(self, product: Product) -> Detector:
        """The detector of a product, which may have to be loaded first.

        Raises:
            AdetError: It cannot be loaded; what was in service before it is in service again.
        """
        with self._changing:
            self._use(product)
            if (detector := product.detector) is not None:
                self._latest = detector
                return detector
        with self._loading:
            if product.detector is None:
                self._load_again(product)
        return self.detector_of(product)

    def swap(self, folder: Path | None = None) -> tuple[Detector, Detector]:
        """Load a bundle, while the present one inspects, and let it inspect its category.

        One bundle is loaded at a time. It takes the place of that of its folder or category, which
        is in service or not. That of a category that is not known yet is put into service.

        Args:
            folder: A bundle folder; None is the one that the category in service began with.

        Returns:
            What inspected these parts before, and what inspects them now.

        Raises:
            AdetError: The bundle cannot be used; the old one stays.
            OSError: It cannot be read; the old one stays.
        """
        folder = folder or self._current.home
        if not self._loads.acquire(blocking=False):
            msg = f'{folder}: {_LOADS} bundles wait to be loaded already; wait for them'
            raise ConfigError(msg)
        try:
            with self._loading:
                beside = [one.detector for one in self.resident() if one.detector is not None]
                return self._put(self._tried(folder, beside))
        finally:
            self._loads.release()

    def _put(self, detector: Detector) -> tuple[Detector, Detector]:
        folder, category = detector.bundle.folder.resolve(), detector.bundle.manifest.category
        with self._changing:
            old = self.detector
            places = ((one, {one.home.resolve(), one.folder.resolve()}) for one in self._known)
            product = next((one for one, at in places if folder in at), None) or self._of(category)
            if product is None:
                self._make_room()
                product = self._add(detector.bundle)
                product.before, self._current = self._current, product
            elif product.detector is None:
                self._make_room()
            old = product.detector or old
            product.put(detector)
            self._known = [
                one for one in self._known if one is product or one.category != category
            ]
            return old, detector

    def _load_again(self, product: Product) -> None:
        try:
            if product.fault:
                raise BundleError(product.fault)
            detector = self._tried(product.folder, self._make_room())
            if (found := detector.bundle.manifest.category) != product.category:
                msg = f'{product.folder}: holds category {found}, not {product.category}'
                raise BundleError(msg)
        except (AdetError, OSError) as error:
            self._fall_back(product, error)
            raise
        with self._changing:
            product.put(detector, again=True)

    def _fall_back(self, product: Product, error: Exception) -> None:
        with self._changing:
            is_news, product.fault = not product.fault, str(error)
            if self._current is product and product.before is not None:
                self._current = product.before
        if is_news:
            self._on_fault(str(error))

    def _tried(self, folder: Path, beside: Sequence[Detector]) -> Detector:
        try:
            return self.load(folder, beside)
        except (AdetError, OSError):
            raise
        except Exception as error:
            # A file may be wrong in a way that nobody has thought of.
            msg = f'{folder}: cannot be loaded ({type(error).__name__}: {error})'
            raise BundleError(msg) from error

    def _make_room(self) -> list[Detector]:
        """Let one more bundle into memory; returns the detectors of before."""
        with self._changing:
            found: list[Any] = self.resident()
            detectors = [one.detector for one in found]
            for one in found[self._most - 1 :]:
                one.drop()
        return detectors

    def _add(self, bundle: Bundle) -> Product:
        product = Product(bundle, expected_defects=self._expected_defects)
        self._known.append(product)
        self._use(product)
        return product

    def _use(self, product: Product) -> None:
        product.used = next(self._uses)

    def _of(self, category: str) -> Product | None:
        with self._changing:
            return next((one for one in self._known if one.category == category), None)
