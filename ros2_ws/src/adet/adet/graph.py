# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""The inspection graph, described once: ``adet inspect`` and the launch file both read it here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
import logging
import math
from pathlib import Path
from typing import Any

from adet.launch_options import InspectLaunchOptions, InspectOptions, RetrainOptions
from adet.names import check_namespace, check_topic
from adet.options import (
    category_names,
    DetectorChoices,
    OutputChoices,
    RetrainServerOptions,
    SourceChoices,
)
from adet.parameters import default_of, options_of, to_text
from adet_core.bundle import open_bundle
from adet_core.deployed import category_folder, only_folder
from adet_core.errors import ConfigError
from adet_core.io.open_source import is_bag, is_live, open_source
from adet_core.models.names import deployed_folder, model_folder
from adet_core.paths import user_path
from adet_core.records import RecordWriter, results_path, set_aside

PACKAGE = 'adet'
TOPIC = 'topic:'
_AUTO = 'auto'
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
    automatic = 'every' if ends(options.source) else 'latest'
    frames = automatic if options.frames == _AUTO else options.frames
    detector: dict[str, Any] = {**chosen_of(DetectorChoices, options), 'frames': frames}
    time = {'use_sim_time': True} if options.clock else {}
    detector.update(time)
    if options.threshold and category_names(options):
        msg = (
            'threshold is the raw score of one bundle, categories names several: leave it out, '
            'and set those of the bundles with adet threshold'
        )
        raise ConfigError(msg)
    if options.threshold:
        detector['threshold'] = _number(options.threshold)
    remappings = (('image_raw', topic),) if topic else ()
    source = {
        **chosen_of(SourceChoices, options),
        'source': options.source,
        'publish_rate': options.publish_rate,
        'wait_for': _awaited(options, models if frames == 'every' else []),
    }
    recorded = options.clock or (ends(options.source) and _is_bag(options.source))
    recorder = {
        **chosen_of(OutputChoices, options),
        'models': ','.join(models),
        'expect_info': _truth(options.expect_info, not topic),
        'measure_latency': _truth(options.measure_latency, not recorded),
        **time,
    }
    return [
        NodeSpec('csv_recorder', 'csv_recorder', recorder),
        *(
            NodeSpec(
                f'{model}_detector',
                'detector',
                {**detector, 'model': model, 'bundle': bundle},
                remappings,
            )
            for model, bundle in zip(models, _bundles(options, models), strict=True)
        ),
        *([] if topic else [NodeSpec('image_source', 'image_source', source)]),
    ]


def cameras(options: InspectOptions) -> list[InspectOptions]:
    """The inspections that are asked for: one, or of several cameras one for each namespace.

    Raises:
        ConfigError: Namespaces and sources do not belong together.
    """
    names = [name.strip() for name in options.namespace.split(',')]
    if len(names) == 1:
        return [options]
    sources = [source.strip() for source in options.source.split(',')]
    if len(set(names)) != len(names) or len(sources) != len(names):
        msg = (
            f'namespace is {options.namespace!r} and source {options.source!r}: give each camera '
            'a namespace of its own and one source, separated by commas'
        )
        raise ConfigError(msg)
    for source in sources:
        if ends(source):
            msg = f'source {source!r} is no camera or topic; inspect it in one namespace'
            raise ConfigError(msg)
    return [
        replace(
            options,
            namespace=name,
            source=source,
            output_dir=str(Path(options.output_dir, name.strip('/'))),
        )
        for name, source in zip(names, sources, strict=True)
    ]


def composition(options: InspectLaunchOptions) -> dict[str, str]:
    """What the executable ``inspection`` is given to run all nodes of a launch in one process.

    Raises:
        ConfigError: Processes of their own are asked for as well.
    """
    for name, value in (('respawn', False), ('autostart', True)):
        if getattr(options, name) != value:
            msg = f'{name}:={str(not value).lower()} needs a process for each node; leave it out, '
            raise ConfigError(msg + 'or compose:=true')
    chosen = [(spec, getattr(options, spec.name)) for spec in options_of(InspectOptions)]
    return {spec.name: to_text(value) for spec, value in chosen if value != default_of(spec)}


def managed(specs: Sequence[NodeSpec], *, autostart: bool) -> list[NodeSpec]:
    """The nodes of a graph, which begin by themselves or wait for a lifecycle manager."""
    return [
        replace(spec, parameters={**spec.parameters, 'autostart': autostart}) for spec in specs
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


def check_source(options: InspectOptions) -> None:
    """Find out before any file is made whether the source is there; cameras are not asked.

    Raises:
        ConfigError: It is no path, or needs a package that is not installed.
        DatasetError: It does not exist, is empty, or is no source.
    """
    if ends(options.source):
        open_source(options.source, topic=options.bag_topic)


def check_bundles(options: InspectOptions) -> None:
    """Find out before any node starts whether the models are deployed.

    Raises:
        BundleError: A bundle is missing or damaged.
    """
    for model, folder in bundle_folders(options):
        open_bundle(folder, model=model, in_service=True)


def bundle_folders(options: InspectOptions) -> list[tuple[str, Path]]:
    """Where the bundles of each model are: one, or one for each category.

    Raises:
        ConfigError: As `model_names`, there are more or fewer bundles than models, or a category
            is not deployed.
    """
    root, models = user_path(options.models_root, 'models_root'), model_names(options)
    if categories := category_names(options):
        return [
            (model, category_folder(root, model, category))
            for model in models
            for category in categories
        ]
    return [
        (model, user_path(bundle, 'bundle') if bundle else only_folder(root, model))
        for model, bundle in zip(models, _bundles(options, models), strict=True)
    ]


def model_names(options: InspectOptions) -> list[str]:
    """The models a user named, separated by commas.

    Raises:
        ConfigError: One is unknown or named twice.
    """
    names = [name.strip() for name in options.model.split(',')]
    for name in names:
        if options.bundle:
            model_folder(name)
        else:
            deployed_folder(user_path(options.models_root, 'models_root'), name)
    if len(set(names)) != len(names):
        msg = f'model is {options.model!r}: each model may be named once'
        raise ConfigError(msg)
    return names


def ends(source: str) -> bool:
    """Whether a source's images can be made to wait, and come to an end."""
    return not is_live(source) and not source.startswith(TOPIC)


def _bundles(options: InspectOptions, models: list[str]) -> list[str]:
    """The bundle of each model; '' for that under models_root.

    Raises:
        ConfigError: There are more or fewer than models.
    """
    if not options.bundle:
        return [''] * len(models)
    # One may have a comma in its name.
    found = options.bundle.split(',') if len(models) > 1 else [options.bundle]
    if len(found) != len(models):
        msg = f'bundle has {len(found)} folders, but model has {len(models)} models; give one each'
        raise ConfigError(msg)
    return [folder.strip() for folder in found]


def _awaited(options: InspectOptions, models: list[str]) -> str:
    return ','.join(models) if options.wait_for == _AUTO else options.wait_for


def _truth(text: str, automatic: bool) -> bool:
    return automatic if text == _AUTO else text == 'true'


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
