# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""What the packages say of themselves is what they are, and rosdep can find what they need."""

from __future__ import annotations

import ast
import configparser
from pathlib import Path
import re
import shutil
import subprocess
import sys

from catkin_pkg.changelog import get_changelog_from_path
from catkin_pkg.package import Package, parse_package
import pytest

import adet_core

ROOT = Path(__file__).parents[2]
SOURCES = ROOT / 'ros2_ws' / 'src'
NAMES = (
    'adet',
    'adet_console',
    'adet_core',
    'adet_evaluation',
    'adet_fleet',
    'adet_forwarder',
    'adet_interfaces',
)
CHECK_ROSDEP = ROOT / 'tools' / 'check_rosdep.py'

# Which rosdep key holds a module that is not called like it.
KEYS = {
    'cv2': 'python3-opencv',
    'numpy': 'python3-numpy',
    'prometheus_client': 'prometheus-client',
    'yaml': 'python3-yaml',
}
PYTHON_KEYS = ('aiohttp', 'argcomplete', 'cryptography', 'jinja2', 'rich', 'tomli')


def package(name: str) -> Package:
    return parse_package(str(SOURCES / name))


def imports_of(name: str) -> set[str]:
    """The modules that a package imports, without Python's own and its own."""
    modules = set()
    paths = [*SOURCES.glob(f'{name}/{name}/**/*.py'), *SOURCES.glob(f'{name}/launch/*.py')]
    for path in paths:
        for node in ast.walk(ast.parse(path.read_text('utf-8'))):
            if isinstance(node, ast.Import):
                modules |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level:
                modules.add(node.module or '')
    return {one.partition('.')[0] for one in modules} - sys.stdlib_module_names - {name}


def by_pip() -> set[str]:
    """What the page says is installed by pip beside rosdep."""
    page = (ROOT / 'docs' / 'packaging.md').read_text('utf-8')
    (line,) = re.findall(r'^pip install (?!-)(.*)$', page, re.MULTILINE)
    return set(line.split())


@pytest.mark.parametrize('name', NAMES)
def test_a_package_can_be_released(name):
    one = package(name)
    one.validate()
    assert one.licenses == ['Apache-2.0']
    assert [(person.name, person.email) for person in one.maintainers] == [
        ('The adet authors', 'maintainers@adet.dev')
    ]


def test_the_changelogs_become_those_of_the_next_release(tmp_path):
    """As ``catkin_prepare_release`` has it: each gets the number and date of the release."""
    for name in NAMES:
        (tmp_path / name).mkdir()
        for file in ('package.xml', 'CHANGELOG.rst'):
            shutil.copy(SOURCES / name / file, tmp_path / name)
    subprocess.run(['catkin_tag_changelog', '--bump', 'minor'], cwd=tmp_path, check=True)
    for name in NAMES:
        changelog = get_changelog_from_path(str(tmp_path / name / 'CHANGELOG.rst'))
        version, date, content = next(changelog.foreach_version())
        major, minor, _ = map(int, package(name).version.split('.'))
        assert version == f'{major}.{minor + 1}.0'
        assert date
        assert content


def test_there_is_one_version():
    texts = [
        *(path.read_text('utf-8') for path in SOURCES.glob('*/setup.py')),
        *(path.read_text('utf-8') for path in (ROOT / 'training').glob('**/pyproject.toml')),
    ]
    written = [re.findall(r"^ *version ?= ?['\"](.*?)['\"]", text, re.I | re.M) for text in texts]
    assert written == [[adet_core.__version__]] * 8
    assert {package(name).version for name in NAMES} == {adet_core.__version__}


@pytest.mark.parametrize('name', [name for name in NAMES if name != 'adet_interfaces'])
def test_every_import_is_a_dependency(name):
    declared = {dependency.name for dependency in package(name).exec_depends}
    keys = {
        KEYS.get(module, f'python3-{module}' if module in PYTHON_KEYS else module)
        for module in imports_of(name)
    }
    assert keys - by_pip() <= declared
    # Nothing is declared that is used nowhere, but the command that reads the launch files.
    assert declared - keys <= {'ros2launch'}


@pytest.mark.parametrize('name', [name for name in NAMES if (SOURCES / name / 'launch').is_dir()])
def test_launch_finds_the_nodes_of_a_package(name):
    """``ros2 launch`` and ``ros2 run`` look for them in the package's own folder of lib/."""
    config = configparser.ConfigParser(interpolation=None)
    config.read(SOURCES / name / 'setup.cfg')
    assert config['develop']['script_dir'] == f'$base/lib/{name}'
    assert config['install']['install_scripts'] == f'$base/lib/{name}'


