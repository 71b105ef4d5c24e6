# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""The inspection graph, described once: ``adet inspect`` and the launch file both read it here."""

from __future__ import annotations

from dataclasses import dataclass
import logging
import math
from pathlib import Path
from typing import Any

from adet.names import check_namespace, check_topic
from adet.options import (
    DetectorChoices,
    InspectOptions,
    OutputChoices,
    RetrainOptions,
    RetrainServerOptions,
    SourceChoices,
)
from adet.parameters import options_of
from adet_core.bundle import open_bundle
from adet_core.errors import ConfigError
from adet_core.io.open_source import is_bag, is_live
from adet_core.models.names import deployed_folder
from adet_core.paths import user_path
from adet_core.records import RecordWriter, results_path, set_aside

PACKAGE = 'adet'
TOPIC = 'topic:'
_logger = logging.getLogger(__name__)


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
        ConfigError: A model is unknown, the threshold is not a number, or ROS 2 does not take a
            name.
    """
    models = model_names(options)
    check_namespace(options.namespace)
    if options.source == TOPIC:
        msg = f'source is {TOPIC!r}: name the topic, e.g. topic:/camera/image_raw'
        raise ConfigError(msg)
    is_topic = options.source.startswith(TOPIC)
    topic = check_topic(options.source[len(TOPIC) :]) if is_topic else ''
    every = ends(options.source)
    detector: dict[str, Any] = {
        **chosen_of(DetectorChoices, options),
        'frames': 'every' if every else 'latest',
    }
    time = {'use_sim_time': True} if options.clock else {}
    detector.update(time)
    if options.threshold:
        detector['threshold'] = _number(options.threshold)
    remappings = (('image_raw', topic),) if topic else ()
    source = {
        **chosen_of(SourceChoices, options),
        'source': options.source,
        'publish_rate': options.publish_rate,
        'wait_for': ','.join(models),
    }
    recorder = {
        **chosen_of(OutputChoices, options),
        'models': ','.join(models),
        'expect_info': not topic,
        'measure_latency': options.clock or not (every and _is_bag(options.source)),
        **time,
    }
    return [
        NodeSpec('csv_recorder', 'csv_recorder', recorder),
        *(
            NodeSpec(f'{model}_detector', 'detector', {**detector, 'model': model}, remappings)
            for model in models
        ),
        *([] if topic else [NodeSpec('image_source', 'image_source', source)]),
    ]


def chosen_of(kind: type[Any], options: Any) -> dict[str, Any]:
    """What was chosen of the options of a class, by name."""
    return {spec.name: getattr(options, spec.name) for spec in options_of(kind)}


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
    folder = user_path(options.output_dir, 'output_dir')
    renamed = []
    for model in model_names(options):
        path = results_path(folder, model)
        # Opening repairs a torn end, and finds out whether the folder can be written.
        writer = RecordWriter(path)
        writer.close()
        if writer.repaired:
            _logger.warning('%s: removed a torn end left by a crash', path)
        if writer.recent and ends(options.source):
            renamed.append(set_aside(path))
    return renamed


def retrain_graph(options: RetrainOptions) -> NodeSpec:
    """The server of retrainings for some options.

    Raises:
        ConfigError: ROS 2 does not take the namespace.
    """
    check_namespace(options.namespace)
    return NodeSpec('retrain_server', 'retrain_server', chosen_of(RetrainServerOptions, options))


def check_params_file(text: str) -> str:
    """The path of a file of parameters, or ''.

    Raises:
        ConfigError: There is no such file.
    """
    path = user_path(text, 'params_file')
    if text and not path.is_file():
        msg = f'params_file is {text!r}: no such file; copy config/inspect.yaml and change it'
        raise ConfigError(msg)
    return str(path) if text else ''


def check_bundles(options: InspectOptions) -> None:
    """Find out before any node starts whether the models are deployed.

    Raises:
        BundleError: A bundle is missing or damaged.
    """
    root = user_path(options.models_root, 'models_root')
    for model in model_names(options):
        open_bundle(deployed_folder(root, model), model=model, in_service=True)


def model_names(options: InspectOptions) -> list[str]:
    """The models a user named, separated by commas.

    Raises:
        ConfigError: One is unknown or named twice.
    """
    names = [name.strip() for name in options.model.split(',')]
    for name in names:
        deployed_folder(user_path(options.models_root, 'models_root'), name)
    if len(set(names)) != len(names):
        msg = f'model is {options.model!r}: each model may be named once'
        raise ConfigError(msg)
    return names


def ends(source: str) -> bool:
    """Whether a source's images can be made to wait, and come to an end."""
    return not is_live(source) and not source.startswith(TOPIC)


def _is_bag(source: str) -> bool:
    return is_bag(user_path(source, 'source'))


def _number(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        msg = f'threshold is {text!r}, expected a number'
        raise ConfigError(msg)
    return number
