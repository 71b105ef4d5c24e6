# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Offer retraining beside a running inspection: ``ros2 launch adet retrain.launch.py``.

Then: ``ros2 action send_goal /retrain adet_interfaces/action/Retrain "{model: padim}" --feedback``
"""

from __future__ import annotations

from launch.actions import DeclareLaunchArgument
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue

from adet.graph import PACKAGE
from adet.options import RetrainOptions
from adet.parameters import default_of, options_of
from launch import LaunchDescription


def generate_launch_description() -> LaunchDescription:
    """Declare every option, then start the server."""
    types = {'int': int, 'str': str}
    specs = options_of(RetrainOptions)
    arguments = [
        DeclareLaunchArgument(
            spec.name,
            default_value=str(default_of(spec)),
            description=spec.metadata['description'],
        )
        for spec in specs
    ]
    parameters = {
        spec.name: ParameterValue(LaunchConfiguration(spec.name), value_type=types[str(spec.type)])
        for spec in specs
        if spec.name != 'namespace'
    }
    server = Node(
        package=PACKAGE,
        executable='retrain_server',
        name='retrain_server',
        namespace=LaunchConfiguration('namespace'),
        parameters=[parameters],
        output='screen',
    )
    return LaunchDescription([*arguments, server])
