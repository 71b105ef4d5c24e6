# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""What there is to evaluate, wherever it comes from: images, a bag, or recorded results."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
import re

from adet_core.errors import BagError, ConfigError, DatasetError, ImageError
from adet_core.image import Image, read_image
from adet_core.inference.detector import Detector
from adet_core.io.masks import Masks
from adet_core.io.open_source import is_bag
from adet_core.io.sources import Frame, FrameSource, VideoSource
from adet_core.progress import ProgressCallback, silent
from adet_core.records import read_records, Record
from adet_evaluation.figures import by_defect, evaluate, EvaluationFigures
from adet_evaluation.offline import find_images, infer_offline, stamped
from adet_evaluation.rows import by_category, join_rows, share_labels
from adet_evaluation.seen import count_seen, Seen

FindImages = Callable[[Collection[int]], Mapping[int, Image]]
"""Gives images by their stamps in nanoseconds; one that is not at hand is absent."""


@dataclass(frozen=True)
class ModelEvaluation:
    """One model's part of an evaluation.

    Attributes:
        rows: What it said of each image.
        figures: Their evaluation.
        detector: Draws the overlays; None if the bundle is not at hand.
        seen: How many of the images the bundle has seen before; None where it is not at hand.
    """

    rows: Sequence[Record]
    figures: EvaluationFigures
    detector: Detector | None = None
    seen: Seen | None = None


@dataclass(frozen=True)
class Evaluation:
    """Models side by side on the same images.

    Attributes:
        models: By name, at least one.
        source: What was evaluated, for people.
        find_images: The images again, for those who want to look.
        warnings: What was wrong with the source, why images have no verdict, and why figures
            flatter, a line each.
        unmatched_masks: Masks without an image; the warnings name them.
        unfit_masks: Masks that cannot be read or do not fit their images; the warnings name them.
    """

    models: Mapping[str, ModelEvaluation]
    source: str
    find_images: FindImages
    warnings: Sequence[str] = ()
    unmatched_masks: int = 0
    unfit_masks: int = 0


def load_detectors(
    bundles: Sequence[Path],
    *,
    backend: str = 'auto',
    threads: int = 0,
    progress: ProgressCallback = silent,
) -> dict[str, Detector]:
    """Detectors of bundles, by their model names; where these are equal, with the bundles' ids.

    Raises:
        AdetError: A bundle or the backend cannot be used, or a bundle is named twice.
    """
    loaded = [
        (path, Detector.load(path, backend=backend, threads=threads, progress=progress))
        for path in bundles
    ]
    models = [detector.bundle.manifest.model for _, detector in loaded]
    found: dict[str, Detector] = {}
    for path, detector in loaded:
        model = detector.bundle.manifest.model
        name = model if models.count(model) == 1 else f'{model} {detector.bundle.bundle_id}'
        if name in found:
            msg = f'{path}: the same bundle was named before'
            raise ConfigError(msg)
        found[name] = detector
    return found


def evaluate_source(
    source: FrameSource,
    name: str,
    detectors: Mapping[str, Detector],
    *,
    progress: ProgressCallback = silent,
) -> Evaluation:
    """Inspect a source that ends, and evaluate what the detectors say.

    Args:
        source: The images.
        name: What people call them.
        detectors: By name, at least one.
        progress: Told of the progress.

    Raises:
        DatasetError: The source never ends.
        RecordError: Not one image could be inspected.
    """
    if source.is_live:
        msg = f'{name}: a camera never ends; record a bag, and evaluate that'
        raise DatasetError(msg)
    masks = Masks()
    runs = infer_offline(source, detectors, masks=masks, progress=progress)
    models = {
        model: ModelEvaluation(
            run.rows,
            evaluate(
                run.rows,
                learned=_learned(detectors[model]),
                pixels=run.pixels,
                duplicates=source.duplicates,
                lost=source.lost or 0,
                seconds=run.seconds,
            ),
            detectors[model],
            count_seen(run.rows, detectors[model].bundle),
        )
        for model, run in runs.items()
    }
    return Evaluation(
        models,
        name,
        lambda stamps: find_images(source, stamps),
        [*source.warnings, *masks.warnings, *_doubts(models)],
        unmatched_masks=len(masks.unmatched),
        unfit_masks=len(masks.unfit),
    )


def evaluate_bag(
    path: Path, *, topic: str = '', progress: ProgressCallback = silent
) -> Evaluation:
    """Evaluate the results that were recorded in a bag.

    Args:
        path: The bag.
        topic: Topic of its images, for the galleries; by default the only one.
        progress: Told of the progress.

    Raises:
        BagError: It cannot be read, or holds no results.
        RecordError: A detector has no verdict in it.
    """
    from adet_evaluation.bags import Bag, BagSource, recorded_results

    bag = Bag(path)
    rows = share_labels(recorded_results(bag, progress=progress))
    models = {}
    for model, all_rows in rows.items():
        lost = max(0, bag.topics[f'{model}/result'].messages - len(all_rows))
        for name, one in by_category(model, all_rows).items():
            models[name] = ModelEvaluation(one, evaluate(one, lost=lost))
            # Nobody knows of which category they were.
            lost = 0

    def find(stamps: Collection[int]) -> Mapping[int, Image]:
        # A bag may well hold results alone.
        with suppress(BagError):
            return find_images(BagSource(path, topic), stamps)
        return {}

    return Evaluation(models, str(path), find, [*bag.warnings, *_doubts(models)])


