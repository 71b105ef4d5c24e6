# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Everything learned lives in a bundle folder, and only this package opens its files."""

from adet_core.bundle.arrays import Arrays, write_arrays
from adet_core.bundle.commit import Content, write_atomic
from adet_core.bundle.engine import EngineRecord, Parity, read_engine, write_engine
from adet_core.bundle.manifest import (
    BackboneSpec,
    DatasetInfo,
    GOLDEN_FILE,
    ImageSpec,
    Manifest,
    META_FILE,
    ScoreRange,
    Threshold,
    WEIGHTS_FILE,
)
from adet_core.bundle.reader import Bundle, Golden, open_bundle
from adet_core.bundle.writer import copy_bundle, write_bundle

__all__ = [
    'GOLDEN_FILE',
    'META_FILE',
    'WEIGHTS_FILE',
    'Arrays',
    'BackboneSpec',
    'Bundle',
    'Content',
    'DatasetInfo',
    'EngineRecord',
    'Golden',
    'ImageSpec',
    'Manifest',
    'Parity',
    'ScoreRange',
    'Threshold',
    'copy_bundle',
    'open_bundle',
    'read_engine',
    'write_arrays',
    'write_atomic',
    'write_bundle',
    'write_engine',
]
