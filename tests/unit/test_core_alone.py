# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""A robot's install: adet_core and its libraries inspect a folder, with nothing else there."""

from __future__ import annotations

import json
from pathlib import Path
import shutil
import subprocess
import sys

import cv2
import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
# What pip may bring: the libraries of a robot, and what they need themselves.
LIBRARIES = {
    'adet-core', 'numpy', 'onnx', 'onnxruntime', 'opencv-python-headless', 'rich', 'threadpoolctl',
}  # fmt: skip
ABSENT = ('adet_evaluation', 'adet_synth', 'rclpy', 'torch', 'rosbags', 'mcap', 'plotly', 'jinja2')
OPEN_BAG = """
import sys
from adet_core import AdetError, open_source
try:
    open_source(sys.argv[1])
except AdetError as error:
    print(error)
"""


@pytest.fixture(scope='module')
def robot_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of a fresh environment with adet_core, installed as a user installs it."""
    folder = tmp_path_factory.mktemp('robot')
    # setuptools builds beside the sources.
    package = shutil.copytree(
        ROOT / 'ros2_ws' / 'src' / 'adet_core',
        folder / 'adet_core',
        ignore=shutil.ignore_patterns('*.egg-info', '__pycache__', 'build'),
    )
    subprocess.run([sys.executable, '-m', 'venv', folder / 'venv'], check=True)
    python = folder / 'venv' / 'bin' / 'python'
    pip = [python, '-m', 'pip', 'install', '--quiet', '--no-compile']
    done = subprocess.run(
        [*pip, '--constraint', ROOT / 'constraints.txt', package],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return python


def run(python: Path, *words: object) -> str:
    """What a program prints in that environment, away from this checkout."""
    done = subprocess.run(
        [python, '-I', *map(str, words)],
        capture_output=True,
        text=True,
        check=False,
        cwd=python.parent,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_robot_needs_few_libraries(robot_python: Path) -> None:
    listed = json.loads(run(robot_python, '-m', 'pip', 'list', '--format=json'))
    installed = {one['name'].lower().replace('_', '-') for one in listed}
    assert installed >= LIBRARIES
    code = 'import importlib.util as u, sys; print([n for n in sys.argv[1:] if u.find_spec(n)])'
    assert run(robot_python, '-c', code, *ABSENT) == '[]\n'


def test_it_inspects_a_folder(robot_python: Path, bundle_folder: Path, tmp_path: Path) -> None:
    images = tmp_path / 'images'
    images.mkdir()
    for name in ('a.png', 'b.png'):
        cv2.imwrite(str(images / name), np.full((40, 50, 3), 128, np.uint8))
    (images / 'broken.png').write_bytes(b'no image')
    told = run(robot_python, ROOT / 'examples' / 'inspect_folder.py', bundle_folder, images)
    lines = told.splitlines()
    assert len(lines) == 3
    for name, line in zip(('a.png', 'b.png'), lines[:2], strict=True):
        assert line.startswith(('ANOMALY ', 'normal '))
        assert str(images / name) in line
    assert lines[2].startswith(f'{images / "broken.png"}: ')


def test_a_bag_names_the_package_that_is_missing(robot_python: Path, tmp_path: Path) -> None:
    bag = tmp_path / 'run.mcap'
    bag.write_bytes(b'')
    told = run(robot_python, '-c', OPEN_BAG, bag)
    assert told.startswith(f'{bag}: is a rosbag')
    assert 'pip install' in told
    assert 'adet_evaluation' in told
