# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""What the packages load when they run: import-linter sees the text, this sees the process."""

from __future__ import annotations

from importlib.util import find_spec
import json
import subprocess
import sys

import pytest

HEAVY = {'torch', 'anomalib', 'lightning', 'timm', 'torchvision', 'adet_training'}
ROS = {'rclpy', 'adet_interfaces', 'adet'}
SCRIPT = """
import importlib, json, pkgutil, sys
package = importlib.import_module(sys.argv[1])
names = [found.name for found in pkgutil.walk_packages(package.__path__, package.__name__ + '.')]
for name in names:
    try:
        importlib.import_module(name)
    except ModuleNotFoundError as error:
        # What launch files share; launch is not on every machine.
        if error.name.partition('.')[0] not in ('launch', 'launch_ros'):
            raise
print(json.dumps([names, sorted(sys.modules)]))
"""


def _loaded(package: str) -> tuple[set[str], set[str]]:
    """All modules of a package, and everything that importing them loads."""
    command = [sys.executable, '-c', SCRIPT, package]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    names, loaded = json.loads(run.stdout.splitlines()[-1])
    return set(names), set(loaded)


def test_the_runtime_library_loads_neither_ros_nor_torch() -> None:
    names, loaded = _loaded('adet_core')
    assert {
        'adet_core.inference.detector',
        'adet_core.inference.onnxruntime',
        'adet_core.cli.deploy',
    } <= names
    assert not loaded & (HEAVY | ROS)


def test_the_nodes_load_no_torch() -> None:
    if find_spec('rclpy') is None:
        pytest.skip('needs ROS 2')
    names, loaded = _loaded('adet')
    assert 'adet.nodes.csv_recorder' in names
    assert 'rclpy' in loaded
    assert not loaded & HEAVY


@pytest.mark.training
def test_training_loads_no_ros() -> None:
    if find_spec('anomalib') is None:
        pytest.skip('needs anomalib')
    names, loaded = _loaded('adet_training')
    assert 'adet_training.train' in names
    assert 'torch' in loaded
    assert not loaded & ROS
