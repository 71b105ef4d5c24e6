# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Labelled pictures of a machined part, drawn for demonstrations and tests.

``surface`` holds what lies under each pixel, ``part`` and ``defects`` draw on it, ``camera`` takes
the picture, ``pictures`` makes one and ``dataset`` a whole folder of them.
"""

from .dataset import DatasetFolders, write_dataset
from .defects import DEFECTS
from .pictures import BadPicture, draw_bad, draw_good

__all__ = ['DEFECTS', 'BadPicture', 'DatasetFolders', 'draw_bad', 'draw_good', 'write_dataset']
