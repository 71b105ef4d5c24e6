# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""The inspection graph, described once: ``adet inspect`` and the launch file both read it here."""

from __future__ import annotations

from dataclasses import dataclass
import logging
import math
from pathlib import Path
from typing import Any

from adet.parameters import option
from adet_core.errors import ConfigError
from adet_core.models import deployed_folder
from adet_core.records import RecordWriter, results_path, set_aside
from adet_core.sources import is_live

PACKAGE = 'adet'
_logger = logging.getLogger(__name__)
_TOPIC = 'topic:'


@dataclass(frozen=True, kw_only=True)
class InspectOptions:
    """What can be chosen for an inspection; launch arguments and command-line options alike."""

    model: str = option('model to inspect with; several are separated by commas', default='padim')
    source: str = option(
        'picture folder, picture or video file, camera:N, or topic:/NAME of images that another '
        'node publishes'
    )
    models_root: str = option('folder of the deployed models', default='models')
    output_dir: str = option('folder of the result files', default='.')
    backend: str = option('what runs the graph: auto or onnxruntime', default='auto')
    threads: int = option('threads of one inference; 0: one per core', default=0, minimum=0)
    threshold: str = option("raw score of the verdict; empty: the bundle's own", default='')
    publish_rate: float = option(
        'pictures per second at most; 0: as fast as they come and are inspected',
        default=0.0,
        minimum=0.0,
    )
    frame_id: str = option('frame of the camera, copied to every result', default='camera')
    loop: bool = option('start again after the last picture', default=False)
    namespace: str = option('namespace of all nodes and topics', default='')


@dataclass(frozen=True, kw_only=True)
class RetrainServerOptions:
    """Parameters of ``retrain_server``."""

    models_root: str = option('folder of the deployed models', default='models')
    data_root: str = option('folder of train and test', default='data')
    allowed_root: str = option(
        'goals may name folders inside this one only; empty: data_root', default=''
    )
    threads: int = option('threads of the retraining; 0: one per core', default=0, minimum=0)
    niceness: int = option(
        'how far the retraining stands back behind the inspection, as the command nice has it',
        default=10,
        minimum=0,
        maximum=19,
    )


@dataclass(frozen=True, kw_only=True)
class RetrainOptions(RetrainServerOptions):
    """Launch arguments of the retraining."""

    namespace: str = option('namespace of the inspection', default='')


@dataclass(frozen=True)
class NodeSpec:
    """One node of a graph.

    Attributes:
        name: The node's name.
        executable: Its executable in package ``adet``.
        parameters: Parameters that differ from their defaults.
        remappings: Topic names to use instead, as pairs of old and new.
    """

    name: str
    executable: str
    parameters: dict[str, Any]
    remappings: tuple[tuple[str, str], ...] = ()


def inspection_graph(options: InspectOptions) -> list[NodeSpec]:
    """Source, detectors and recorder for some options.

    Raises:
        ConfigError: A model is unknown, or the threshold is not a number.
    """
    models = model_names(options)
    if options.source == _TOPIC:
        msg = f'source is {_TOPIC!r}: name the topic, e.g. topic:/camera/image_raw'
        raise ConfigError(msg)
    topic = options.source[len(_TOPIC) :] if options.source.startswith(_TOPIC) else ''
    every = _ends(options.source)
    detector: dict[str, Any] = {
        'models_root': options.models_root,
        'backend': options.backend,
        'threads': options.threads,
        'frames': 'every' if every else 'latest',
    }
    if options.threshold:
        detector['threshold'] = _number(options.threshold)
    remappings = (('image_raw', topic),) if topic else ()
    source = {
        'source': options.source,
        'publish_rate': options.publish_rate,
        'frame_id': options.frame_id,
        'loop': options.loop,
        'wait_for': ','.join(models),
    }
    recorder = {
        'models': ','.join(models),
        'output_dir': options.output_dir,
        'expect_info': not topic,
    }
    return [
        NodeSpec('csv_recorder', 'csv_recorder', recorder),
        *(
            NodeSpec(f'{model}_detector', 'detector', {**detector, 'model': model}, remappings)
            for model in models
        ),
        *([] if topic else [NodeSpec('image_source', 'image_source', source)]),
    ]


def prepare_output(options: InspectOptions) -> list[Path]:
    """Get the result files ready, once per run, before any node starts.

    A run over a folder or video begins with an empty file: the results of an earlier run are
    renamed. A camera's go on where they ended.

    Returns:
        What earlier results are called now.

    Raises:
        OSError: The output folder cannot be written.
        RecordError: A file there is not one of adet's.
    """
    folder = Path(options.output_dir).expanduser()
    renamed = []
    for model in model_names(options):
        path = results_path(folder, model)
        # Opening repairs a torn end, and finds out whether the folder can be written.
        writer = RecordWriter(path)
        writer.close()
        if writer.repaired:
            _logger.warning('%s: removed a torn end left by a crash', path)
        if writer.recent and _ends(options.source):
            renamed.append(set_aside(path))
    return renamed


def model_names(options: InspectOptions) -> list[str]:
    """The models a user named, separated by commas.

    Raises:
        ConfigError: One is unknown or named twice.
    """
    names = [name.strip() for name in options.model.split(',')]
    for name in names:
        deployed_folder(Path(options.models_root).expanduser(), name)
    if len(set(names)) != len(names):
        msg = f'model is {options.model!r}: each model may be named once'
        raise ConfigError(msg)
    return names


def _ends(source: str) -> bool:
    """Whether a source's pictures can be made to wait, and come to an end."""
    return not is_live(source) and not source.startswith(_TOPIC)


def _number(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        msg = f'threshold is {text!r}, expected a number'
        raise ConfigError(msg)
    return number
