# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""One retraining, from a folder of normal images to a bundle in service or a reason why not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path

from adet_core.bundle import (
    Bundle,
    keep_rejected,
    only_retraining,
    open_bundle,
    read_engine,
    read_precision,
    read_record,
    RetrainReport,
    write_retrained,
)
from adet_core.errors import BackendError
from adet_core.folder import readable_name
from adet_core.inference.onnxruntime import OnnxRuntimeBackend
from adet_core.inference.parity import measure_parity
from adet_core.io.labelled import LabelledImage
from adet_core.prediction import Prediction
from adet_core.progress import ProgressCallback, silent
from adet_core.retraining.gate import (
    all_finite,
    ask,
    calibrate,
    figures,
    parity_fault,
    quality_fault,
)
from adet_core.retraining.images import collect, collect_test
from adet_core.retraining.relearned import fine_tuner
from adet_core.retraining.settings import retrain_settings
from adet_core.retraining.statistics import has_statistics, relearn_statistics

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
    bundle = open_bundle(folder, model=model, in_service=True)
    settings = retrain_settings(bundle.manifest, overrides)
    with only_retraining(folder):
        # Again: somebody else's retraining may have ended in between.
        bundle = open_bundle(folder, model=model, in_service=True)
        by_statistics = has_statistics(bundle)
        collected = collect(
            bundle,
            images,
            incremental=incremental,
            share=settings['held_out'],
            replay=not by_statistics,
            progress=progress,
        )
        test, unreadable = collect_test(test_dir, bundle, progress)
        statistics = bundle.statistics()
        present = OnnxRuntimeBackend(read_engine(bundle), threads=threads)
        present.bind(statistics)
        before_scores = ask(present, collected, test, stage='judge as before', progress=progress)
        before = figures(before_scores, bundle.manifest.image_threshold.value, test)
        del present
        if by_statistics:
            new = relearn_statistics(
                bundle,
                collected,
                settings,
                statistics if incremental else {},
                threads=threads,
                progress=progress,
            )
        else:
            new = fine_tuner(bundle.manifest.model)(bundle, collected, settings, progress=progress)
        scores = ask(new.backend, collected, test, stage='calibrate', progress=progress)
        golden = bundle.golden().images[:_GOLDEN]
        if not all_finite(scores):
            msg = 'what was learned gives scores that are no numbers; nothing was written'
            raise BackendError(msg)
        others = [float(new.backend.run(image[None]).scores[0]) for image in golden]
        line = calibrate(scores, others, settings)
        after = figures(scores, line.image.value, test)
        parity = measure_parity(
            new.backend,
            golden,
            Prediction.concatenate(new.predict(image) for image in golden),
            threshold=line.image.value,
            span=line.score_range.span,
            precision=read_precision(bundle) if by_statistics else 'fp32',
            map_tolerance=read_record(bundle).parity.map_tolerance or 0.0,
            progress=progress,
        )
        fault = parity_fault(parity) or quality_fault(scores, before, after, test, settings)
        learned, held_out = bundle.known_images() if incremental else ({}, {})
        result = RetrainReport(
            base=bundle.base_id,
            previous=bundle.bundle_id,
            created=datetime.now(timezone.utc).isoformat(timespec='milliseconds'),
            mode='incremental' if incremental else 'full',
            pictures=len(collected.learn),
            total=new.images,
            image_threshold=line.image,
            pixel_threshold=line.pixel,
            score_range=line.score_range,
            before=before,
            after=after,
            settings=settings,
            learned={**learned, **_names(collected.learn)},
            held_out={**held_out, **_names(collected.held_out)},
            versions={name: version(name) for name in ('numpy', 'onnxruntime')},
            rejected=fault,
        )
        progress('write', 0, 1)
        keep = settings['keep']
        kept = None
        if fault:
            kept = keep_rejected(bundle, result, new.contents, keep=keep)
        else:
            bundle = write_retrained(bundle, result, new.contents, keep=keep)
        progress('write', 1, 1)
    return Outcome(
        bundle=bundle,
        report=result,
        fault=fault,
        kept=kept,
        unreadable=[*collected.unreadable, *unreadable],
    )


def _names(images: Sequence[LabelledImage]) -> dict[str, str]:
    return {image.sha256: readable_name(image.path) for image in images}
