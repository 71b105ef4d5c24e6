# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""``--model auto``: several models trained on the same images, compared, and one recommended."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
import time
from typing import Any, NamedTuple

import numpy as np

from adet_core.bundle import Bundle
from adet_core.errors import AdetError, ConfigError
from adet_core.image import read_image
from adet_core.inference.detector import Detector
from adet_core.io.folders import LABELS
from adet_core.metrics import auroc
from adet_core.progress import ProgressCallback
from adet_training.category import list_category
from adet_training.export import export
from adet_training.parameters import Parameters
from adet_training.train import Run, train, TrainConfig

AUTO = 'auto'
"""The model name that asks for the contest."""

# Image AUROC that is not worth a slower model: a few hundred test images do not tell more.
_TIE = 0.01
_TIMED = 10


class Candidate(NamedTuple):
    """A model to try.

    Attributes:
        model: The model name.
        settings: Hyper-parameters that differ from their defaults.
    """

    model: str
    settings: Mapping[str, Any]

    def __str__(self) -> str:
        """As on a command line."""
        return ' '.join([self.model, *(f'{key}={value}' for key, value in self.settings.items())])


CANDIDATES = (
    Candidate('padim', {}),
    Candidate('patchcore', {'max_bank': 1000}),
    Candidate('patchcore', {}),
    Candidate('stfpm', {'steps': 200}),
)
"""Those that are tried, the quickest to train first."""

_SINGLE_FEATURES = Candidate('patchcore', {'max_bank': 1000, 'patch_size': 1})


def candidates_for(settings: Mapping[str, Any]) -> Sequence[Candidate]:
    """What to try: in tiles defects may be tiny, which single features show best.

    Args:
        settings: Hyper-parameters of all.
    """
    first, *others = CANDIDATES
    return (first, _SINGLE_FEATURES, *others) if settings.get('tiles') else CANDIDATES


@dataclass(frozen=True, kw_only=True)
class Result:
    """How a candidate did.

    Attributes:
        candidate: What was trained.
        run: Its run; None if there is none.
        auroc: Image AUROC on the labelled test images, else that of made-up defects against normal
            images; None if neither is there.
        ms: Median time of an inspection on this machine, in milliseconds.
        seconds: All that it took to train, test and export it.
        reason: Why there is no run; empty if there is one.
    """

    candidate: Candidate
    run: Run | None = None
    auroc: float | None = None
    ms: float | None = None
    seconds: float = 0.0
    reason: str = ''


class _OutOfTimeError(AdetError):
    """The time is over."""


def hold_contest(
    config: TrainConfig,
    *,
    max_s: float,
    progress: ProgressCallback,
    candidates: Sequence[Candidate],
    tell: Callable[[str], object] = str,
) -> list[Result]:
    """Train the candidates one after the other, until the time is over.

    The first one is always trained to its end; a later one that is not done in time has no run.

    Args:
        config: As of one training; its model does not matter.
        max_s: Time for all of them, in seconds.
        progress: Told the progress.
        candidates: What to train.
        tell: Told what each training tells; all read the same images, so a line may come again.

    Raises:
        ConfigError: A setting is not one of every model, or no candidate could be trained.
        adet_core.errors.DatasetError: The images are missing, too few or arranged wrongly.
    """
    shared = {field.name for field in fields(Parameters)}
    if others := sorted(set(config.settings) - shared):
        msg = f'with --model {AUTO}, --set takes hyper-parameters of every model, not {others[0]}'
        raise ConfigError(msg)
    end = time.monotonic() + max_s
    results: list[Result] = []
    for candidate in candidates:
        is_first = not any(result.run for result in results)
        limited = _Deadline(f'{candidate}: ', progress, float('inf') if is_first else end)
        results.append(_try(candidate, config, limited, tell))
    results = _timed(results, config)
    if not any(result.run for result in results):
        raise ConfigError(f'no model could be trained: {results[0].reason}')
    return results


def recommend(results: Sequence[Result]) -> Result:
    """The most accurate; of those within 0.01 of it, the one that inspects fastest.

    Single features have to be better than that: they miss large, faint defects, which may not be
    among those that were compared.
    """
    able = [result for result in results if result.run]
    highest = max(result.auroc or 0.0 for result in able)
    equal = [result for result in able if (result.auroc or 0.0) >= highest - _TIE]
    usual = [result for result in equal if result.candidate != _SINGLE_FEATURES]
    return min(usual or equal, key=lambda result: result.ms or 0.0)


def _try(
    candidate: Candidate,
    config: TrainConfig,
    progress: _Deadline,
    tell: Callable[[str], object],
) -> Result:
    settings = {**candidate.settings, **config.settings}
    start = time.monotonic()
    try:
        progress('starting', 0, 1)
        config = replace(config, model=candidate.model, settings=settings)
        run = train(config, progress=progress, tell=tell)
        export(run.bundle, traced=run.traced, progress=progress)
    except _OutOfTimeError:
        return Result(candidate=candidate, reason='not done in time')
    except ConfigError as error:
        return Result(candidate=candidate, reason=str(error))
    seconds = time.monotonic() - start
    return Result(
        candidate=candidate,
        run=replace(run, traced=None),
        auroc=_accuracy(run.bundle),
        seconds=seconds,
    )


def _accuracy(bundle: Bundle) -> float | None:
    """Image AUROC of the test images, else of made-up defects against the normal images kept."""
    manifest = bundle.manifest
    if (found := manifest.metrics.get('image_auroc')) is not None:
        return found
    normal = manifest.score_range.normals
    made_up = [score for found in manifest.score_range.made_up.values() for score in found]
    scores = np.array([*made_up, *normal], np.float32)
    return auroc(scores, np.arange(len(scores)) < len(made_up))


def _timed(results: Sequence[Result], config: TrainConfig) -> list[Result]:
    """With the median time of an inspection in milliseconds, with the image in memory.

    They inspect in turns: whatever else the machine does slows all of them alike.
    """
    paths = list_category(config.data_root, config.category)
    image = read_image(next(path for path, label in paths.items() if label != LABELS[1]))
    detectors = [
        Detector.load(result.run.bundle.folder) if result.run else None for result in results
    ]
    taken: list[list[float]] = [[] for _ in results]
    for _ in range(_TIMED + 1):
        for detector, times in zip(detectors, taken, strict=True):
            if detector:
                start = time.perf_counter()
                detector.inspect(image)
                times.append(1e3 * (time.perf_counter() - start))
    # The first one takes memory.
    return [
        replace(result, ms=float(np.median(times[1:])) if times else None)
        for result, times in zip(results, taken, strict=True)
    ]


class _Deadline:
    """Progress of a candidate, which ends it when the time is over."""

    def __init__(self, told: str, progress: ProgressCallback, end: float) -> None:
        self._told, self._progress, self._end = told, progress, end

    def __call__(self, stage: str, done: int, total: int | None) -> None:
        """See `adet_core.progress.ProgressCallback`."""
        if time.monotonic() > self._end:
            raise _OutOfTimeError
        self._progress(f'{self._told}{stage}', done, total)
