# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""EfficientAD: teachers and photographs from local files, and maps scaled on normal images."""

from __future__ import annotations

from collections.abc import Callable, Iterator
import csv
from dataclasses import replace
import io
import json
from pathlib import Path
import re
import shutil
import socket
from types import SimpleNamespace
from typing import Any, NamedTuple

from anomalib.models.image.efficient_ad.torch_model import EfficientAdModel, EfficientAdModelSize
import cv2
import numpy as np
from once import Once
import pytest
from tiny_models import Learn, quickly, tiny
import torch

from adet_core.bundle import Bundle, open_bundle
from adet_core.errors import ConfigError, DatasetError
from adet_core.image import preprocess, read_image
from adet_core.io.folders import list_images
from adet_core.io.labelled import LabelledImage
from adet_core.progress import silent
from adet_training.adapter import FitData
from adet_training.backbone import hash_file, load_backbone
from adet_training.backbone_teacher import BackboneTeacher
from adet_training.distill import distill, distill_file, make_teacher
from adet_training.efficientad import _cut, _pixels, _random_outputs
from adet_training.models.efficientad import ADAPTER, EfficientAdParameters
from adet_training.natural import NaturalImages
from adet_training.parameters import DEFAULT_BACKBONE, make_parameters
from adet_training.predictions import to_tensor

pytestmark = pytest.mark.training

SIZE = 256


class Taught(NamedTuple):
    """A bundle, and the stages of its training."""

    bundle: Bundle
    stages: list[str]


def _forbid_connections(patch: pytest.MonkeyPatch) -> None:
    """No connection can be made, and no name looked up."""

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError('the network was used')

    patch.setattr(socket.socket, 'connect', refuse)
    patch.setattr(socket, 'getaddrinfo', refuse)
    patch.setattr(socket, 'create_connection', refuse)


def _three_good_parts(few_images: Path, folder: Path) -> Path:
    """Nothing else to learn from: every image takes its time."""
    target = folder / 'train' / 'plate'
    target.mkdir(parents=True)
    for path in sorted((few_images / 'train' / 'plate').iterdir())[:3]:
        shutil.copy(path, target)
    return folder


@pytest.fixture
def good_parts(few_images: Path, tmp_path: Path) -> Path:
    """Three normal images, for the test alone."""
    return _three_good_parts(few_images, tmp_path / 'good')


@pytest.fixture(scope='session')
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Noise in many colours and sizes, in folders, with a broken file among it."""
    folder = tmp_path_factory.mktemp('photographs')
    rng = np.random.default_rng(0)
    (folder / 'deeper').mkdir()
    for number, (height, width) in enumerate([(50, 90), (300, 200), (64, 64)]):
        coarse = rng.integers(0, 256, (5, 7, 3), np.uint8)
        place = folder / 'deeper' if number else folder
        cv2.imwrite(str(place / f'{number}.png'), cv2.resize(coarse, (width, height)))
    cv2.imwrite(str(folder / 'grey.jpg'), rng.integers(0, 256, (80, 80), np.uint8))
    (folder / 'broken.png').write_bytes(b'not an image')
    return folder


def _teach(
    learn: Learn, data: Path, teacher: Path, settings: dict[str, Any] | None = None, **other: Any
) -> Bundle:
    values = {'teacher': str(teacher), **(settings or {})}
    return learn(values, model='efficientad', data_root=data, **other).bundle


def _weights(bundle: Bundle) -> dict[str, torch.Tensor]:
    weights: dict[str, torch.Tensor] = torch.load(io.BytesIO(bundle.weights()), weights_only=True)
    return weights


def _part(weights: dict[str, torch.Tensor], name: str) -> dict[str, torch.Tensor]:
    prefix = f'{name}.'
    return {k.removeprefix(prefix): v for k, v in weights.items() if k.startswith(prefix)}


def _check_graph(bundle: Bundle) -> None:
    """The graph gives the trained model's own answers to the golden images."""
    golden = bundle.golden()
    assert np.isfinite(golden.prediction.scores).all()
    graph = ADAPTER.graph(bundle.manifest, _weights(bundle))
    assert not graph.statistics
    with torch.inference_mode():
        scores, maps = graph.module.eval()(torch.from_numpy(golden.images))
    tolerance = 1e-3 * bundle.manifest.score_range.span
    np.testing.assert_allclose(scores[:, 0], golden.prediction.scores, rtol=0, atol=tolerance)
    np.testing.assert_allclose(maps[:, 0], golden.prediction.maps, rtol=0, atol=tolerance)
    for own, found in zip(golden.prediction.maps, maps[:, 0], strict=True):
        assert np.corrcoef(own.ravel(), found.ravel())[0, 1] > 0.999


