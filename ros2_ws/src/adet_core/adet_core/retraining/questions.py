# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""The images that the set in service and the new one both inspect, and what they say of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
import hashlib
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from adet_core.bundle import Bundle, Figures
from adet_core.geometry import Geometry, Runs
from adet_core.image import ImageArray
from adet_core.io.labelled import LabelledImage
from adet_core.made_up import draw_defects, MadeUpDefects, STRENGTHS
from adet_core.metrics import auroc, Labels
from adet_core.progress import ProgressCallback
from adet_core.retraining.images import CollectedImages
from adet_core.retraining.in_order import in_order

_Scores = npt.NDArray[np.float32]
Known = dict[bytes, tuple[float, float]]
"""Score of an image, and the largest value of its map, by the sha256 of its canvas."""
# As many normal images as a bundle brings.
_MOST_PASTED_ON = 20


@dataclass(frozen=True, kw_only=True)
class Questions:
    """Images that no retraining may answer worse than before.

    Attributes:
        geometry: Cuts the graph's inputs from the images.
        good: Normal images kept back, uint8 ``(H, W, 3)`` each.
        marked: Images to learn that an operator marked as fine.
        test: Labelled images.
        are_old: Of ``good``, those that were kept back before this retraining, bool ``(N,)``.
        are_fair: Of ``good``, those that neither set was fitted to, bool ``(N,)``.
        defects: Where to paste made-up defects, their indices those of ``good``.
    """

    geometry: Geometry
    good: Sequence[ImageArray]
    marked: Sequence[ImageArray]
    test: Sequence[LabelledImage]
    are_old: npt.NDArray[np.bool_]
    are_fair: npt.NDArray[np.bool_]
    defects: MadeUpDefects

    @property
    def labels(self) -> Labels:
        """Of ``test``: True for anomalous."""
        return np.array([image.is_anomalous for image in self.test], np.bool_)


class Scores(NamedTuple):
    """What one set says of all `Questions`, raw, float32.

    Attributes:
        good: Of the normal images kept back.
        peaks: The largest values of their maps.
        marked: Of the marked images.
        test: Of the labelled images.
        made_up: Of the made-up defects.
    """

    good: _Scores
    peaks: _Scores
    marked: _Scores
    test: _Scores
    made_up: _Scores


def make_questions(
    bundle: Bundle, collected: CollectedImages, test: Sequence[LabelledImage], *, incremental: bool
) -> Questions:
    """Put together what both sets inspect.

    Made-up defects are pasted on the normal images that the bundle brings, where these count; a
    full retraining forgets them and takes images that it kept back.

    Args:
        bundle: As it is in service.
        collected: What is learned and kept back.
        test: Labelled images. Normal ones that the bundle brings, too, count once.
        incremental: Whether the set in service is gone on from.
    """
    learned, kept = bundle.known_images()
    held_out = [image.sha256 for image in collected.held_out]
    brought = [i not in collected.learned_normals for i in range(len(collected.normals))]
    good = collected.good
    own = {image.tobytes() for image in collected.normals}
    geometry = bundle.geometry()
    return Questions(
        geometry=geometry,
        good=good,
        marked=[image.pixels for image in collected.marked],
        test=[one for one in test if one.is_anomalous or one.pixels.tobytes() not in own],
        are_old=_mask(brought, [incremental and one in kept for one in held_out]),
        are_fair=_mask(brought, [one not in learned for one in held_out]),
        defects=bundle.made_up() if brought else _drawn(geometry, len(good)),
    )


def _mask(brought: Sequence[bool], others: Sequence[bool]) -> npt.NDArray[np.bool_]:
    return np.array([*brought, *others], np.bool_)


def _drawn(geometry: Geometry, normals: int) -> MadeUpDefects:
    return draw_defects(
        min(normals, _MOST_PASTED_ON),
        geometry.size,
        piece=geometry.spec.size,
        allowed=geometry.inspected,
    )


def predict_all(
    runs: Runs,
    questions: Questions,
    *,
    stage: str,
    progress: ProgressCallback,
    at_once: int = 1,
    known: Known | None = None,
) -> Scores:
    """Let a set inspect all images.

    Args:
        runs: Predict the inputs of an image.
        questions: The images.
        stage: For ``progress``.
        progress: Told the progress.
        at_once: How many threads may use ``runs`` at the same time.
        known: What this set said of images before; what it says now is added.
    """
    defects, known = questions.defects, {} if known is None else known
    plain = [*questions.good, *questions.marked, *(one.pixels for one in questions.test)]
    count = len(plain) + len(defects.normal)

    def inspect(number: int) -> tuple[bytes, tuple[float, float]]:
        pasted = number - len(plain)
        image = plain[number] if pasted < 0 else defects.pasted(questions.good, pasted)
        key = hashlib.sha256(np.ascontiguousarray(image).data).digest()
        if key in known:
            return key, known[key]
        prediction = questions.geometry.predict(runs, image)
        return key, (float(prediction.scores[0]), float(prediction.maps[0].max()))

    found = []
    for number, (key, said) in enumerate(in_order(inspect, range(count), at_once), start=1):
        known[key] = said
        found.append(said)
        progress(stage, number, count)
    scores, peaks = np.array(found, np.float32).reshape(-1, 2).T.copy()
    good = len(questions.good)
    marked, test = good + len(questions.marked), len(plain)
    return Scores(
        scores[:good], peaks[:good], scores[good:marked], scores[marked:test], scores[test:]
    )


def all_finite(scores: Scores) -> bool:
    """Whether every score is a number; compared with a threshold, others would pass."""
    return all(bool(np.isfinite(values).all()) for values in scores)


def figures(scores: Scores, threshold: float, questions: Questions) -> Figures:
    """What a threshold makes of scores; normal images kept back count for the AUROC, too."""
    labels = questions.labels
    everything = np.concatenate([scores.good, scores.test])
    every_label = np.concatenate([np.zeros(len(scores.good), np.bool_), labels])
    return Figures(
        threshold=threshold,
        normals=len(scores.good),
        rejected=int((scores.good >= threshold).sum()),
        image_auroc=auroc(everything, every_label),
        marked=len(scores.marked),
        marked_rejected=int((scores.marked >= threshold).sum()),
        test_normals=int((~labels).sum()),
        test_rejected=int((scores.test[~labels] >= threshold).sum()),
        anomalies=int(labels.sum()),
        caught=int((scores.test[labels] >= threshold).sum()),
        made_up=_counts(questions.defects.strength),
        made_up_caught=_counts(
            questions.defects.strength, caught_made_up(scores, threshold, questions)
        ),
    )


def _counts(
    strengths: npt.NDArray[np.int32], chosen: npt.NDArray[np.bool_] | None = None
) -> dict[str, int]:
    """How many defects, or of those chosen, each strength has; nothing without defects."""
    if not len(strengths):
        return {}
    kept = strengths if chosen is None else strengths[chosen]
    return dict(zip(STRENGTHS, np.bincount(kept, minlength=len(STRENGTHS)).tolist(), strict=True))


def caught_made_up(
    scores: Scores, threshold: float, questions: Questions
) -> npt.NDArray[np.bool_]:
    """Which made-up defects are rejected for the defect: the image without it is accepted."""
    without = scores.good[questions.defects.normal]
    caught: npt.NDArray[np.bool_] = (scores.made_up >= threshold) & (without < threshold)
    return caught
