# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Replay a rosbag through the live graph: ``ros2 launch adet evaluate.launch.py bag:=BAG``.

The bag is played by ``ros2 bag play`` where that is installed, else by image_source; the nodes
live in the time of the recording. When the last row is written, ``adet evaluate`` makes the report
and the launch ends.
"""

from __future__ import annotations

from importlib.util import find_spec
import json
from pathlib import Path

from launch.action import Action
from launch.actions import ExecuteProcess, OpaqueFunction, TimerAction
from launch.events.process import ProcessExited

from adet.graph import model_names, prepare_output
from adet.launch_options import EvaluateOptions
from adet.launching import chosen, declare_arguments, end_launch, OnExit, start_node
from adet.replay import Replay, replay_graph
from adet_core.records import results_path
from launch import LaunchContext, LaunchDescription

# The detectors find each other and load their models before the first image is played.
_WARM_UP_S = 5.0
# No row in this time after the player's end means that none will come.
_QUIET_S = 5.0


def generate_launch_description() -> LaunchDescription:
    """Declare every option, then replay."""
    return LaunchDescription(
        [*declare_arguments(EvaluateOptions), OpaqueFunction(function=_start)]
    )


def _start(context: LaunchContext) -> list[Action]:
    options = chosen(EvaluateOptions, context, __file__)
    replay = replay_graph(options, has_ros2_bag=find_spec('ros2bag') is not None)
    prepare_output(replay.inspection)
    report = ExecuteProcess(cmd=replay.evaluate, output='screen', on_exit=end_launch)
    nodes = [
        start_node(
            spec,
            options.namespace,
            # The source's end is the end of the replay; any other node's end is a failure.
            _then(report) if spec.executable == 'image_source' else end_launch,
        )
        for spec in replay.nodes
    ]
    if not replay.play:
        return nodes
    profiles = Path(replay.inspection.output_dir).expanduser() / 'play_qos.yaml'
    # JSON is YAML.
    profiles.write_text(json.dumps(replay.qos, indent=2) + '\n', encoding='utf-8')
    player = ExecuteProcess(
        cmd=[*replay.play, '--qos-profile-overrides-path', str(profiles)],
        output='screen',
        on_exit=[_when_quiet(replay, report, -1)],
    )
    return [*nodes, TimerAction(period=_WARM_UP_S, actions=[player])]


def _then(report: Action) -> OnExit:
    def end(event: ProcessExited, context: LaunchContext) -> list[Action]:
        return end_launch(event, context) if event.returncode else [report]

    return end


def _when_quiet(replay: Replay, then: Action, before: int) -> Action:
    """Wait until no more rows are written, as a player waits for nobody."""
    folder = Path(replay.inspection.output_dir).expanduser()
    files = [results_path(folder, model) for model in model_names(replay.inspection)]

    def look(_: LaunchContext) -> list[Action]:
        size = sum(path.stat().st_size for path in files if path.exists())
        return [then] if size == before else [_when_quiet(replay, then, size)]

    return TimerAction(period=_QUIET_S, actions=[OpaqueFunction(function=look)])