def evaluate_results(
    paths: Sequence[Path],
    detectors: Mapping[str, Detector],
    *,
    replayed: FrameSource | None = None,
    progress: ProgressCallback = silent,
) -> Evaluation:
    """Evaluate files that the recorder wrote.

    Args:
        paths: At least one.
        detectors: By their names, for overlays and the drift test; may lack some.
        replayed: The bag that was inspected: its images without a row count as missing, and
            its labels and images are used.
        progress: Told of the progress.

    Raises:
        RecordError: A file cannot be read, or has no verdict.
    """
    read = [(path, list(read_records(path))) for path in paths]
    if replayed is not None:
        expected = _without_images(replayed, progress)
        read = [(path, join_rows(rows, expected, why='has no row')) for path, rows in read]
    names = [rows[0].model if rows else '' for _, rows in read]
    named = {
        name if name and names.count(name) == 1 else f'{name} ({path})': rows
        for name, (path, rows) in zip(names, read, strict=True)
    }
    models, warnings = {}, list(replayed.warnings) if replayed else []
    lost = (replayed.lost or 0) if replayed else 0
    split = {
        name: one
        for whole, rows in share_labels(named).items()
        for name, one in by_category(whole, rows).items()
    }
    for name, rows in split.items():
        detector = _detector_of(rows, detectors)
        figures = evaluate(rows, learned=_learned(detector) if detector else (), lost=lost)
        if detector and set(figures.bundles) != {detector.bundle.bundle_id}:
            # Overlays and drift of another bundle would say nothing of these verdicts.
            warnings.append(
                f'{name}: its rows are of bundle {", ".join(figures.bundles)}, and '
                f'{detector.bundle.bundle_id} was given; no overlays and no drift test'
            )
            detector, figures = None, replace(figures, drift=None)
        seen = count_seen(rows, detector.bundle) if detector else None
        models[name] = ModelEvaluation(rows, figures, detector, seen)
    sources = {row.stamp_ns: row.source for one in models.values() for row in one.rows}

    def find(stamps: Collection[int]) -> Mapping[int, Image]:
        if replayed is not None:
            return find_images(replayed, stamps)
        return _by_source({stamp: sources[stamp] for stamp in stamps})

    warnings += _doubts(models)
    return Evaluation(models, ', '.join(map(str, paths)), find, warnings)


def _detector_of(rows: Sequence[Record], detectors: Mapping[str, Detector]) -> Detector | None:
    """The detector of the rows' model; of several categories, that of the rows' own."""
    if not rows:
        return None
    model, category = rows[0].model, next((row.category for row in rows if row.category), '')
    found = [one for one in detectors.values() if one.bundle.manifest.model == model]
    if len(found) == 1:
        return found[0]
    return next((one for one in found if one.bundle.manifest.category == category), None)


def group_kinds(evaluation: Evaluation, pattern: str) -> Evaluation:
    """The same with kinds of defect by a regular expression.

    Args:
        evaluation: By the usual rule.
        pattern: See `adet_evaluation.figures.defect_type`.

    Raises:
        ConfigError: It is no regular expression.
    """
    try:
        re.compile(pattern)
    except re.error as error:
        raise ConfigError(f'kinds is {pattern!r}, no regular expression: {error}') from None
    models = {
        name: replace(one, figures=replace(one.figures, defect_types=by_defect(one.rows, pattern)))
        for name, one in evaluation.models.items()
    }
    return replace(evaluation, models=models)


def _doubts(models: Mapping[str, ModelEvaluation]) -> list[str]:
    """Why images have no verdict, and why figures flatter, a line for each reason and model."""
    found = []
    for name, one in models.items():
        without: dict[str, list[str]] = {}
        for row in one.rows:
            if row.score is None:
                without.setdefault(row.reason, []).append(row.source)
        for reason, sources in without.items():
            text = f'{len(sources)} of {len(one.rows)} images have no verdict: {reason}'
            found.append(f'{name}: {text} ({sources[0]})')
    flattering = [
        f'{name}: {one.seen}' for name, one in models.items() if one.seen and str(one.seen)
    ]
    return found + flattering


def _without_images(source: FrameSource, progress: ProgressCallback) -> list[tuple[int, Frame]]:
    """The stamps and labels of a source."""
    found = []
    for stamp, frame in stamped(source):
        found.append((stamp, replace(frame, image=None)))
        progress('reading labels', len(found), source.total)
    return found


def _learned(detector: Detector) -> Sequence[float]:
    return detector.bundle.manifest.score_range.normals


def _by_source(sources: Mapping[int, str]) -> dict[int, Image]:
    """Images by their stamps, from the files that are still where the rows say."""
    found: dict[int, Image] = {}
    videos: dict[str, dict[str, int]] = {}
    for stamp, source in sources.items():
        video, _, number = source.rpartition('#')
        if video and number.isdigit() and not is_bag(Path(video)):
            videos.setdefault(video, {})[source] = stamp
            continue
        with suppress(ImageError):
            found[stamp] = read_image(Path(source))
    for video, frames in videos.items():
        with suppress(DatasetError):
            for frame in VideoSource(Path(video)):
                if frame.source in frames and frame.image is not None:
                    found[frames.pop(frame.source)] = frame.image
                if not frames:
                    break
    return found
