# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Take part in roll-outs: ``ros2 launch adet_fleet fleet.launch.py server:=URL key:=FILE``.

The agent starts and ends apart from the inspection.
"""

from __future__ import annotations

from dataclasses import asdict

from launch.actions import OpaqueFunction
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue

from adet.launching import declare_arguments
from adet.parameters import from_texts
from adet_fleet.options import FleetLaunchOptions
from launch import LaunchContext, LaunchDescription


def generate_launch_description() -> LaunchDescription:
    """Declare every option of the agent, then start it."""
    return LaunchDescription(
        [*declare_arguments(FleetLaunchOptions), OpaqueFunction(function=_start)]
    )


def _start(context: LaunchContext) -> list[Node]:
    values = asdict(from_texts(FleetLaunchOptions, context.launch_configurations))
    namespace = values.pop('namespace')
    return [
        Node(
            package='adet_fleet',
            executable='fleet_agent',
            namespace=namespace,
            # Texts stay texts: launch would read a folder called 1e5 as a number.
            parameters=[
                {name: ParameterValue(value, value_type=str) for name, value in values.items()}
            ],
            output='screen',
        )
    ]