def test_rosdep_and_pip_together_give_what_inspection_needs():
    texts = [
        (ROOT / 'requirements' / name).read_text('utf-8')
        for name in ('runtime.in', 'evaluation.in', 'console.in', 'forwarder.in', 'fleet.in')
    ]
    lines = [line for text in texts for line in text.splitlines()]
    needed = {line.partition(' ;')[0] for line in lines if line and not line.startswith('#')}
    assert {'opencv-python-headless', 'numpy', 'pyyaml', *PYTHON_KEYS} | by_pip() == needed


# ---- tools/check_rosdep.py


@pytest.fixture
def rosdistro(tmp_path: Path) -> Path:
    """A checkout with one distribution, and rules for few keys."""
    checkout = tmp_path / 'rosdistro'
    (checkout / 'rosdep').mkdir(parents=True)
    (checkout / 'star').mkdir()
    (checkout / 'index-v4.yaml').write_text(
        '%YAML 1.1\n---\ndistributions:\n  star:\n    distribution: [star/distribution.yaml]\n'
        '    distribution_status: active\n    distribution_type: ros2\n    python_version: 3\n'
        'type: index\nversion: 4\n'
    )
    (checkout / 'star' / 'distribution.yaml').write_text(
        '%YAML 1.1\n---\nrelease_platforms:\n  ubuntu: [noble]\nrepositories:\n  rclpy:\n'
        '    release:\n      packages: [rclpy]\n      tags: {release: "x"}\n'
        '      url: https://example.org/rclpy.git\n      version: 1.0.0-1\n'
        '    status: maintained\ntype: distribution\nversion: 2\n'
    )
    (checkout / 'rosdep' / 'python.yaml').write_text(
        'python3-numpy:\n  ubuntu: [python3-numpy]\n'
        'python3-rosbags-pip:\n  ubuntu:\n    pip: {packages: [rosbags]}\n'
    )
    return checkout


@pytest.fixture
def workspace(tmp_path: Path):
    """Makes a workspace of two packages, of which one has some dependencies."""

    def make(*keys: str) -> Path:
        depends = {'first': ('second', *keys), 'second': ()}
        for name, needed in depends.items():
            folder = tmp_path / 'src' / name
            folder.mkdir(parents=True)
            lines = ''.join(f'<exec_depend>{key}</exec_depend>' for key in needed)
            (folder / 'package.xml').write_text(
                f'<package format="3"><name>{name}</name><version>1.0.0</version>'
                '<description>one</description><maintainer email="a@b.org">one</maintainer>'
                f'<license>Apache-2.0</license>{lines}</package>'
            )
        return tmp_path / 'src'

    return make


def check(rosdistro: Path, workspace: Path) -> subprocess.CompletedProcess[str]:
    words = [rosdistro, '--workspace', workspace, '--distribution', 'star']
    return subprocess.run(
        [sys.executable, CHECK_ROSDEP, *words], capture_output=True, text=True, check=False
    )


def test_keys_that_resolve_are_fine(rosdistro, workspace):
    done = check(rosdistro, workspace('rclpy', 'python3-numpy'))
    assert (done.returncode, done.stderr) == (0, '')
    assert done.stdout == 'star on noble: 2 keys, 0 not from apt\n'


def test_keys_without_a_rule_and_keys_of_pip_are_named(rosdistro, workspace):
    done = check(rosdistro, workspace('python3-magic', 'python3-numpy', 'python3-rosbags-pip'))
    assert done.returncode == 1
    assert done.stdout.splitlines() == [
        'star on noble: 3 keys, 2 not from apt',
        '  python3-magic: no rule',
        '  python3-rosbags-pip: only from pip',
    ]


def test_a_folder_that_is_no_rosdistro(workspace, tmp_path):
    done = check(tmp_path, workspace())
    assert done.returncode == 1
    file = tmp_path / 'star' / 'distribution.yaml'
    assert done.stderr == (
        f'error: {file}: no such file: name a checkout of github.com/ros/rosdistro\n'
    )


def test_a_package_that_cannot_be_read_is_no_success(rosdistro, workspace):
    source = workspace('rclpy')
    (source / 'first' / 'package.xml').write_text('<package')
    done = check(rosdistro, source)
    assert done.returncode == 1
    assert done.stderr.startswith('error: rosdep keys: ')