@pytest.fixture(scope='module')
def taught(few_images: Path, teacher_file: Path, once: Once) -> Taught:
    """A training on three normal images with a given teacher, without a network."""

    def make(root: Path) -> None:
        from adet_training.quiet import quiet_libraries
        from adet_training.train import train, TrainConfig

        stages: list[str] = []
        config = TrainConfig(
            model='efficientad',
            category='plate',
            data_root=_three_good_parts(few_images, root / 'data'),
            models_root=root / 'models',
            backbone_weights='imagenet',
            settings={
                **tiny('efficientad'),
                'teacher': str(teacher_file),
                'natural_images': 'none',
            },
            seed=1,
        )
        with quiet_libraries(), quickly('efficientad'), pytest.MonkeyPatch.context() as patch:
            _forbid_connections(patch)
            train(config, progress=lambda stage, *_: stages.append(stage))
        (root / 'stages.json').write_text(json.dumps(stages))

    root = once('taught', make)
    (folder,) = (root / 'models' / 'EfficientAD' / 'plate').iterdir()
    stages = json.loads((root / 'stages.json').read_text())
    return Taught(open_bundle(folder / 'pytorch'), stages)


# ---- the teacher


def test_a_given_teacher_is_used_as_it_is(taught: Taught, teacher_file: Path) -> None:
    bundle = taught.bundle
    weights, given = _weights(bundle), torch.load(teacher_file, weights_only=True)
    teacher = _part(weights, 'teacher')
    assert teacher.keys() == given.keys()
    assert all(torch.equal(teacher[name], given[name]) for name in given)
    backbone = bundle.manifest.backbone
    assert backbone is not None
    found = (backbone.name, backbone.weights, backbone.source)
    assert found == ('pdn_small', 'file', 'teacher.pth')
    assert backbone.sha256 == hash_file(teacher_file)
    assert list(dict.fromkeys(taught.stages)) == [
        'reading images',
        'measuring the teacher',
        'solving the student',
        'training',
        'scaling the maps',
        'calibrating',
        'made-up defects',
        'drawing overlays',
    ]
    assert (bundle.manifest.dataset.train, bundle.manifest.dataset.held_out) == (2, 1)
    assert not (bundle.folder.parent / 'checkpoint' / 'teacher.pth').exists()
    _check_graph(bundle)


