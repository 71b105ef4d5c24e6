# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""A running inspection: images wait, are inspected one by one, and bundles are swapped."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
import math
import threading
import time
from typing import NamedTuple

from adet_core.drift import DriftTest
from adet_core.errors import AdetError, ConfigError
from adet_core.image import Image
from adet_core.inference.detector import Detector, Inspection
from adet_core.inference.image_queue import Arrived, ImageQueue, STOPPED, Tell
from adet_core.inference.pace import Pace
from adet_core.inference.products import Product, Products
from adet_core.inference.recent_images import Inspected, RecentImages


class Outcome(NamedTuple):
    """What became of an image.

    Attributes:
        arrived: The image.
        detector: What inspected it.
        image: Its pixels; None if it was refused.
        inspection: The verdict; None if it was refused.
        error: Why it was refused, in one line.
        category: What was in service when it came.
    """

    arrived: Arrived
    detector: Detector
    image: Image | None
    inspection: Inspection | None
    error: str
    category: str


class InspectionService:
    """Inspects in the thread that calls `run`; everything else may be called from any thread.

    Attributes:
        products: The bundles of all categories.
        recent: The images inspected last.
        refused: Images that could not be inspected.
    """

    def __init__(
        self,
        products: Products,
        recent: RecentImages,
        *,
        waiting_bytes: int,
        keep_all: bool = False,
    ) -> None:
        """Inspect nothing yet.

        Args:
            products: The bundles.
            recent: Remembers what was inspected.
            waiting_bytes: See `ImageQueue`.
            keep_all: Every image waits its turn; else a newer one replaces the one that waits.
        """
        self.products, self.recent = products, recent
        self.refused = 0
        self._pace = Pace()
        self._queue = ImageQueue(keep_all=keep_all, waiting_bytes=waiting_bytes)
        # The last thread that loads a category which was selected.
        self._loader: threading.Thread | None = None

    @property
    def detector(self) -> Detector:
        """What inspects at the moment."""
        return self.products.detector

    @property
    def category(self) -> str:
        """What images that come now are inspected for."""
        return self.products.current.category

    @property
    def drift(self) -> DriftTest:
        """The tests of scores and rejects of the category in service."""
        return self.products.current.drift

    @property
    def dropped(self) -> int:
        """Images that a newer one replaced while they waited."""
        return self._queue.dropped

    @property
    def threshold(self) -> float:
        """Raw score at or above which an image is anomalous."""
        return self.products.current.threshold

    def set_threshold(self, value: float) -> None:
        """Use another threshold from the next image on.

        Raises:
            ConfigError: Nothing is at or above it, so every part would pass for a good one.
        """
        if not math.isfinite(value):
            msg = f'threshold is {value}, expected a finite number'
            raise ConfigError(msg)
        self.products.set_threshold(value)

    def select(self, category: str) -> None:
        """Inspect all images that come from now on for another category.

        Those that wait already are inspected for that of before. Where the bundle is not in
        memory, it is loaded, and these images wait.

        Raises:
            AdetError: No such category is deployed; that of before stays.
            OSError: Its bundle cannot be read; that of before stays.
        """
        self.products.select(category)
        product = self.products.current
        if product.detector is None:
            self._loader = threading.Thread(target=self._prepare, args=(product,), daemon=True)
            self._loader.start()

    def _prepare(self, product: Product) -> None:
        # Whoever waits for it hears why it failed.
        with suppress(AdetError, OSError):
            self.products.detector_of(product)

    def submit(self, arrived: Arrived) -> None:
        """Let an image wait for its inspection."""
        self._queue.submit(arrived, self.products.current)

    def ask(self, arrived: Arrived, tell: Tell) -> None:
        """Let an image be inspected before those that wait.

        Args:
            arrived: The image.
            tell: Called with its `Outcome`, in place of what `run` was given.

        Raises:
            ConfigError: Too many wait like this, or the service has stopped.
        """
        self._queue.ask(arrived, self.products.current, tell)

    def run(self, tell: Tell) -> None:
        """Inspect until `stop` is called.

        Where the backend overlaps, the next image is preprocessed while the GPU predicts this one.

        Args:
            tell: Called with every outcome, in the order of arrival.
        """
        while finish := self._begin_next(tell, wait=True):
            while finish is not None:
                ahead = self.detector.backend.overlaps
                following = self._begin_next(tell, wait=False) if ahead else None
                finish()
                # Or a bundle that was swapped out would stay in memory until the next image.
                finish = following
        for turn in self._queue.left():
            assert turn.tell is not None
            turn.tell(self._refuse(turn.arrived, turn.product, ConfigError(STOPPED)))

    def _begin_next(self, tell: Tell, *, wait: bool) -> Callable[[], None] | None:
        """Begin with the next image; None if there is none, or the service stops."""
        turn = self._queue.take(wait=wait)
        if turn is None:
            return None
        outcome = self._begin(turn.arrived, turn.product)

        def finish() -> None:
            (turn.tell or tell)(outcome())
            self._pace.add((time.perf_counter() - turn.since) * 1e3)

        return finish

    def resume(self) -> None:
        """Let `run` be called again after `stop`; images that waited are forgotten."""
        self._queue.resume()

    def stop(self) -> None:
        """End `run` after the image it is at."""
        self._queue.stop()

    def close(self) -> None:
        """Finish what is being stored or loaded."""
        if self._loader is not None:
            self._loader.join()
        self.recent.close()

    def _begin(self, arrived: Arrived, product: Product) -> Callable[[], Outcome]:
        try:
            # Taken once for this image: a swap takes effect between two images.
            detector = self.products.detector_of(product)
            image = arrived.read()
            finish = detector.begin(image)
        except (AdetError, OSError) as error:
            refusal = self._refuse(arrived, product, error)
            return lambda: refusal
        return lambda: self._finish(arrived, product, detector, image, finish)

    def _finish(
        self,
        arrived: Arrived,
        product: Product,
        detector: Detector,
        image: Image,
        finish: Callable[[], Inspection],
    ) -> Outcome:
        try:
            inspection = finish()
        except AdetError as error:
            return self._refuse(arrived, product, error)
        if detector is product.detector:
            product.drift.add(inspection.score, is_rejected=inspection.is_anomalous)
        manifest = detector.bundle.manifest
        self.recent.remember(
            Inspected(arrived.stamp_ns, arrived.frame_id, image, inspection, manifest)
        )
        return Outcome(arrived, detector, image, inspection, '', manifest.category)

    def _refuse(self, arrived: Arrived, product: Product, error: Exception) -> Outcome:
        self.refused += 1
        detector = product.detector or self.detector
        return Outcome(arrived, detector, None, None, str(error), product.category)

    def figures(self) -> dict[str, object]:
        """What is worth knowing of the inspection, by name."""
        product, detector = self.products.current, self.detector
        drift = product.drift
        return {
            **self._pace.figures(),
            'dropped': self.dropped,
            'refused': self.refused,
            'category': product.category,
            'categories': ', '.join(self.products.categories()),
            'resident': ', '.join(one.category for one in self.products.resident()),
            'bundle': detector.bundle.bundle_id,
            'bundle_folder': detector.bundle.folder,
            'backend': detector.backend.name,
            'backend_reason': detector.backend_reason,
            'threshold': product.threshold,
            'drift_test': 'on' if drift.works else 'off: too few scores of normal images',
            'drift_p_value': '' if drift.latest is None else f'{drift.latest.p_value:.3g}',
            'saved': self.recent.saved,
            'not_saved': self.recent.lost,
        }
