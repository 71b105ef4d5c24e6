# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""What the packages load when they run: import-linter sees the text, this sees the process."""

from __future__ import annotations

import ast
from importlib.util import find_spec
import json
from pathlib import Path
import re
import subprocess
import sys

import pytest

import adet_core
from adet_core.models.names import FOLDERS

ROOT = Path(__file__).parents[2]
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


def test_every_package_has_a_contract_that_names_its_modules() -> None:
    """import-linter sees a new module; this sees a package for which nobody wrote a contract."""
    settings = (ROOT / 'pyproject.toml').read_text('utf-8')
    layered = set(re.findall(r'^exhaustive = true\ncontainers = \["([\w.]+)"\]', settings, re.M))
    roots = [*ROOT.glob('ros2_ws/src/*'), ROOT / 'training', ROOT / 'training' / 'adet_synth']
    packages = {
        '.'.join(folder.relative_to(root).parts)
        for root in roots
        for folder in _packages_in(root)
        # Commands do not import each other; a package of one file has no layers.
        if folder.name != 'cli' and len([*folder.glob('*.py'), *folder.glob('*/__init__.py')]) > 1
    }
    assert packages == layered


def _packages_in(root: Path) -> list[Path]:
    """The packages that lie in a folder, and those inside them."""
    outer = [path.parent for path in root.glob('adet*/__init__.py')]
    return [path.parent for folder in outer for path in folder.rglob('__init__.py')]


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


def test_only_the_table_of_names_names_a_model() -> None:
    """All that is known of single models is in `adet_core.models`, behind one interface."""
    package = Path(adet_core.__file__).parent
    table = package / 'models' / 'names.py'
    words = {word.lower() for pair in FOLDERS.items() for word in pair}
    naming = []
    for path in sorted(package.rglob('*.py')):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                found = node.value.lower() in words
            else:
                name = getattr(node, 'id', getattr(node, 'attr', getattr(node, 'name', '')))
                found = any(word in str(name).lower() for word in words)
            if found:
                naming.append(path.relative_to(package).as_posix())
    assert set(naming) == {table.relative_to(package).as_posix()}
