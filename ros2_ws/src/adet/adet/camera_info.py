# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Calibration files of cameras, as ``camera_calibration`` writes and drivers read them."""

from __future__ import annotations

import operator
from pathlib import Path
from typing import Any

from sensor_msgs.msg import CameraInfo

from adet_core.errors import ConfigError

# Names in the file and in the message, and the numbers in each.
_MATRICES = {
    'camera_matrix': ('k', 9),
    'rectification_matrix': ('r', 9),
    'projection_matrix': ('p', 12),
}
_OTHERS = ('image_width', 'image_height', 'distortion_model', 'distortion_coefficients')


def read_camera_info(path: Path) -> CameraInfo:
    """The message of a calibration file, without a header.

    Raises:
        ConfigError: It is missing or no such file; names it.
    """
    # ROS 2 itself needs it.
    import yaml

    try:
        return _message(yaml.safe_load(path.read_text(encoding='utf-8')))
    except (KeyError, TypeError):
        msg = f'camera_info {path}: expected the keys {", ".join((*_OTHERS, *_MATRICES))}'
        raise ConfigError(msg) from None
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise ConfigError(f'camera_info {path}: {" ".join(str(error).split())}') from None


def _message(content: dict[str, Any]) -> CameraInfo:
    width, height, model, distortion = (content[name] for name in _OTHERS)
    message = CameraInfo(
        width=operator.index(width),
        height=operator.index(height),
        distortion_model=str(model),
        d=[float(number) for number in distortion['data']],
    )
    for name, (field, count) in _MATRICES.items():
        numbers = [float(number) for number in content[name]['data']]
        if len(numbers) != count:
            msg = f'{name} has {len(numbers)} numbers, expected {count}'
            raise ValueError(msg)
        setattr(message, field, numbers)
    return message
