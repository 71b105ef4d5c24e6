# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Labelled images of a machined part, drawn for demonstrations and tests.

``surface`` holds what lies under each pixel, ``part``, ``defects`` and ``small_defects`` draw on
it, ``camera`` takes the image, ``images`` makes one and ``dataset`` a whole folder of them.
"""

from .dataset import DatasetFolders, write_dataset
from .defects import DEFECTS
from .images import AnomalousImage, draw_anomalous, draw_normal, Size
from .small_defects import SMALL_DEFECTS

__all__ = [
    'DEFECTS',
    'SMALL_DEFECTS',
    'AnomalousImage',
    'DatasetFolders',
    'Size',
    'draw_anomalous',
    'draw_normal',
    'write_dataset',
]
