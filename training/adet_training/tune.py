# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""The search for hyper-parameters, with Optuna (https://arxiv.org/abs/1907.10902)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
import csv
from dataclasses import dataclass, fields, replace
import hashlib
import io
import json
import os
from pathlib import Path
import tempfile
import time
from typing import Any, NamedTuple

from lightning.pytorch import seed_everything
import numpy as np
import optuna
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState
import yaml

from adet_core.bundle import write_atomic
from adet_core.errors import AdetError, ConfigError
from adet_core.geometry import Geometry, ImageSpec
from adet_core.image import ImageArray
from adet_core.made_up import cut_paste
from adet_core.metrics import auroc, auroc_interval
from adet_core.models.names import model_folder
from adet_core.progress import ProgressCallback, silent
from adet_core.run_folders import new_run_folder
from adet_training.adapter import AnyAdapter, FitData
from adet_training.backbone import hash_file, name_backbone
from adet_training.dataset import Category, load_category
from adet_training.hold_out import hold_out
from adet_training.learning_set import split
from adet_training.limits import check
from adet_training.models import load_adapter
from adet_training.parameters import make_parameters, Parameters, plain
from adet_training.predictor import draft_manifest, Predictor
from adet_training.scratch import Scratch
from adet_training.search_space import read_search_space, Space, suggest
from adet_training.train import geometry_of, PARAMETERS_FILE, TrainConfig
from adet_training.trials import best_of, INTERVAL, PREDICT_MS, too_alike, TrialProgress
from adet_training.tune_report import write_search_report
from adet_training.tune_storage import (
    fail_dead_trials,
    first_line,
    open_storage,
    storage_errors,
    with_heartbeat,
)

SEARCH_SPACE_FILE = Path('param', 'search_space.yaml')
TRIALS_FILE = Path('param', 'trials.csv')
REPORT_FILE = Path('param', 'report.html')
# Of the images or steps: a trial that does badly with so few is given up.
_FIRST_LOOK = 0.25
# Trials that are never given up, so that there is something to compare with.
_STARTUP = 4


@dataclass(frozen=True, kw_only=True)
class TuneConfig:
    """What to search, and how long.

    Attributes:
        base: What every trial is trained on; its settings are those that are not searched.
        search_space: A file, see `adet_training.search_space`.
        trials: How many to run in this process.
        storage: Where the study is kept: an Optuna URL, ``journal:FILE``, ``grpc://HOST:PORT``, or
            empty for a SQLite file beside the runs.
        study: Its name; empty for ``<model>_<category>``.
        report: Whether to draw the search.
    """

    base: TrainConfig
    search_space: Path
    trials: int
    storage: str = ''
    study: str = ''
    report: bool = False

    def __post_init__(self) -> None:
        """Check the number of trials.

        Raises:
            ConfigError: It is not positive.
        """
        check(self.trials >= 1, 'trials', self.trials, '1 or more')


class Tuned(NamedTuple):
    """A finished search.

    Attributes:
        folder: A run's folder with ``param/``, ready to train in.
        study: Its name.
        storage: Where it is kept.
        objective: What was made large: ``image_auroc`` or, without labels, ``cutpaste_auroc``.
        best_value: The largest found, by all processes.
        best_parameters: What gave it.
        trials: Number of trials by state, in lower case.
        warnings: What makes the choice doubtful, one line each.
        report: HTML file of the search; None: not asked for.
    """

    folder: Path
    study: str
    storage: str
    objective: str
    best_value: float
    best_parameters: dict[str, Any]
    trials: dict[str, int]
    warnings: Sequence[str] = ()
    report: str | None = None


