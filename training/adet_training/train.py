# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""One training run: from folders of images to a bundle and its test results."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
import tempfile
import time
from typing import Any

from lightning.pytorch import seed_everything
import numpy.typing as npt
import yaml

from adet_core.bundle import (
    Bundle,
    Content,
    KNOWN_IMAGES_FILE,
    MADE_UP_FILE,
    Manifest,
    NORMALS_FILE,
    write_arrays,
    write_atomic,
    write_bundle,
)
from adet_core.errors import ConfigError
from adet_core.geometry import Geometry
from adet_core.io.labelled import LabelledImage
from adet_core.made_up import DEFECTS_PER_IMAGE, draw_defects
from adet_core.operating_point import doubts
from adet_core.progress import ProgressCallback, silent
from adet_core.run_folders import BUNDLE_FOLDER, LOGS_FOLDER, new_run_folder
from adet_core.thresholds import Thresholds
from adet_training import processes, unfinished
from adet_training.adapter import AnyAdapter, FitData
from adet_training.alike import warn_of_alike
from adet_training.backbone import Backbone, name_backbone
from adet_training.bundle_contents import (
    changed_scores,
    choosing_images,
    dataset_info,
    golden_of,
    made_up_scores,
    model_contents,
    NORMALS_KEPT,
    normals_to_keep,
    write_known,
)
from adet_training.calibrate import calibrate, normals_to_calibrate, test_metrics, Tested
from adet_training.category import list_category
from adet_training.dataset import load_category
from adet_training.fit import finish_checkpoints
from adet_training.layout import find_roi, geometry_contents, make_geometry
from adet_training.learning_set import (
    block_size,
    check_together,
    own_part,
    split,
    takes_labels,
)
from adet_training.limits import check
from adet_training.models import load_adapter
from adet_training.parameters import make_parameters, Parameters, plain, SteppedParameters
from adet_training.predictor import draft_manifest, Predictor
from adet_training.results import draw_overlays, write_test_result
from adet_training.scratch import Scratch
from adet_training.trace import Traced

PARAMETERS_FILE = Path('param', 'best_params.yaml')


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """What to train on, and how.

    Attributes:
        model: The model name.
        category: Name of the folder under ``train`` and ``test``.
        data_root: Folder that holds ``train`` and ``test``.
        models_root: Folder the run is written under.
        backbone_weights: ``auto``, ``imagenet``, ``random`` or a file.
        settings: Hyper-parameters that differ from their defaults.
        seed: Of everything that is random.
        roi: The region of interest, see `adet_core.geometry.read_area`; empty: what
            `adet_training.layout.find_roi` finds.
        resume: Which interrupted run to go on with, see `adet_training.unfinished.go_on`.
    """

    model: str
    category: str
    data_root: Path
    models_root: Path
    backbone_weights: str
    settings: dict[str, Any]
    seed: int = 0
    roi: str = ''
    resume: str = unfinished.NONE

    def __post_init__(self) -> None:
        """Check the seed.

        Raises:
            ConfigError: It is out of the range that all the libraries take.
        """
        check(0 <= self.seed < 2**32, 'seed', self.seed, '0 to 4294967295')


@dataclass(frozen=True)
class Run:
    """A finished run.

    Attributes:
        folder: The run's folder.
        bundle: Its bundle.
        fit_seconds: Wall time of the fit alone.
        unreadable: One line for each image that was skipped.
        unmatched_masks: Masks without an image; the warnings name them.
        unfit_masks: Masks that cannot be read or do not fit their images; the warnings name them.
        warnings: What makes the metrics or the threshold doubtful, one line each.
        learned_tests: How many test images are training images, too.
        traced: The graph that predicted the test images, for the export; None where the module
            itself did.
    """

    folder: Path
    bundle: Bundle
    fit_seconds: float
    unreadable: Sequence[str]
    unmatched_masks: int
    unfit_masks: int
    warnings: Sequence[str]
    learned_tests: int = 0
    traced: Traced | None = None


