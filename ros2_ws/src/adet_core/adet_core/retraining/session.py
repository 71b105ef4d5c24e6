# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""One retraining, from a folder of normal images to a bundle in service or a reason why not."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path

import numpy as np
import numpy.typing as npt

from adet_core.bundle import (
    Arrays,
    Bundle,
    keep_rejected,
    only_retraining,
    open_bundle,
    read_precision,
    RetrainReport,
    write_retrained,
)
from adet_core.errors import BackendError
from adet_core.folder import readable_name
from adet_core.geometry import Geometry, Runs
from adet_core.inference.backend import Backend
from adet_core.inference.parity import map_tolerance_of, measure_parity
from adet_core.io.labelled import LabelledImage
from adet_core.prediction import Prediction
from adet_core.progress import ProgressCallback, silent
from adet_core.retraining.gate import Comparison, parity_fault, parts_changed
from adet_core.retraining.gate_graph import GateGraph
from adet_core.retraining.images import collect, collect_test
from adet_core.retraining.nearest import still_rejected
from adet_core.retraining.questions import (
    all_finite,
    figures,
    Known,
    make_questions,
    predict_all,
    Scores,
)
from adet_core.retraining.relearned import fine_tuner, Relearned
from adet_core.retraining.settings import retrain_settings
from adet_core.retraining.statistics import has_statistics, relearn_statistics
from adet_core.retraining.threshold import NormalScores, Present, retrained_thresholds
from adet_core.thresholds import score_range, Thresholds