def tune(
    config: TuneConfig,
    *,
    progress: ProgressCallback = silent,
    tell: Callable[[str], object] = str,
) -> Tuned:
    """Run trials, then write ``param/`` of a new run's folder from all trials of the study.

    Args:
        config: What to search, and how long.
        progress: Told the progress.
        tell: Told what trials take where the settings leave that open, in one line.

    Raises:
        ConfigError: The search space, a setting or the storage cannot be used, or the study was
            begun with other data or another search space.
        AdetError: No trial was finished; gives the reason of the last.
    """
    base = config.base
    adapter = load_adapter(base.model)
    space = read_search_space(config.search_space, adapter.parameters)
    if both := sorted(set(space) & set(base.settings)):
        msg = f'{both[0]} is given by --set (or tiles=auto) and searched by'
        raise ConfigError(f'{msg} {config.search_space}: take one')
    if 'backbone' not in space:
        settings = name_backbone(adapter.parameters, base.settings, base.backbone_weights)
        base = replace(base, settings=settings)
    make_parameters(adapter.parameters, base.settings)
    trial_of = _Trials(base, adapter, space, TrialProgress(config.trials, progress), tell)
    home = base.models_root / model_folder(base.model) / base.category
    url, storage = open_storage(config.storage, home)
    name = config.study or f'{base.model}_{base.category}'
    study = _open_study(name, storage, config, trial_of)
    try:
        fail_dead_trials(study, storage)
        objective = with_heartbeat(trial_of, storage)
        study.optimize(objective, config.trials, catch=(AdetError,), gc_after_trial=True)
        fail_dead_trials(study, storage)
    except storage_errors() as error:
        msg = f'storage {url}: {first_line(error)}; what was finished is kept: run it again'
        raise AdetError(msg) from None

    trials = study.get_trials(deepcopy=False)
    finished = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    if not finished:
        reasons = [trial.user_attrs.get('reason') for trial in trials]
        msg = f'no trial was finished; the last one: {reasons[-1] or trials[-1].state.name}'
        raise AdetError(msg)
    best = best_of(finished)
    parameters = make_parameters(
        adapter.parameters, {**base.settings, **_fixed(space), **best.params}
    )
    folder = new_run_folder(base.models_root, base.model, base.category)
    _write(folder / PARAMETERS_FILE, yaml.safe_dump(plain(parameters), sort_keys=False))
    _write(folder / SEARCH_SPACE_FILE, yaml.safe_dump(dict(space), sort_keys=False))
    _write(
        folder / TRIALS_FILE,
        _table(trials, sorted({name for trial in trials for name in trial.params})),
    )
    if config.report:
        write_search_report(folder / REPORT_FILE, study, trial_of.objective)
    states = [trial.state.name.lower() for trial in trials]
    return Tuned(
        folder=folder,
        study=name,
        storage=url,
        objective=trial_of.objective,
        best_value=float(best.value or 0.0),
        best_parameters=plain(parameters),
        trials={state: states.count(state) for state in sorted(set(states))},
        warnings=too_alike(best, finished),
        report=str(folder / REPORT_FILE) if config.report else None,
    )


class _Trials:
    """The objective: trains with what Optuna suggests, and says how good that is.

    Attributes:
        objective: Its name.
        fingerprint: Of images, settings and search space; trials of different ones do not
            compare.
    """

    def __init__(
        self,
        base: TrainConfig,
        adapter: AnyAdapter,
        space: Space,
        progress: TrialProgress,
        tell: Callable[[str], object],
    ) -> None:
        self._base, self._adapter, self._space, self._progress = base, adapter, space, progress
        self._tell, self._told = tell, set[str]()
        self._data: dict[ImageSpec, Category] = {}
        parameters = make_parameters(adapter.parameters, base.settings)
        data = self._load(geometry_of(base, adapter, parameters, None))
        self.objective = 'image_auroc' if data.is_labelled else 'cutpaste_auroc'
        given = {name: _identity(value) for name, value in base.settings.items()}
        weights = _identity(base.backbone_weights)
        told = [data.fingerprint, base.model, base.seed, weights, dict(space), given]
        text = json.dumps(told, sort_keys=True, default=str)
        self.fingerprint = hashlib.sha256(text.encode()).hexdigest()

    def __call__(self, trial: optuna.Trial) -> float:
        """Train with a part, after which a poor trial is given up, then with everything."""
        try:
            with self._progress.trial(trial.study.get_trials(deepcopy=False)):
                return self._run(trial)
        except AdetError as error:
            # Values that are fine each by itself may not go together: this one is left out.
            trial.set_user_attr('reason', str(error))
            raise

    def _run(self, trial: optuna.Trial) -> float:
        settings = {**self._base.settings, **suggest(trial, self._space)}
        parameters = self._adapter.resolve(
            make_parameters(self._adapter.parameters, settings),
            self._base.backbone_weights,
            progress=self._progress,
            tell=self._tell_once,
        )
        weights, seed = self._base.backbone_weights, self._base.seed
        backbone = self._adapter.backbone(parameters, weights, seed=seed)
        geometry = geometry_of(self._base, self._adapter, parameters, backbone)
        data = self._load(geometry)
        part, some = _part(parameters, data)
        value = self._score(trial, geometry, part, some)
        trial.report(value, 0)
        if trial.should_prune():
            raise optuna.TrialPruned
        # So few images or steps are not divided.
        if part != parameters or some is not data:
            value = self._score(trial, geometry, parameters, data)
        trial.report(value, 1)
        return value

    def _tell_once(self, line: str) -> None:
        """Tell what all trials have in common once."""
        if line not in self._told:
            self._told.add(line)
            self._tell(line)

    def _load(self, geometry: Geometry) -> Category:
        key = geometry.spec
        if key.fit != 'letterbox':
            # No pixel depends on the normalisation of a backbone.
            key = replace(key, mean=(0.0,) * 3, std=(1.0,) * 3)
        if key not in self._data:
            # Only the last ones are kept: images are large.
            base = self._base
            found = load_category(
                base.data_root,
                base.category,
                geometry,
                progress=self._progress,
                scratch=Scratch(base.models_root),
            )
            self._data = {key: found}
        return self._data[key]

    def _score(
        self, trial: optuna.Trial, geometry: Geometry, parameters: Parameters, data: Category
    ) -> float:
        base, adapter = self._base, self._adapter
        to_learn, images, labels = _to_predict(adapter, parameters, data, base.seed)
        backbone = adapter.backbone(parameters, base.backbone_weights, seed=base.seed)
        seed_everything(base.seed, verbose=False)
        module, progress = adapter.build(parameters, backbone), self._progress
        with tempfile.TemporaryDirectory(prefix='adet_tune_') as folder:
            adapter.fit(module, to_learn.cut(geometry), Path(folder), parameters, progress)
        predictor = Predictor(
            adapter,
            module,
            draft_manifest(
                parameters,
                backbone,
                image=geometry.spec,
                model=base.model,
                category=base.category,
                seed=base.seed,
            ),
            images,
            geometry=geometry,
            count=len(images),
            progress=progress,
        )
        start = time.perf_counter()
        scores = predictor.scores(images, progress, 'testing')
        took = time.perf_counter() - start
        trial.set_user_attr(PREDICT_MS, 1000 * took / len(images))
        trial.set_user_attr(INTERVAL, auroc_interval(scores, np.array(labels), 0.95))
        value = auroc(scores, np.array(labels))
        assert value is not None
        return value


