# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""What there is to evaluate, wherever it comes from: pictures, a bag, or recorded results."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from adet_core.any_source import is_bag
from adet_core.detector import Detector
from adet_core.direct import find_pictures, inspect_directly, stamped
from adet_core.errors import BagError, ConfigError, DatasetError, PictureError
from adet_core.evaluation import evaluate, Evaluation, share_labels
from adet_core.pictures import Picture, read_picture
from adet_core.progress import Report, silent
from adet_core.records import read_records, Record
from adet_core.sources import Frame, FrameSource, VideoSource

FindPictures = Callable[[Collection[int]], Mapping[int, Picture]]
"""Gives pictures by their stamps in nanoseconds; one that is not at hand is absent."""


@dataclass(frozen=True)
class Studied:
    """One model's part of a study.

    Attributes:
        rows: What it said of each picture.
        figures: Their evaluation.
        detector: Draws the overlays; None if the bundle is not at hand.
    """

    rows: Sequence[Record]
    figures: Evaluation
    detector: Detector | None = None


@dataclass(frozen=True)
class Study:
    """Models side by side on the same pictures.

    Attributes:
        models: By name, at least one.
        source: What was evaluated, for people.
        find_pictures: The pictures again, for those who want to look.
        warnings: What was wrong with the source, a line each.
    """

    models: Mapping[str, Studied]
    source: str
    find_pictures: FindPictures
    warnings: Sequence[str] = ()


def load_detectors(
    bundles: Sequence[Path],
    *,
    backend: str = 'auto',
    threads: int = 0,
    report: Report = silent,
) -> dict[str, Detector]:
    """Detectors of bundles, by their models' words; where these are equal, with the bundles' ids.

    Raises:
        AdetError: A bundle or the backend cannot be used, or a bundle is named twice.
    """
    loaded = [
        (path, Detector.load(path, backend=backend, threads=threads, report=report))
        for path in bundles
    ]
    words = [detector.bundle.manifest.model for _, detector in loaded]
    found: dict[str, Detector] = {}
    for path, detector in loaded:
        word = detector.bundle.manifest.model
        name = word if words.count(word) == 1 else f'{word} {detector.bundle.bundle_id}'
        if name in found:
            msg = f'{path}: the same bundle was named before'
            raise ConfigError(msg)
        found[name] = detector
    return found


def study_source(
    source: FrameSource,
    name: str,
    detectors: Mapping[str, Detector],
    *,
    report: Report = silent,
) -> Study:
    """Inspect a source that ends, and evaluate what the detectors say.

    Args:
        source: The pictures.
        name: What people call them.
        detectors: By name, at least one.
        report: Told of the progress.

    Raises:
        DatasetError: The source never ends.
        RecordError: Not one picture could be inspected.
    """
    if source.is_live:
        msg = f'{name}: a camera never ends; record a bag, and evaluate that'
        raise DatasetError(msg)
    runs = inspect_directly(source, detectors, report=report)
    doubled = getattr(source, 'doubled', 0)
    models = {
        model: Studied(
            run.rows,
            evaluate(
                run.rows,
                learned=_learned(detectors[model]),
                pixels=run.pixels,
                doubled=doubled,
                seconds=run.seconds,
            ),
            detectors[model],
        )
        for model, run in runs.items()
    }
    warnings = getattr(source, 'warnings', ())
    return Study(models, name, lambda stamps: find_pictures(source, stamps), warnings)


def study_bag(path: Path, *, topic: str = '', report: Report = silent) -> Study:
    """Evaluate the results that were recorded in a bag.

    Args:
        path: The bag.
        topic: Topic of its pictures, for the galleries; by default the only one.
        report: Told of the progress.

    Raises:
        BagError: It cannot be read, or holds no results.
        RecordError: A detector has no verdict in it.
    """
    from adet_core.bags import Bag, BagSource, recorded_results

    bag = Bag(path)
    rows = share_labels(recorded_results(bag, report=report))
    models = {name: Studied(one, evaluate(one)) for name, one in rows.items()}

    def find(stamps: Collection[int]) -> Mapping[int, Picture]:
        # A bag may well hold results alone.
        with suppress(BagError):
            return find_pictures(BagSource(path, topic), stamps)
        return {}

    return Study(models, str(path), find, bag.warnings)