def train(
    config: TrainConfig,
    *,
    folder: Path | None = None,
    progress: ProgressCallback = silent,
    tell: Callable[[str], object] | None = None,
) -> Run:
    """Fit a model, find its thresholds, test it, and write the whole PC layout.

    The bundle appears last, so a folder with a bundle is a finished run.

    Args:
        config: What to train on, and how.
        folder: The run's folder; None makes one named after the time, or goes on with another.
        progress: Told the progress.
        tell: Told in one line each: what was taken where the settings leave that open, which
            images were skipped and what is doubtful about the others, the memory that a training
            with tiles takes, and how long many steps will take.

    Raises:
        adet_core.errors.ConfigError: A setting, the model's name or the weights cannot be used.
        adet_core.errors.DatasetError: The images are missing, too few or arranged wrongly.
        OSError: The models root cannot be written.
    """
    return _Training(config, progress, tell or str).run(folder)


def take_part(config: TrainConfig) -> None:
    """What the other processes of a training do while the first one calls `train`.

    Raises:
        adet_core.errors.AdetError: As of `train`.
    """
    _Training(config, silent, str).take_part()


class _Training:
    """One run in steps: fit, inspect the test images, choose the thresholds, write."""

    def __init__(
        self, config: TrainConfig, progress: ProgressCallback, tell: Callable[[str], object]
    ) -> None:
        """Read the settings and all images; arguments and errors are those of `train`."""
        self._config, self._progress = config, progress
        self._notes: list[str] = []
        self._tell_user = tell
        self._adapter = adapter = load_adapter(config.model)
        check_together(config.model, adapter)
        settings = name_backbone(adapter.parameters, config.settings, config.backbone_weights)
        self._parameters = adapter.resolve(
            make_parameters(adapter.parameters, settings),
            config.backbone_weights,
            progress=progress,
            tell=self._tell,
        )
        self._backbone = adapter.backbone(
            self._parameters, config.backbone_weights, seed=config.seed
        )
        self._geometry = geometry_of(config, adapter, self._parameters, self._backbone)
        self._scratch = Scratch(config.models_root)
        self._data = load_category(
            config.data_root,
            config.category,
            self._geometry,
            block=block_size(adapter, self._parameters, self._geometry),
            progress=progress,
            scratch=self._scratch,
        )
        self._to_learn = split(adapter, self._parameters, self._data, config.seed)
        self._warnings = [
            *self._data.warnings,
            *warn_of_alike(self._to_learn, self._parameters.group_by),
        ]
        # Before the training, which may take hours, or fail for what is told here.
        for line in self._data.unreadable:
            tell(f'skipped: {line}')
        for line in self._warnings:
            tell(f'warning: {line}')
        self._own = own_part(adapter, self._to_learn, self._geometry)
        if not processes.rank():
            # From now on with the pixels that another process read.
            self._to_learn = self._to_learn._replace(held_out=self._own.held_out)

    def take_part(self) -> None:
        """Learn this process's images; nothing is kept here."""
        module = self._build()
        with tempfile.TemporaryDirectory(prefix='adet-train-') as scratch:
            inputs = self._own.cut(self._geometry)
            self._adapter.fit(module, inputs, Path(scratch), self._parameters, silent)

    def _build(self) -> Any:
        seed = self._config.seed
        seed_everything(seed, verbose=False)
        module = self._adapter.build(self._parameters, self._backbone)
        if processes.rank():
            # What is drawn at random for an image is not to be the same in all processes.
            seed_everything((seed + processes.rank()) % 2**32, verbose=False)
        return module

    def run(self, folder: Path | None) -> Run:
        """Train; writes to a new folder if none is given and none was begun."""
        module = self._build()
        folder, claim = (folder, None) if folder else self._open_folder()
        log = self._open_log(folder)
        used = yaml.safe_dump(plain(self._parameters), sort_keys=False)
        write_atomic(folder / PARAMETERS_FILE, used.encode())
        start = time.perf_counter()

        def tell(line: str) -> None:
            log.write(line)
            self._tell_user(line)

        inputs = self._own.cut(self._geometry)._replace(tell=tell)
        log.write(size := self._size_of_fit(module, inputs))
        if inputs.inputs > 1:
            self._tell_user(size)
        self._adapter.fit(module, inputs, folder, self._parameters, log.report)
        del inputs
        fit_seconds = time.perf_counter() - start

        predictor = self._predictor(module, log.report)
        predict_all = partial(_predict, predictor, progress=log.report, empty=self._scratch.empty)
        tested = predict_all(self._data.test, stage='testing')
        held_out = predict_all(self._to_learn.held_out, stage='calibrating')
        normals = normals_to_keep(tested, held_out)
        defects = draw_defects(
            len(normals),
            self._geometry.size,
            piece=self._geometry.spec.size,
            allowed=self._geometry.inspected,
            seed=self._config.seed,
        )
        labelled = takes_labels(self._parameters, self._data)
        thresholds = calibrate(
            self._parameters,
            tested,
            held_out,
            labelled=labelled,
            made_up=made_up_scores(predictor, defects, normals, log.report),
            changed=changed_scores(
                predictor, normals_to_calibrate(tested, held_out, labelled=labelled), log.report
            )
            if self._parameters.robust
            else None,
        )
        doubtful = doubts(thresholds.image, thresholds.score_range)
        for line in doubtful:
            log.write(f'warning: {line}')
        manifest = self._manifest(thresholds, _figures(tested, thresholds, log.report))
        if tested:
            write_test_result(folder / 'test_result', *tested, manifest, progress=log.report)
        elif held_out:
            # With nothing else to look at.
            overlays = folder / 'test_result' / 'images' / 'held_out'
            images, found = held_out
            draw_overlays(
                overlays, images, found.scores, list(found.maps), manifest, progress=log.report
            )
        inspected = tested or held_out
        assert inspected is not None
        contents: dict[str, Content] = {
            **model_contents(self._adapter, module, golden_of(module, self._geometry, inspected)),
            **geometry_contents(self._geometry),
            NORMALS_FILE: partial(write_arrays, arrays={'images': normals}),
            MADE_UP_FILE: partial(write_arrays, arrays=defects._asdict()),
            KNOWN_IMAGES_FILE: partial(
                write_known,
                to_learn=self._to_learn,
                tested=choosing_images(tested, thresholds.image) if labelled else (),
            ),
        }
        bundle = write_bundle(folder / BUNDLE_FOLDER, manifest, contents)
        finish_checkpoints(folder)
        if claim:
            claim.finish()
        log.write(
            f'bundle {bundle.bundle_id}, threshold {manifest.image_threshold}, {manifest.metrics}'
        )
        # Without the images themselves, which may fill the memory.
        data = self._data
        return Run(
            folder,
            bundle,
            fit_seconds,
            data.unreadable,
            data.unmatched_masks,
            data.unfit_masks,
            [*self._warnings, *doubtful],
            data.learned_tests,
            predictor.traced,
        )

    def _open_folder(self) -> tuple[Path, unfinished.Claim | None]:
        """The folder of a run that was interrupted and is gone on with, or a new one."""
        config, names = self._config, (self._config.model, self._config.category)
        if not isinstance(self._parameters, SteppedParameters):
            if config.resume not in {unfinished.AUTO, unfinished.NONE}:
                msg = f'--resume: {config.model} learns in one pass; leave it out'
                raise ConfigError(msg)
            return new_run_folder(config.models_root, *names), None
        if processes.count() > 1:
            # Their checkpoints would have to be of the same step.
            return new_run_folder(config.models_root, *names), None
        told = self._identity()
        found = unfinished.go_on(
            config.resume,
            told,
            models_root=config.models_root,
            model=config.model,
            category=config.category,
        )
        if found:
            self._tell(f'goes on with the interrupted {found[0]}; --resume none begins anew')
            return found
        folder = new_run_folder(config.models_root, *names)
        claim = unfinished.Claim(folder)
        claim.begin(told)
        return folder, claim

    def _identity(self) -> dict[str, Any]:
        """What decides the weights that the steps lead to."""
        values = plain(self._parameters)
        # More time may be given later.
        del values['max_minutes']
        return {
            **values,
            'images': self._data.fingerprint,
            'geometry': str(self._geometry.spec),
            'weights': self._backbone.spec.sha256 if self._backbone else '',
            'seed': self._config.seed,
        }

    def _tell(self, line: str) -> None:
        """Tell the user, and the log as soon as there is one."""
        self._notes.append(line)
        self._tell_user(line)

    def _size_of_fit(self, module: Any, inputs: FitData) -> str:
        """What is learned from, and the memory that it takes, for people."""
        height, width = self._geometry.size
        of_maps = (len(self._data.test) + len(self._own.held_out)) * 4 * height * width
        memory, disk = self._scratch.sizes_with(of_maps)
        of_fit = self._adapter.fit_bytes(module, inputs, self._parameters)
        on_disk = f' and {disk >> 20} MiB of disk in {self._config.models_root}' if disk else ''
        return (
            f'{len(inputs.fit)} inputs of the graph, {inputs.inputs} of each image, to learn '
            f'from; all images and maps take {memory >> 20} MiB of memory{on_disk}, learning up '
            f'to {of_fit >> 20} MiB of memory'
        )

    def _predictor(self, module: Any, progress: ProgressCallback) -> Predictor:
        """What predicts all images that were not fitted, and the made-up defects."""
        labelled = [*self._data.test, *self._to_learn.held_out]
        images = [one.pixels for one in labelled]
        normals = min(sum(not one.is_anomalous for one in labelled), NORMALS_KEPT)
        return Predictor(
            self._adapter,
            module,
            self._draft(),
            images,
            geometry=self._geometry,
            count=len(images) + normals * DEFECTS_PER_IMAGE,
            progress=progress,
        )

    def _open_log(self, folder: Path) -> _Log:
        log = _Log(folder / LOGS_FOLDER / 'train.log', self._progress)
        to_learn = self._to_learn
        log.write(
            f'adet train, {len(to_learn.fit)} images to fit, {len(to_learn.held_out)} held out'
        )
        for line in self._notes:
            log.write(line)
        for line in self._data.unreadable:
            log.write(f'skipped {line}')
        for line in self._warnings:
            log.write(f'warning: {line}')
        return log

    def _manifest(self, thresholds: Thresholds, metrics: dict[str, float]) -> Manifest:
        return replace(
            self._draft(),
            image_threshold=thresholds.image,
            pixel_threshold=thresholds.pixel,
            score_range=thresholds.score_range,
            dataset=dataset_info(self._data, self._to_learn),
            metrics=metrics,
        )

    def _draft(self) -> Manifest:
        config = self._config
        return draft_manifest(
            self._parameters,
            self._backbone,
            image=self._geometry.spec,
            model=config.model,
            category=config.category,
            seed=config.seed,
        )