def _to_predict(
    adapter: AnyAdapter, parameters: Parameters, data: Category, seed: int
) -> tuple[FitData, list[ImageArray], list[bool]]:
    """What to fit, and the images with labels that the fitted model predicts."""
    to_learn = split(adapter, parameters, data, seed)
    if data.is_labelled:
        return (
            to_learn,
            [labelled.pixels for labelled in data.test],
            [labelled.is_anomalous for labelled in data.test],
        )
    rng = np.random.default_rng(seed)
    normal = [labelled.pixels for labelled in to_learn.held_out]
    anomalous = [cut_paste(image, rng) for image in normal]
    labels = [False] * len(normal) + [True] * len(anomalous)
    return to_learn, normal + anomalous, labels


def _part(parameters: Parameters, data: Category) -> tuple[Parameters, Category]:
    """A quarter of the work: of the steps where there are any, else of the images."""
    if 'steps' in {field.name for field in fields(parameters)}:
        steps = max(int(getattr(parameters, 'steps') * _FIRST_LOOK), 2)  # noqa: B009
        return replace(parameters, steps=steps), data  # type: ignore[call-arg]
    share = 1 - _FIRST_LOOK
    if len(data.train) * _FIRST_LOOK < 4:
        return parameters, data
    return parameters, replace(data, train=hold_out(data.train, share, 0)[0])


def _open_study(
    name: str, storage: BaseStorage, config: TuneConfig, trials: _Trials
) -> optuna.Study:
    study = optuna.create_study(
        study_name=name,
        storage=storage,
        direction='maximize',
        load_if_exists=True,
        pruner=optuna.pruners.MedianPruner(n_startup_trials=_STARTUP),
    )
    if study.user_attrs.setdefault('fingerprint', trials.fingerprint) != trials.fingerprint:
        msg = (
            f'study {name!r} was begun with other images, settings or search space; '
            'go on with those, or begin another: --study NAME'
        )
        raise ConfigError(msg)
    study.set_user_attr('fingerprint', trials.fingerprint)
    study.set_user_attr('objective', trials.objective)
    # A second search is not to begin with the first one's values, nor are several machines on one
    # storage to try the same all at once.
    seed = config.base.seed + len(study.trials) + (os.getpid() if config.storage else 0)
    study.sampler = optuna.samplers.TPESampler(seed=seed, constant_liar=True)
    return study


def _identity(value: Any) -> Any:
    """The same on machines that keep a file in different places."""
    path = Path(value) if isinstance(value, str) and value else None
    if path is not None and path.is_file():
        return hash_file(path)
    return path.name if path is not None else value


def _fixed(space: Space) -> dict[str, Any]:
    return {name: entry for name, entry in space.items() if not isinstance(entry, dict)}


def _table(trials: Sequence[FrozenTrial], names: Sequence[str]) -> str:
    """``trials.csv``: one row per trial, in the order they were begun."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(['number', 'state', 'value', 'seconds', PREDICT_MS, *names, 'reason'])
    for trial in trials:
        seconds = trial.duration.total_seconds() if trial.duration else ''
        values = [trial.params.get(name, '') for name in names]
        reason = trial.user_attrs.get('reason', '')
        value = '' if trial.value is None else trial.value
        speed = trial.user_attrs.get(PREDICT_MS, '')
        state = trial.state.name.lower()
        writer.writerow([trial.number, state, value, seconds, speed, *values, reason])
    return text.getvalue()


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, text.encode(errors='surrogateescape'))
