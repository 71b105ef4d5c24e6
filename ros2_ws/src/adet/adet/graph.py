# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""The inspection graph, described once: ``adet inspect`` and the launch file both read it here."""

from __future__ import annotations

from dataclasses import dataclass, replace
import logging
import math
from pathlib import Path
from typing import Any

from adet.image_transport import SUFFIX
from adet.names import check_namespace, check_topic
from adet.options import (
    BagChoices,
    DetectorChoices,
    EvaluateOptions,
    InspectOptions,
    ModelChoices,
    OutputChoices,
    RetrainOptions,
    RetrainServerOptions,
    RunChoices,
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
_logger = logging.getLogger(__name__)
_TOPIC = 'topic:'
# As image_source offers its images: nothing is lost on the way to a detector that joins late.
_PLAYED = {
    'history': 'keep_last',
    'depth': 100,
    'reliability': 'reliable',
    'durability': 'transient_local',
}


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
    if options.source == _TOPIC:
        msg = f'source is {_TOPIC!r}: name the topic, e.g. topic:/camera/image_raw'
        raise ConfigError(msg)
    is_topic = options.source.startswith(_TOPIC)
    topic = check_topic(options.source[len(_TOPIC) :]) if is_topic else ''
    every = ends(options.source)
    detector: dict[str, Any] = {
        **_chosen(DetectorChoices, options),
        'frames': 'every' if every else 'latest',
    }
    time = {'use_sim_time': True} if options.clock else {}
    detector.update(time)
    if options.threshold:
        detector['threshold'] = _number(options.threshold)
    remappings = (('image_raw', topic),) if topic else ()
    source = {
        **_chosen(SourceChoices, options),
        'source': options.source,
        'publish_rate': options.publish_rate,
        'wait_for': ','.join(models),
    }
    recorder = {
        **_chosen(OutputChoices, options),
        'models': ','.join(models),
        'expect_info': not topic,
        'measure_latency': options.clock or not is_bag(user_path(options.source, 'source')),
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


def _chosen(kind: type[Any], options: Any) -> dict[str, Any]:
    """What was chosen of the options of a class, by name."""
    return {spec.name: getattr(options, spec.name) for spec in options_of(kind)}


@dataclass(frozen=True)
class Replay:
    """A bag's way through the live graph.

    Attributes:
        inspection: The graph that judges it.
        nodes: Its nodes; without a source where ``play`` is the player.
        play: The command that plays the bag; empty if a node does.
        qos: For that command: the quality of service of each topic it plays.
        evaluate: The command that turns the rows into a report.
    """

    inspection: InspectOptions
    nodes: list[NodeSpec]
    play: list[str]
    qos: dict[str, Any]
    evaluate: list[str]


def replay_graph(options: EvaluateOptions, *, has_ros2_bag: bool) -> Replay:
    """How to replay a bag through the live graph, and what to do then.

    Args:
        options: What was asked for.
        has_ros2_bag: Whether ``ros2 bag play`` is installed.

    Raises:
        BagError: The bag cannot be read, or has no such images.
        ConfigError: The player cannot do what is asked for, or a model is unknown.
    """
    # Nobody else needs its libraries.
    from adet_evaluation.bags import BagSource

    source = BagSource(user_path(options.bag, 'bag'), options.bag_topic)
    is_unnamed = source.is_compressed and not source.topic.endswith(SUFFIX)
    obstacle = _no_ros2_player(options, has_ros2_bag, is_unnamed)
    if options.player == 'ros2' and obstacle:
        msg = f'player is ros2, but {obstacle}; use player:=adet'
        raise ConfigError(msg)
    by_ros2 = options.player != 'adet' and not obstacle
    inspection = InspectOptions(
        source=f'{_TOPIC}{source.topic}' if by_ros2 else options.bag,
        replay_rate=options.rate,
        clock=True,
        **{
            name: value
            for kind in (BagChoices, ModelChoices, RunChoices)
            for name, value in _chosen(kind, options).items()
        },
    )
    folder = user_path(options.output_dir, 'output_dir')
    results = [str(results_path(folder, model)) for model in model_names(inspection)]
    report = options.report_dir or str(folder / 'report')
    topics = [source.topic, *([source.info_topic] if source.info_topic else [])]
    play = ['ros2', 'bag', 'play', options.bag, '--clock', '--rate', str(options.rate)]
    # Results that were recorded too must not mix with those of today.
    play += ['--disable-keyboard-controls', '--topics', *topics]
    return Replay(
        inspection,
        [
            _replayed(spec, source.info_topic) if by_ros2 else spec
            for spec in inspection_graph(inspection)
        ],
        play if by_ros2 else [],
        {topic: dict(_PLAYED) for topic in topics},
        [
            'adet',
            'evaluate',
            *(f'--results={path}' for path in results),
            f'--replayed={options.bag}',
            f'--topic={options.bag_topic}',
            f'--report={report}',
            f'--max-megapixels={options.max_megapixels}',
        ],
    )


def _no_ros2_player(options: EvaluateOptions, has_ros2_bag: bool, is_unnamed: bool) -> str:
    """Why ``ros2 bag play`` cannot be the player, or ''."""
    if not has_ros2_bag:
        return '`ros2 bag play` is not installed'
    if is_unnamed:
        # Nobody is asked for the type before the first image comes.
        return f'the images are compressed, and their topic does not end in {SUFFIX}'
    if not options.rate:
        return 'rate is 0, and it waits for nobody'
    return ''


def _replayed(spec: NodeSpec, info_topic: str) -> NodeSpec:
    """A node that hears a bag: no image may be replaced by a newer one while it waits."""
    if spec.executable == 'detector':
        return replace(spec, parameters={**spec.parameters, 'frames': 'every'})
    parameters = {**spec.parameters, 'expect_info': bool(info_topic)}
    remappings = (('image_info', info_topic),) if info_topic else ()
    return replace(spec, parameters=parameters, remappings=remappings)


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
    return NodeSpec('retrain_server', 'retrain_server', _chosen(RetrainServerOptions, options))


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
