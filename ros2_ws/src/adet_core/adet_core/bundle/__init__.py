# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Everything learned lives in a bundle folder, and only this package opens its files."""

from adet_core.bundle.arrays import Arrays, write_arrays
from adet_core.bundle.engine import (
    BuildOptions,
    EngineRecord,
    ExportedGraph,
    GRAPH_FILE,
    Parity,
    PLAN_FILE,
    PlanRecord,
    read_engine,
    read_features,
    read_plan,
    read_precision,
    read_record,
    TransformRecord,
    write_engine,
    write_plan,
)
from adet_core.bundle.manifest import (
    BackboneSpec,
    DatasetInfo,
    GOLDEN_FILE,
    ImageSpec,
    KNOWN_IMAGES_FILE,
    Manifest,
    META_FILE,
    NORMALS_FILE,
    ScoreRange,
    Threshold,
    WEIGHTS_FILE,
)
from adet_core.bundle.reader import Bundle, Golden, open_bundle
from adet_core.bundle.retrain_report import Figures, KnownImages, RETRAIN_FOLDER, RetrainReport
from adet_core.bundle.retrained import (
    keep_rejected,
    kept_sets,
    only_retraining,
    rollback,
    write_retrained,
)
from adet_core.bundle.writer import copy_bundle, write_bundle
from adet_core.folder import Content, sync_folder, write_atomic

__all__ = [
    'GOLDEN_FILE',
    'GRAPH_FILE',
    'KNOWN_IMAGES_FILE',
    'META_FILE',
    'NORMALS_FILE',
    'PLAN_FILE',
    'RETRAIN_FOLDER',
    'WEIGHTS_FILE',
    'Arrays',
    'BackboneSpec',
    'BuildOptions',
    'Bundle',
    'Content',
    'DatasetInfo',
    'EngineRecord',
    'ExportedGraph',
    'Figures',
    'Golden',
    'ImageSpec',
    'KnownImages',
    'Manifest',
    'Parity',
    'PlanRecord',
    'RetrainReport',
    'ScoreRange',
    'Threshold',
    'TransformRecord',
    'copy_bundle',
    'keep_rejected',
    'kept_sets',
    'only_retraining',
    'open_bundle',
    'read_engine',
    'read_features',
    'read_plan',
    'read_precision',
    'read_record',
    'rollback',
    'sync_folder',
    'write_arrays',
    'write_atomic',
    'write_bundle',
    'write_engine',
    'write_plan',
    'write_retrained',
]