def geometry_of(
    config: TrainConfig, adapter: AnyAdapter, parameters: Parameters, backbone: Backbone | None
) -> Geometry:
    """The geometry of a training, see `adet_training.layout.make_geometry`.

    Raises:
        ConfigError: The region of interest or the tiles do not fit the images.
        DatasetError: There are no images of the category.
    """
    labels = list_category(config.data_root, config.category)
    return make_geometry(
        parameters,
        adapter.normalisation(backbone),
        [path for path, label in labels.items() if not label],
        roi=config.roi or find_roi(config.data_root, config.category),
    )


class _Log:
    """The run's own account of itself, line by line, for whoever looks at it later."""

    def __init__(self, path: Path, progress: ProgressCallback) -> None:
        path.parent.mkdir(exist_ok=True)
        self._path, self._progress = path, progress

    def write(self, text: str) -> None:
        now = datetime.now(timezone.utc).isoformat(timespec='seconds')
        with self._path.open('a', encoding='utf-8', errors='surrogateescape') as file:
            file.write(f'{now} {text}\n')

    def report(self, stage: str, done: int, total: int | None) -> None:
        """Pass progress on, and write down the end of each stage."""
        self._progress(stage, done, total)
        if done == total:
            self.write(f'{stage}: {done} done')


def _predict(
    predictor: Predictor,
    images: Sequence[LabelledImage],
    *,
    progress: ProgressCallback,
    stage: str,
    empty: Callable[[tuple[int, ...], npt.DTypeLike], npt.NDArray[Any]],
) -> Tested | None:
    if not images:
        return None
    pixels = [labelled.pixels for labelled in images]
    return Tested(images, predictor(pixels, progress, stage, empty=empty))


def _figures(
    tested: Tested | None, thresholds: Thresholds, progress: ProgressCallback
) -> dict[str, float]:
    """The metrics of the test images, for which the pixels of all maps are sorted."""
    if not tested:
        return {}
    progress('computing the figures', 0, 1)
    figures = test_metrics(tested, thresholds.image.value)
    progress('computing the figures', 1, 1)
    return figures