_GOLDEN = 4


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a retraining ended.

    Attributes:
        bundle: What is in service now.
        report: The new set, in service or not.
        fault: Why it is not in service; empty if it is.
        kept: Where a rejected set lies.
        unreadable: One line for each image that was skipped.
    """

    bundle: Bundle
    report: RetrainReport
    fault: str
    kept: Path | None
    unreadable: Sequence[str]


def retrain(
    folder: Path,
    images: Path,
    *,
    model: str | None = None,
    incremental: bool = True,
    test_dir: Path | None = None,
    overrides: Sequence[str] = (),
    threads: int = 0,
    progress: ProgressCallback = silent,
) -> Outcome:
    """Learn new images of good parts, check the result, and put it into service.

    What was in service before stays so until the last step, which is a single one; whatever ends
    this function, at any instant, leaves one of the two whole.

    Args:
        folder: A deployed and exported bundle.
        images: Images of good parts; those already learned are passed over.
        model: The model name that the caller needs; None takes any.
        incremental: Go on from what is known; else begin anew (a model with weights alone goes
            on from its weights all the same).
        test_dir: Labelled images to hold the new set to.
        overrides: ``KEY=VALUE`` words, see `adet_core.retraining.settings`.
        threads: Of the computation; 0: one per core.
        progress: Told the progress, by stage.

    Raises:
        BundleError: The bundle or its engine cannot be used, or it is being retrained already.
        ConfigError: A setting is wrong, or the model cannot be retrained here.
        DatasetError: A folder is missing, empty or arranged wrongly, or holds nothing new.
        OSError: The folder cannot be written.
    """
    with only_retraining(folder):
        session = RetrainSession(
            folder,
            images,
            model=model,
            incremental=incremental,
            test_dir=test_dir,
            overrides=overrides,
            threads=threads,
            progress=progress,
        )
        return session.run()


class RetrainSession:
    """One retraining in steps; the caller holds the lock of the folder.

    The set in service and the new one inspect the same images. The new thresholds keep the
    operating point (`adet_core.retraining.threshold`), and the gate compares both sets
    (`adet_core.retraining.gate`).
    """

    def __init__(
        self,
        folder: Path,
        images: Path,
        *,
        model: str | None,
        incremental: bool,
        test_dir: Path | None,
        overrides: Sequence[str],
        threads: int,
        progress: ProgressCallback,
    ) -> None:
        """Read the bundle and all images; arguments and errors are those of `retrain`."""
        self._bundle = open_bundle(folder, model=model, in_service=True)
        self._settings = retrain_settings(self._bundle.manifest, overrides)
        self._overrides, self._incremental = overrides, incremental
        self._threads, self._progress = threads, progress
        self._by_statistics = has_statistics(self._bundle)
        # Files of many megabytes, while the images are read.
        loading = ThreadPoolExecutor(1)
        self._loaded = loading.submit(self._load)
        loading.shutdown(wait=False)
        self._collected = collect(
            self._bundle,
            images,
            incremental=incremental,
            share=self._settings['held_out'],
            replay=not self._by_statistics,
            progress=progress,
        )
        test, unreadable = collect_test(test_dir, self._bundle, progress)
        self._unreadable = [*self._collected.unreadable, *unreadable]
        self._questions = make_questions(
            self._bundle, self._collected, test, incremental=incremental
        )

    def run(self) -> Outcome:
        """Learn, compare, and put the new set into service or aside."""
        with self._loaded.result() as graph:
            graph.remember()
            report, new, said = self._compare(graph)
            outcome = self._finish(report, new)
            # Those of the set in service, whichever it is.
            graph.keep_scores(outcome.bundle, said[bool(report.rejected)])
        return outcome

    def _load(self) -> GateGraph:
        """What is in service."""
        graph = GateGraph(self._bundle, threads=self._threads)
        self._statistics = self._bundle.input_statistics()
        self._present = graph.bind(self._statistics).runs
        return graph

    def _compare(self, graph: GateGraph) -> tuple[RetrainReport, Relearned, tuple[Known, Known]]:
        """Learn and compare; also what the new set and the present one said."""
        said: tuple[Known, Known] = ({}, graph.known_scores(self._bundle))
        before, known = self._inspect_before(graph, self._present, said[1])
        new = self._learn(graph, self._statistics if self._incremental else [])
        # The statistics are as large as all else together.
        del self._present, self._statistics
        after = self._inspect(new.runs, 'calibrate', graph, said[0])
        if not all_finite(after):
            msg = 'what was learned gives scores that are no numbers; nothing was written'
            raise BackendError(msg)
        golden = self._bundle.golden().images[:_GOLDEN]
        thresholds = self._thresholds(known, after, new.backend, golden)
        fault, notes = self._check(before, after, thresholds, new, golden)
        changed = parts_changed(
            known.scores, before.good[~self._questions.are_old], len(self._collected.learn)
        )
        if changed:
            # It explains a refusal, too.
            fault, notes = f'{fault}; {changed}' if fault else '', (changed, *notes)
        return self._report(before, after, thresholds, new, fault, notes), new, said

    def _inspect(self, runs: Runs, stage: str, graph: GateGraph, known: Known) -> Scores:
        return predict_all(
            runs,
            self._questions,
            stage=stage,
            progress=self._progress,
            # Weights that were trained further have a graph of their own.
            at_once=graph.at_once if self._by_statistics else 1,
            known=known,
        )

    def _inspect_before(
        self, graph: GateGraph, runs: Runs, known: Known
    ) -> tuple[Scores, NormalScores]:
        """What the set in service says of all images, and of those the threshold moves by."""
        scores = self._inspect(runs, 'inspect as before', graph, known)
        if self._incremental:
            old = self._questions.are_old
            return scores, NormalScores(scores.good[old], scores.peaks[old])
        # Those of the new folder may be of another light; the threshold was chosen on these.
        return scores, _inspect_normals(runs, self._questions.geometry, self._bundle.normals())

    def _learn(self, graph: GateGraph, statistics: Sequence[Arrays]) -> Relearned:
        bundle, collected, settings = self._bundle, self._collected, self._settings
        if not self._by_statistics:
            tune = fine_tuner(bundle.manifest.model)
            return tune(bundle, collected, settings, progress=self._progress)
        return relearn_statistics(
            bundle,
            collected,
            settings,
            statistics,
            graph=graph,
            threads=self._threads,
            progress=self._progress,
        )

    def _thresholds(
        self,
        known: NormalScores,
        after: Scores,
        backend: Backend,
        golden: npt.NDArray[np.uint8],
    ) -> Thresholds:
        manifest, questions = self._bundle.manifest, self._questions
        old = questions.are_old if self._incremental else slice(None)
        present = Present(
            image=manifest.image_threshold,
            pixel=manifest.pixel_threshold,
            before=known,
            after=NormalScores(after.good[old], after.peaks[old]),
        )
        image, pixel = retrained_thresholds(present, after, self._settings, self._overrides)
        # Those of golden images widen the range to anomalies, where no others are known.
        golden_scores = np.array([backend.run(one[None]).scores[0] for one in golden], np.float32)
        every = np.concatenate([after.good, after.test, golden_scores])
        kept = score_range(
            every,
            image.value,
            after.good,
            anomalies=after.test[questions.labels],
            made_up=questions.defects.by_strength(after.made_up),
        )
        return Thresholds(image, pixel, kept)

    def _check(
        self,
        before: Scores,
        after: Scores,
        thresholds: Thresholds,
        new: Relearned,
        golden: npt.NDArray[np.uint8],
    ) -> tuple[str, tuple[str, ...]]:
        """Why the new set may not go into service (empty: it may), and what else to say."""
        expected = Prediction.concatenate(new.predict(image) for image in golden)
        parity = measure_parity(
            new.backend,
            golden,
            expected,
            threshold=thresholds.image.value,
            span=thresholds.score_range.span,
            precision=read_precision(self._bundle) if self._by_statistics else 'fp32',
            map_tolerance=map_tolerance_of(self._bundle, expected),
            progress=self._progress,
        )
        findings = Comparison(
            questions=self._questions,
            before=before,
            after=after,
            old=self._bundle.manifest.image_threshold.value,
            new=thresholds.image.value,
            settings=self._settings,
        ).findings()
        faults = [parity_fault(parity), *(one.fault for one in findings)]
        rejected = still_rejected(self._collected, after.marked, thresholds.image.value)
        notes = [*(one.note for one in findings), *rejected]
        return next(filter(None, faults), ''), tuple(filter(None, notes))

    def _report(
        self,
        before: Scores,
        after: Scores,
        thresholds: Thresholds,
        new: Relearned,
        fault: str,
        notes: tuple[str, ...],
    ) -> RetrainReport:
        bundle, collected, questions = self._bundle, self._collected, self._questions
        learned, held_out = bundle.known_images() if self._incremental else ({}, {})
        return RetrainReport(
            base=bundle.base_id,
            previous=bundle.bundle_id,
            created=datetime.now(timezone.utc).isoformat(timespec='milliseconds'),
            mode='incremental' if self._incremental else 'full',
            pictures=len(collected.learn),
            total=new.images,
            image_threshold=thresholds.image,
            pixel_threshold=thresholds.pixel,
            score_range=thresholds.score_range,
            before=figures(before, bundle.manifest.image_threshold.value, questions),
            after=figures(after, thresholds.image.value, questions),
            settings=self._settings,
            learned={**learned, **_names(collected.learn)},
            held_out={**held_out, **_names(collected.held_out)},
            versions={name: version(name) for name in ('numpy', 'onnxruntime')},
            rejected=fault,
            overrides=tuple(self._overrides),
            notes=notes,
        )

    def _finish(self, report: RetrainReport, new: Relearned) -> Outcome:
        self._progress('write', 0, 1)
        bundle, keep, kept = self._bundle, self._settings['keep'], None
        if report.rejected:
            kept = keep_rejected(bundle, report, new.contents, keep=keep)
        else:
            bundle = write_retrained(bundle, report, new.contents, keep=keep)
        self._progress('write', 1, 1)
        return Outcome(
            bundle=bundle,
            report=report,
            fault=report.rejected,
            kept=kept,
            unreadable=self._unreadable,
        )


def _inspect_normals(
    runs: Runs, geometry: Geometry, images: npt.NDArray[np.uint8]
) -> NormalScores:
    predictions = [geometry.predict(runs, image) for image in images]
    return NormalScores(
        np.array([one.scores[0] for one in predictions], np.float32),
        np.array([one.maps.max() for one in predictions], np.float32),
    )


def _names(images: Sequence[LabelledImage]) -> dict[str, str]:
    return {image.sha256: readable_name(image.path) for image in images}
