# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Files of parameters, checked before any node starts: ROS 2 passes over what it does not know."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from adet.names import check_known
from adet.options import (
    CsvRecorderOptions,
    DetectorOptions,
    ImageSourceOptions,
    RetrainServerOptions,
)
from adet.parameters import options_of
from adet_core.errors import ConfigError
from adet_core.paths import user_path

DETECTOR = '_detector'
"""What the names of detectors end in."""
_OPTIONS = {
    'image_source': ImageSourceOptions,
    'csv_recorder': CsvRecorderOptions,
    'retrain_server': RetrainServerOptions,
}
_KEY = 'ros__parameters'
# Of every node, whoever wrote it.
_OF_ROS = ('use_sim_time', 'start_type_description_service')
_PREFIX = 'qos_overrides'


def check_params_file(text: str) -> str:
    """The path of a file of parameters, or ''.

    Nodes that are not of adet, and parameters for any node (``/**``), may be there too.

    Raises:
        ConfigError: There is no such file, it is no YAML, or it names a parameter that the node
            does not have.
    """
    path = user_path(text, 'params_file')
    if text and not path.is_file():
        msg = f'params_file is {text!r}: no such file; copy config/inspect.yaml and change it'
        raise ConfigError(msg)
    if not text:
        return ''
    for name, given in _nodes_of(_read(path)):
        if known := parameters_of(name):
            check_known(
                [key for key in given if key.partition('.')[0] != _PREFIX],
                known,
                f'parameter of {name} in {path}',
            )
    return str(path)


def parameters_of(node: str) -> list[str]:
    """The parameters of a node of adet by its name; of others none."""
    if node.endswith(DETECTOR):
        return [*(spec.name for spec in options_of(DetectorOptions)), 'threshold', *_OF_ROS]
    kind = _OPTIONS.get(node)
    return [*(spec.name for spec in options_of(kind)), *_OF_ROS] if kind else []


def _read(path: Path) -> Any:
    # ROS 2 itself needs it.
    import yaml

    try:
        return yaml.safe_load(path.read_text(encoding='utf-8'))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f'params_file {path}: {" ".join(str(error).split())}') from None


def _nodes_of(content: Any, name: str = '') -> Iterator[tuple[str, list[str]]]:
    """Names of nodes, without their namespaces, and of the parameters of each."""
    if not isinstance(content, dict):
        return
    for key, inner in content.items():
        if key == _KEY:
            yield name, [str(one) for one in inner] if isinstance(inner, dict) else []
        else:
            yield from _nodes_of(inner, str(key).rpartition('/')[2])
