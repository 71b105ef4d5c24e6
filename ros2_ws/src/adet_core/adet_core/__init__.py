# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""The runtime of adet: bundles, images, inference, records and retraining.

It needs neither ROS nor torch: numpy, OpenCV and an inference library are enough. The names in
`__all__` are the public API. Each one is imported when it is first used, so ``import adet_core``
loads no library.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any, TYPE_CHECKING

if TYPE_CHECKING:
    from adet_core.bundle import Bundle, open_bundle, rollback
    from adet_core.errors import AdetError
    from adet_core.image import Image, read_image
    from adet_core.inference.detector import Detector, Inspection
    from adet_core.io.open_source import open_source
    from adet_core.prediction import Prediction
    from adet_core.records import Record
    from adet_core.retraining import retrain

__version__ = '0.1.0'

__all__ = [
    'AdetError',
    'Bundle',
    'Detector',
    'Image',
    'Inspection',
    'Prediction',
    'Record',
    '__version__',
    'open_bundle',
    'open_source',
    'read_image',
    'retrain',
    'rollback',
]

_HOMES = {
    'AdetError': 'adet_core.errors',
    'Bundle': 'adet_core.bundle',
    'Detector': 'adet_core.inference.detector',
    'Image': 'adet_core.image',
    'Inspection': 'adet_core.inference.detector',
    'Prediction': 'adet_core.prediction',
    'Record': 'adet_core.records',
    'open_bundle': 'adet_core.bundle',
    'open_source': 'adet_core.io.open_source',
    'read_image': 'adet_core.image',
    'retrain': 'adet_core.retraining',
    'rollback': 'adet_core.bundle',
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used (PEP 562).

    Raises:
        AttributeError: There is no such name.
    """
    if name not in _HOMES:
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
