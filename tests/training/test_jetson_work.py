# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""The two programs for who comes from the Jetson tutorial, as one calls them there."""

from __future__ import annotations

import json
from pathlib import Path
import shutil
import subprocess
import sys

import pytest

from adet_core.inference.detector import Detector

WORK = Path(__file__).parents[2] / 'docker' / 'jetson' / 'work'


@pytest.fixture
def folder(deployed, tmp_path):
    """Where they are called, with models and data as in the container."""
    shutil.copytree(deployed.models_root, tmp_path / 'models')
    shutil.copytree(deployed.data_root, tmp_path / 'data')
    return tmp_path


def call(folder, program, *words):
    return subprocess.run(
        [sys.executable, WORK / program, *words],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )


def test_retrain_learns_what_lies_in_the_category(folder, new_images):
    before = Detector.load(folder / 'models' / 'PaDiM').bundle.bundle_id
    for path in new_images.iterdir():
        shutil.copy(path, folder / 'data' / 'train' / 'plate' / f'new_{path.name}')
    words = ('--model', 'padim', '--category', 'plate', '--epochs', '3')
    done = call(folder, 'retrain.py', *words)
    assert done.returncode == 0, done.stderr
    assert 'note: --epochs is not used: ' in done.stderr
    assert Detector.load(folder / 'models' / 'PaDiM').bundle.bundle_id != before


def test_convtrt_exports(folder):
    engine = folder / 'models' / 'PaDiM' / 'engine'
    shutil.rmtree(engine)
    words = (
        '--model',
        'padim',
        '--meta_json',
        'models/PaDiM/meta.json',
        '--fp16',
        '--opset',
        '18',
    )
    done = call(folder, 'convtrt.py', *words, '--stats', 'models/PaDiM/stats.npz')
    assert done.returncode == 0, done.stderr
    assert 'note: --opset is not used: ' in done.stderr
    assert json.loads((engine / 'model.json').read_text())['precision'] == 'fp16'
    assert (engine / 'model.onnx').is_file()


@pytest.mark.parametrize(
    ('program', 'option'), [('retrain.py', '--load_bank'), ('convtrt.py', '--memory_bank')]
)
def test_parts_of_two_bundles_are_not_mixed(folder, program, option):
    words = ('--model', 'padim', option, 'other/memory_bank.npz')
    category = ('--category', 'plate') if program == 'retrain.py' else ()
    done = call(folder, program, *words, *category)
    assert done.returncode == 1
    assert done.stderr == (
        f'error: {option} other/memory_bank.npz: not in models/PaDiM; '
        'a bundle is one folder, with all its files\n'
    )