def test_without_a_network_the_backbone_is_the_teacher_and_textures_are_drawn(
    learn: Learn, good_parts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _forbid_connections(monkeypatch)
    told: list[str] = []
    settings = {'teacher': 'auto', 'natural_images': 'auto'}
    run = learn(settings, model='efficientad', data_root=good_parts, tell=told.append)
    manifest = run.bundle.manifest
    assert manifest.backbone is not None
    assert (manifest.backbone.name, manifest.backbone.weights) == (DEFAULT_BACKBONE, 'imagenet')
    assert manifest.backbone.layers == ('blocks.2', 'blocks.4')
    # What was taken is kept, and gives the same the next time.
    values = manifest.hyper_parameters
    assert (values['teacher'], values['natural_images']) == ('backbone', 'drawn')
    reasons = [line for line in told if 'HF_HUB_OFFLINE is set' in line]
    assert [line.partition(':')[0] for line in reasons] == [
        'teacher=backbone',
        'natural_images=drawn',
    ]
    log = (run.folder / 'logs' / 'train.log').read_text()
    assert all(line in log for line in reasons)
    _check_graph(run.bundle)


def test_what_a_backbone_gives_is_where_the_students_outputs_are() -> None:
    backbone = load_backbone('mobilenetv3_small_050', ['blocks.1', 'blocks.3'], 'random', seed=0)
    teacher = BackboneTeacher.of(backbone)
    for height, width in ((256, 256), (260, 322)):
        image = torch.rand(1, 3, height, width)
        with torch.inference_mode():
            found, student = teacher(image), make_teacher('small')(image)
        assert found.shape[1] == teacher.channels
        assert found.shape[2:] == student.shape[2:]


def test_a_piece_gives_the_outputs_of_the_image() -> None:
    torch.manual_seed(0)
    network, image = make_teacher('small'), torch.rand(1, 3, 256, 320)
    with torch.inference_mode():
        whole = network(image)
        at = [_random_outputs(edge) for edge in whole.shape[2:]]
        piece = network(_cut(image, *map(_pixels, at)))
    torch.testing.assert_close(piece, _cut(whole, *at))


def test_the_student_begins_near_the_teacher(teacher_file: Path, good_parts: Path) -> None:
    parameters = make_parameters(
        EfficientAdParameters, {'teacher': str(teacher_file), 'natural_images': 'none'}
    )
    torch.manual_seed(0)
    module = ADAPTER.build(parameters, ADAPTER.backbone(parameters, 'auto', seed=0))
    images = [preprocess(read_image(path), (SIZE, SIZE)) for path in list_images(good_parts)]
    module.learn_teacher_scale(images, silent)

    def error() -> float:
        whole = to_tensor(images[0])[None]
        at = (slice(20, 40), slice(20, 40))
        with torch.inference_mode():
            found = _cut(module.model.student(whole), *at)[:, :384]
            return float((found - module.teacher_output(whole, at)).square().mean())

    before = error()
    with quickly('efficientad'):
        module.solve_student(images, silent)
    assert error() < before / 2


def test_maps_are_scaled_by_their_quantiles_on_the_images_kept_apart(taught: Taught) -> None:
    bundle = taught.bundle
    weights = _weights(bundle)
    model = EfficientAdModel(model_size=EfficientAdModelSize.S)
    model.load_state_dict(weights)
    # Without labels the golden images are those kept apart.
    images = torch.from_numpy(bundle.golden().images).permute(0, 3, 1, 2) / 255
    with torch.inference_mode():
        raw = model.eval().get_maps(images, normalize=False)
        scaled = model.get_maps(images, normalize=True)
    for name, before, after in zip(('st', 'ae'), raw, scaled, strict=True):
        for quantile, key, value in ((0.9, 'qa', 0.0), (0.995, 'qb', 0.1)):
            stored = model.quantiles[f'{key}_{name}']
            assert stored.item() == pytest.approx(before.quantile(quantile).item(), rel=1e-3)
            assert after.quantile(quantile).item() == pytest.approx(value, abs=1e-3)


def test_further_training_lowers_what_is_hardest_to_imitate(
    taught: Taught, good_parts: Path, tmp_path: Path
) -> None:
    images = [preprocess(read_image(path), (SIZE, SIZE)) for path in list_images(good_parts)]
    parameters = make_parameters(EfficientAdParameters, {'image_size': SIZE, 'steps': 6})
    module = ADAPTER.resume(parameters, taught.bundle.manifest, _weights(taught.bundle))

    def hardest() -> float:
        with torch.inference_mode():
            maps = [
                module.model.eval().get_maps(to_tensor(i)[None], normalize=False) for i in images
            ]
        # The paper's share, see `_Module.training_step`: the mean of all is not what is trained.
        return float(torch.stack([one[0] for one in maps]).quantile(0.999))

    before = hardest()
    good = [LabelledImage(Path(), image) for image in images]
    torch.manual_seed(0)
    ADAPTER.fit_further(module, FitData(good, good), tmp_path, parameters, silent)
    assert hardest() < before


def test_after_ctrl_c_it_goes_on_and_the_best_step_is_kept(
    teacher_file: Path,
    good_parts: Path,
    photographs: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr('adet_training.long_training._SAVE_S', 0.0)
    monkeypatch.setattr('adet_training.long_training._LOOK_STEPS', 1)
    monkeypatch.setattr('adet_training.efficientad._SOLVED', 4)
    images = [preprocess(read_image(path), (SIZE, SIZE)) for path in list_images(good_parts)]
    learned = [LabelledImage(Path(), np.zeros_like(image)) for image in images[:-1]]
    held_out = LabelledImage(Path(), images[-1])
    # At such a rate, on images without anything on them, the second step is worse than the first.
    settings = {'teacher': str(teacher_file), 'natural_images': str(photographs)}
    settings |= {'steps': 3, 'learning_rate': 0.1}
    parameters = make_parameters(EfficientAdParameters, settings)
    seen: list[int] = []

    def fit(folder: Path, until: int = -1) -> Any:
        def progress(stage: str, done: int, _: int | None) -> None:
            if stage == 'training':
                seen.append(done)
                if done == until:
                    raise KeyboardInterrupt

        folder.mkdir(exist_ok=True)
        torch.manual_seed(3)
        module = ADAPTER.build(parameters, ADAPTER.backbone(parameters, 'auto', seed=0))
        ADAPTER.fit(module, FitData(learned, [held_out]), folder, parameters, progress)
        return module

    whole = fit(tmp_path / 'whole')
    with pytest.raises(KeyboardInterrupt):
        fit(tmp_path / 'cut', until=2)
    seen.clear()
    module = fit(tmp_path / 'cut')
    assert seen[0] == 1
    expected, found = ADAPTER.weights(whole), ADAPTER.weights(module)
    assert all(torch.equal(expected[name], found[name]) for name in expected)
    rows = csv.DictReader((tmp_path / 'whole' / 'logs' / 'metrics.csv').open())
    losses = [float(row['held_out_loss']) for row in rows if row['held_out_loss']]
    assert len(losses) == 3
    assert min(losses) < losses[-1]
    assert module.held_out_loss([images[-1]]) == pytest.approx(min(losses))


@pytest.mark.parametrize('model_size', ['small', 'medium'])
def test_the_networks_of_both_sizes_answer_as_anomalibs_do(
    taught: Taught, model_size: str
) -> None:
    torch.manual_seed(0)
    model = EfficientAdModel(model_size=EfficientAdModelSize(model_size)).eval()
    for name, value in {'qa_st': 0.2, 'qb_st': 0.5, 'qa_ae': 0.1, 'qb_ae': 0.15}.items():
        model.quantiles[name].data = torch.tensor(value)
    channels = model.teacher_out_channels
    model.mean_std['mean'].data = torch.randn(1, channels, 1, 1) * 0.01
    model.mean_std['std'].data = torch.rand(1, channels, 1, 1) * 0.01 + 0.01
    size = {**taught.bundle.manifest.hyper_parameters, 'model_size': model_size}
    manifest = replace(taught.bundle.manifest, hyper_parameters=size)
    graph = ADAPTER.graph(manifest, ADAPTER.weights(SimpleNamespace(model=model)))
    images = np.concatenate(
        [
            taught.bundle.golden().images[:1],
            np.random.default_rng(0).integers(0, 256, (1, SIZE, SIZE, 3), np.uint8),
        ]
    )

    with torch.inference_mode():
        scores, maps = graph.module.eval()(torch.from_numpy(images))
        expected = model(torch.from_numpy(images).permute(0, 3, 1, 2) / 255)

    torch.testing.assert_close(scores[:, 0], expected.pred_score.ravel(), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(maps, expected.anomaly_map, rtol=1e-4, atol=1e-4)


def test_the_networks_of_a_bundle_have_a_known_size(taught: Taught) -> None:
    manifest = taught.bundle.manifest
    for values in ({}, {'model_size': 'large'}, {'model_size': ['small']}):
        with pytest.raises(ConfigError, match=r'^model_size is .*, expected small or medium$'):
            ADAPTER.graph(replace(manifest, hyper_parameters=values), _weights(taught.bundle))


def test_images_of_one_colour_give_numbers_all_the_same(
    learn: Learn, good_parts: Path, teacher_file: Path
) -> None:
    for path in (good_parts / 'train' / 'plate').iterdir():
        cv2.imwrite(str(path), np.full((128, 128, 3), (90, 120, 60), np.uint8))
    bundle = _teach(learn, good_parts, teacher_file)
    assert np.isfinite(bundle.golden().prediction.scores).all()
    assert np.isfinite(bundle.golden().prediction.maps).all()
    assert all(tensor.isfinite().all() for tensor in _weights(bundle).values())


def test_images_that_are_all_the_same_are_no_trouble(
    learn: Learn, good_parts: Path, teacher_file: Path
) -> None:
    first, *others = sorted((good_parts / 'train' / 'plate').iterdir())
    for path in others:
        shutil.copy(first, path)
    _check_graph(_teach(learn, good_parts, teacher_file))


def _shifted(teacher: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {**teacher, 'conv1.weight': teacher['conv1.weight'][:, :1]}


WRONG_TEACHERS: dict[str, tuple[Callable[[Path], object], str]] = {
    'missing': (Path.unlink, '{path}: no such weights file; teacher takes a file'),
    'no weights': (
        lambda path: path.write_bytes(b'not weights'),
        '{path}: not a file of plain weights (damaged, or more than tensors: ',
    ),
    'empty': (lambda path: path.write_bytes(b''), '{path}: not a file of plain weights (damaged'),
    'a folder': (
        lambda path: (path.unlink(), path.mkdir()),
        '{path}: no such weights file; teacher takes a file',
    ),
    'a number': (lambda path: torch.save(3, path), '{path}: does not hold named tensors; save a '),
    'of another shape': (
        lambda path: torch.save(_shifted(torch.load(path, weights_only=True)), path),
        "{path}: tensor 'conv1.weight' is (16, 1, 4, 4), expected (16, 3, 4, 4); these weights",
    ),
    'of the other size': (
        lambda path: torch.save(make_teacher('medium').state_dict(), path),
        "{path}: tensor 'conv1.weight' is (256, 3, 4, 4), expected (16, 3, 4, 4); these weights",
    ),
    'of another network': (
        lambda path: torch.save({'fc.weight': torch.zeros(3, 3)}, path),
        "{path}: has no tensor 'conv1.weight'; these weights are of another network",
    ),
    'not numbers': (
        lambda path: torch.save(
            {k: v * torch.nan for k, v in torch.load(path, weights_only=True).items()}, path
        ),
        "{path}: tensor 'conv1.weight' holds values that are no numbers",
    ),
}


@pytest.mark.parametrize('case', WRONG_TEACHERS)
def test_a_file_that_is_no_teacher_is_refused_before_anything_is_written(
    learn: Learn, data_root: Path, teacher_file: Path, tmp_path: Path, case: str
) -> None:
    damage, message = WRONG_TEACHERS[case]
    path = tmp_path / 'given.pth'
    shutil.copy(teacher_file, path)
    damage(path)
    with pytest.raises(ConfigError, match=f'^{re.escape(message.format(path=path))}'):
        _teach(learn, data_root, path)
    assert not (tmp_path / 'models').exists()


@pytest.mark.parametrize(
    ('settings', 'message'),
    [
        ({'image_size': 255}, 'image_size is 255, expected 256 to 2048'),
        ({'batch_size': 2}, 'batch_size is 2, expected 1, as in the paper'),
        ({'model_size': 'large'}, "model_size is 'large', expected small or medium"),
        ({'steps': 1}, 'steps is 1, expected 2 or more'),
        ({'learning_rate': 0}, 'learning_rate is 0.0, expected more than 0'),
        ({'weight_decay': -1}, 'weight_decay is -1.0, expected 0 or more'),
        ({'distill_steps': -1}, 'distill_steps is -1, expected 0 or more'),
        ({'distill_pieces': 7}, 'distill_pieces is 7, expected 8 or more'),
        ({'teacher': 3}, 'teacher is 3, expected text'),
    ],
    ids=str,
)
def test_an_impossible_setting_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=f'^{re.escape(message)}$'):
        make_parameters(EfficientAdParameters, settings)


# ---- photographs


def test_photographs_keep_the_student_from_imitating_the_teacher_on_them(
    learn: Learn, taught: Taught, good_parts: Path, teacher_file: Path, photographs: Path
) -> None:
    without = taught.bundle
    with_them = _teach(learn, good_parts, teacher_file, {'natural_images': str(photographs)})
    assert with_them.manifest.hyper_parameters['natural_images'] == str(photographs)
    students = [_part(_weights(bundle), 'student') for bundle in (without, with_them)]
    teachers = [_part(_weights(bundle), 'teacher') for bundle in (without, with_them)]
    changed = [name for name in students[0] if not torch.equal(*(s[name] for s in students))]
    assert len(changed) > len(students[0]) / 2
    assert all(torch.equal(*(t[name] for t in teachers)) for name in teachers[0])
    _check_graph(with_them)


def test_a_folder_of_photographs_that_is_not_there_is_refused_before_anything_is_written(
    learn: Learn, data_root: Path, teacher_file: Path, tmp_path: Path
) -> None:
    folder = tmp_path / 'no'
    message = f'^{folder}: no such folder; natural_images takes a folder of photographs$'
    with pytest.raises(ConfigError, match=message):
        _teach(learn, data_root, teacher_file, {'natural_images': str(folder)})
    folder.mkdir()
    with pytest.raises(DatasetError, match=f'^{folder}: holds no images; put some there'):
        _teach(learn, data_root, teacher_file, {'natural_images': str(folder)})
    assert not (tmp_path / 'models').exists()


def test_photographs_of_which_none_can_be_read_are_an_error_and_no_endless_loop(
    learn: Learn, good_parts: Path, teacher_file: Path, tmp_path: Path
) -> None:
    folder = tmp_path / 'broken'
    folder.mkdir()
    for name in ('a.png', 'b.jpg'):
        (folder / name).write_bytes(b'not an image')
    with pytest.raises(ConfigError, match=f'^{folder}: holds no image that can be read$'):
        _teach(learn, good_parts, teacher_file, {'natural_images': str(folder)})
    assert not list((tmp_path / 'models').rglob('meta.json'))


def test_photographs_are_squares_of_their_middle_some_of_them_grey(photographs: Path) -> None:
    torch.manual_seed(0)
    images = NaturalImages(photographs, 64).endless()
    seen = [next(images) for _ in range(60)]
    for image in seen:
        assert image.shape == (3, 64, 64)
        assert image.dtype == torch.float32
        assert 0 <= image.min() <= image.max() <= 1
    grey = [bool(torch.equal(image[0], image[1])) for image in seen]
    # A quarter of the files, and 3 of 10 of the rest.
    assert 0.25 < np.mean(grey) < 0.7
    # Each round shows each of the four that can be read.
    colours = [{tuple(p[:, 0, 0].tolist()) for p in seen[i : i + 4]} for i in range(0, 60, 4)]
    assert all(len(found) == 4 for found in colours)


def test_the_seed_decides_the_order_of_the_photographs(photographs: Path) -> None:
    def some(seed: int) -> torch.Tensor:
        torch.manual_seed(seed)
        images = NaturalImages(photographs, 32).endless()
        return torch.stack([next(images) for _ in range(12)])

    assert torch.equal(some(1), some(1))
    assert not torch.equal(some(1), some(2))


# ---- distillation


def _scenes() -> Iterator[torch.Tensor]:
    """Coarse coloured noise for ever."""
    while True:
        coarse = torch.rand(1, 3, 12, 12)
        large = torch.nn.functional.interpolate(coarse, size=(160, 140), mode='bilinear')
        yield large[0]


@pytest.mark.parametrize('steps', [0, 2])
def test_a_distilled_teacher_has_learned_something(steps: int) -> None:
    backbone = load_backbone('mobilenetv3_small_050', ['blocks.1', 'blocks.3'], 'random', seed=0)
    torch.manual_seed(0)
    teacher = make_teacher('small')
    error = distill(teacher, backbone, _scenes(), solved=16, steps=steps, progress=silent)
    assert 0 < error < 0.8
    assert not teacher.training
    assert not any(parameter.requires_grad for parameter in teacher.parameters())
    with torch.inference_mode():
        output = teacher(next(_scenes())[None])
    assert output.shape == (1, 384, 160 // 4 - 8, 140 // 4 - 8)
    assert output.isfinite().all()
    assert output.std() > 0.2


def test_a_distilled_file_is_a_teacher(tmp_path: Path, photographs: Path) -> None:
    backbone = load_backbone('mobilenetv3_small_050', ['blocks.1'], 'random', seed=0)
    files = [tmp_path / 'a' / 'one.pth', tmp_path / 'a' / 'two.pth']
    for file in files:
        error = distill_file(
            file,
            model_size='small',
            backbone=backbone,
            images=NaturalImages(photographs, 256),
            solved=8,
            steps=0,
            seed=3,
            progress=silent,
        )
        assert np.isfinite(error)
    one, two = (torch.load(file, weights_only=True) for file in files)
    assert all(torch.equal(one[name], two[name]) for name in one)
    given = make_parameters(EfficientAdParameters, {'teacher': str(files[0])})
    assert ADAPTER.backbone(given, 'imagenet', seed=0).network.state_dict().keys() == one.keys()
