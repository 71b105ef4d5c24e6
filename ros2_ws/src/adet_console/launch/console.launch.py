# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Show a running inspection in a browser: ``ros2 launch adet_console console.launch.py``.

The console starts and ends apart from the inspection. It finds every detector of the ROS domain.
"""

from __future__ import annotations

from dataclasses import asdict

from launch.actions import OpaqueFunction
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue

from adet.launching import declare_arguments
from adet.parameters import from_texts
from adet_console.options import ConsoleLaunchOptions
from launch import LaunchContext, LaunchDescription


def generate_launch_description() -> LaunchDescription:
    """Declare every option of the console, then start it."""
    return LaunchDescription(
        [*declare_arguments(ConsoleLaunchOptions), OpaqueFunction(function=_start)]
    )


def _start(context: LaunchContext) -> list[Node]:
    values = asdict(from_texts(ConsoleLaunchOptions, context.launch_configurations))
    namespace = values.pop('namespace')
    return [
        Node(
            package='adet_console',
            executable='console',
            namespace=namespace,
            # Texts stay texts: launch would read a folder called 1e5 as a number.
            parameters=[
                {
                    name: ParameterValue(value, value_type=str)
                    if isinstance(value, str)
                    else value
                    for name, value in values.items()
                }
            ],
            output='screen',
        )
    ]
