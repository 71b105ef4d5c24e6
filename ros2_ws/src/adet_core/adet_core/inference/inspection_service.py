# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""A running inspection: images wait, are inspected one by one, and bundles are swapped."""

from __future__ import annotations

from collections.abc import Callable
import math
from pathlib import Path
import threading
import time
from typing import NamedTuple

from adet_core.drift import DriftTest, EXPECTED_DEFECTS
from adet_core.errors import AdetError, BundleError, ConfigError
from adet_core.image import Image
from adet_core.inference.detector import Detector, Inspection
from adet_core.inference.image_queue import Arrived, ImageQueue, STOPPED, Tell
from adet_core.inference.pace import Pace
from adet_core.inference.recent_images import Inspected, RecentImages

# Callers that may wait for a bundle to be loaded; each loads one beside that in service.
_LOADS = 8

Load = Callable[[Path, 'Detector | None'], Detector]


class Outcome(NamedTuple):
    """What became of an image.

    Attributes:
        arrived: The image.
        detector: What inspected it.
        image: Its pixels; None if it was refused.
        inspection: The verdict; None if it was refused.
        error: Why it was refused, in one line.
    """

    arrived: Arrived
    detector: Detector
    image: Image | None
    inspection: Inspection | None
    error: str


class InspectionService:
    """Inspects in the thread that calls `run`; everything else may be called from any thread.

    Attributes:
        recent: The images inspected last.
        drift: The tests of scores and rejects.
        refused: Images that could not be inspected.
    """

    def __init__(
        self,
        load: Load,
        folder: Path,
        recent: RecentImages,
        *,
        keep_all: bool = False,
        expected_defects: float = EXPECTED_DEFECTS,
    ) -> None:
        """Load the bundle.

        Args:
            load: Opens a bundle folder; the second argument is the detector in service.
            folder: The bundle.
            recent: Remembers what was inspected.
            keep_all: Every image waits its turn; else a newer one replaces the one that waits.
            expected_defects: See `adet_core.drift.DriftTest`.

        Raises:
            AdetError: The bundle cannot be used.
        """
        self._load, self._folder = load, folder
        self.recent = recent
        self._detector = load(folder, None)
        self._expected_defects = expected_defects
        self.drift = _drift_test(self._detector, expected_defects)
        self.refused = 0
        self._pace = Pace()
        self._queue = ImageQueue(keep_all=keep_all)
        # Guards the detector in service, and what belongs to it.
        self._changing = threading.Lock()
        self._loading = threading.Lock()
        self._loads = threading.BoundedSemaphore(_LOADS)

    @property
    def detector(self) -> Detector:
        """What inspects at the moment."""
        return self._detector

    @property
    def dropped(self) -> int:
        """Images that a newer one replaced while they waited."""
        return self._queue.dropped

    @property
    def threshold(self) -> float:
        """Raw score at or above which an image is anomalous."""
        return self._detector.threshold

    def set_threshold(self, value: float) -> None:
        """Use another threshold from the next image on.

        Raises:
            ConfigError: Nothing is at or above it, so every part would pass for a good one.
        """
        if not math.isfinite(value):
            msg = f'threshold is {value}, expected a finite number'
            raise ConfigError(msg)
        with self._changing:
            self._detector.threshold = value

    def submit(self, arrived: Arrived) -> None:
        """Let an image wait for its inspection."""
        self._queue.submit(arrived)

    def ask(self, arrived: Arrived, tell: Tell) -> None:
        """Let an image be inspected before those that wait.

        Args:
            arrived: The image.
            tell: Called with its `Outcome`, in place of what `run` was given.

        Raises:
            ConfigError: Too many wait like this, or the service has stopped.
        """
        self._queue.ask(arrived, tell)

    def run(self, tell: Tell) -> None:
        """Inspect until `stop` is called.

        Where the backend overlaps, the next image is preprocessed while the GPU predicts this one.

        Args:
            tell: Called with every outcome, in the order of arrival.
        """
        while finish := self._begin_next(tell, wait=True):
            while finish is not None:
                ahead = self._detector.backend.overlaps
                following = self._begin_next(tell, wait=False) if ahead else None
                finish()
                # Or a bundle that was swapped out would stay in memory until the next image.
                finish = following
        for turn in self._queue.left():
            assert turn.tell is not None
            turn.tell(self._refuse(turn.arrived, self._detector, ConfigError(STOPPED)))

    def _begin_next(self, tell: Tell, *, wait: bool) -> Callable[[], None] | None:
        """Begin with the next image; None if there is none, or the service stops."""
        turn = self._queue.take(wait=wait)
        if turn is None:
            return None
        # Taken once for this image: a swap takes effect between two images.
        outcome = self._begin(turn.arrived, self._detector)

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
        """Finish what is being stored."""
        self.recent.close()

    def swap(self, folder: Path | None = None) -> tuple[Detector, Detector]:
        """Load a bundle beside the present one, which goes on inspecting, and put it in service.

        One bundle is loaded at a time. A threshold that somebody set stays in force; the old
        bundle's own gives way to the new one's.

        Args:
            folder: A bundle folder; None is the one that the service began with.

        Returns:
            What inspected before, and what inspects now.

        Raises:
            AdetError: The bundle cannot be used; the old one stays.
            OSError: It cannot be read; the old one stays.
        """
        folder = folder or self._folder
        if not self._loads.acquire(blocking=False):
            msg = f'{folder}: {_LOADS} bundles wait to be loaded already; wait for them'
            raise ConfigError(msg)
        try:
            with self._loading:
                return self._swap(self._tried(folder))
        finally:
            self._loads.release()

    def _tried(self, folder: Path) -> Detector:
        try:
            return self._load(folder, self._detector)
        except (AdetError, OSError):
            raise
        except Exception as error:
            # A file may be wrong in a way that nobody has thought of.
            msg = f'{folder}: cannot be loaded ({type(error).__name__}: {error})'
            raise BundleError(msg) from error

    def _swap(self, detector: Detector) -> tuple[Detector, Detector]:
        with self._changing:
            old = self._detector
            own = old.threshold != old.bundle.manifest.image_threshold.value
            detector.threshold = old.threshold if own else detector.threshold
            self._detector = detector
            self.drift = _drift_test(detector, self._expected_defects)
        return old, detector

    def _begin(self, arrived: Arrived, detector: Detector) -> Callable[[], Outcome]:
        try:
            image = arrived.read()
            finish = detector.begin(image)
        except AdetError as error:
            refusal = self._refuse(arrived, detector, error)
            return lambda: refusal
        return lambda: self._finish(arrived, detector, image, finish)

    def _finish(
        self, arrived: Arrived, detector: Detector, image: Image, finish: Callable[[], Inspection]
    ) -> Outcome:
        try:
            inspection = finish()
        except AdetError as error:
            return self._refuse(arrived, detector, error)
        if detector is self._detector:
            self.drift.add(inspection.score, is_rejected=inspection.is_anomalous)
        manifest = detector.bundle.manifest
        self.recent.remember(
            Inspected(arrived.stamp_ns, arrived.frame_id, image, inspection, manifest)
        )
        return Outcome(arrived, detector, image, inspection, '')

    def _refuse(self, arrived: Arrived, detector: Detector, error: AdetError) -> Outcome:
        self.refused += 1
        return Outcome(arrived, detector, None, None, str(error))

    def figures(self) -> dict[str, object]:
        """What is worth knowing of the inspection, by name."""
        with self._changing:
            detector, drift = self._detector, self.drift
        return {
            **self._pace.figures(),
            'dropped': self.dropped,
            'refused': self.refused,
            'bundle': detector.bundle.bundle_id,
            'bundle_folder': detector.bundle.folder,
            'backend': detector.backend.name,
            'backend_reason': detector.backend_reason,
            'threshold': detector.threshold,
            'drift_test': 'on' if drift.works else 'off: too few scores of normal images',
            'drift_p_value': '' if drift.latest is None else f'{drift.latest.p_value:.3g}',
            'saved': self.recent.saved,
            'not_saved': self.recent.lost,
        }


def _drift_test(detector: Detector, expected_defects: float) -> DriftTest:
    return DriftTest(
        detector.bundle.manifest.score_range.normals,
        detector.threshold,
        expected_defects=expected_defects,
    )