def study_results(
    paths: Sequence[Path],
    detectors: Mapping[str, Detector],
    *,
    replayed: FrameSource | None = None,
    report: Report = silent,
) -> Study:
    """Evaluate files that the recorder wrote.

    Args:
        paths: At least one.
        detectors: By model, for overlays and the drift test; may lack some.
        replayed: The bag that was inspected: its pictures without a row count as missing, and
            its labels and pictures are used.
        report: Told of the progress.

    Raises:
        RecordError: A file cannot be read, or has no verdict.
    """
    read = [(path, list(read_records(path))) for path in paths]
    if replayed is not None:
        expected = _without_pictures(replayed, report)
        read = [(path, _completed(rows, expected)) for path, rows in read]
    words = [rows[0].model if rows else '' for _, rows in read]
    named = {
        word if word and words.count(word) == 1 else f'{word} ({path})': rows
        for word, (path, rows) in zip(words, read, strict=True)
    }
    models, warnings = {}, list(getattr(replayed, 'warnings', ()))
    for name, rows in share_labels(named).items():
        detector = detectors.get(rows[0].model) if rows else None
        figures = evaluate(rows, learned=_learned(detector) if detector else ())
        if detector and set(figures.bundles) != {detector.bundle.bundle_id}:
            # Overlays and drift of another bundle would say nothing of these verdicts.
            warnings.append(
                f'{name}: its rows are of bundle {", ".join(figures.bundles)}, and '
                f'{detector.bundle.bundle_id} was given; no overlays and no drift test'
            )
            detector, figures = None, replace(figures, drift=None)
        models[name] = Studied(rows, figures, detector)
    sources = {row.stamp_ns: row.source for one in models.values() for row in one.rows}

    def find(stamps: Collection[int]) -> Mapping[int, Picture]:
        if replayed is not None:
            return find_pictures(replayed, stamps)
        return _by_source({stamp: sources[stamp] for stamp in stamps})

    return Study(models, ', '.join(map(str, paths)), find, warnings)


def _without_pictures(source: FrameSource, report: Report) -> list[tuple[int, Frame]]:
    """The stamps and labels of a source."""
    found = []
    for stamp, frame in stamped(source):
        found.append((stamp, replace(frame, picture=None)))
        report('reading labels', len(found), source.total)
    return found


def _completed(rows: list[Record], expected: Sequence[tuple[int, Frame]]) -> list[Record]:
    """Rows with the labels of their pictures, and one for each picture that has none."""
    frames = dict(expected)
    model = rows[0].model if rows else ''
    known = [
        replace(row, source=frame.source, label=frame.label)
        if not row.label and (frame := frames.get(row.stamp_ns))
        else row
        for row in rows
    ]
    judged = {row.stamp_ns for row in rows}
    lost = [
        Record(
            stamp_ns=stamp,
            frame_id=frame.frame_id,
            source=frame.source,
            label=frame.label,
            model=model,
            error=frame.error or 'has no row',
        )
        for stamp, frame in expected
        if stamp not in judged
    ]
    return known + lost


def _learned(detector: Detector) -> Sequence[float]:
    return detector.bundle.manifest.score_range.normals


def _by_source(sources: Mapping[int, str]) -> dict[int, Picture]:
    """Pictures by their stamps, from the files that are still where the rows say."""
    found: dict[int, Picture] = {}
    videos: dict[str, dict[str, int]] = {}
    for stamp, source in sources.items():
        video, _, number = source.rpartition('#')
        if video and number.isdigit() and not is_bag(Path(video)):
            videos.setdefault(video, {})[source] = stamp
            continue
        with suppress(PictureError):
            found[stamp] = read_picture(Path(source))
    for video, frames in videos.items():
        with suppress(DatasetError):
            for frame in VideoSource(Path(video)):
                if frame.source in frames and frame.picture is not None:
                    found[frames.pop(frame.source)] = frame.picture
                if not frames:
                    break
    return found
