# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""A bag's way through the live graph, described for ``evaluate.launch.py``."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from adet.graph import chosen_of, inspection_graph, model_names, NodeSpec, TOPIC
from adet.image_transport import SUFFIX
from adet.launch_options import EvaluateOptions, InspectOptions
from adet.options import BagChoices, ModelChoices, RunChoices
from adet_core.errors import ConfigError
from adet_core.paths import user_path
from adet_core.records import results_path

# As image_source offers its images: nothing is lost on the way to a detector that joins late.
_PLAYED = {
    'history': 'keep_last',
    'depth': 100,
    'reliability': 'reliable',
    'durability': 'transient_local',
}


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
        source=f'{TOPIC}{source.topic}' if by_ros2 else options.bag,
        replay_rate=options.rate,
        clock=True,
        **{
            name: value
            for kind in (BagChoices, ModelChoices, RunChoices)
            for name, value in chosen_of(kind, options).items()
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
