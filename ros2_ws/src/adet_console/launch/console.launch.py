# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Show a running inspection in a browser: ``ros2 launch adet_console console.launch.py``.

The console starts and ends apart from the inspection. It finds every detector of the ROS domain.
"""

from __future__ import annotations

from adet.launching import describe_alone
from adet_console.options import ConsoleLaunchOptions
from launch import LaunchDescription


def generate_launch_description() -> LaunchDescription:
    """Declare every option of the console, then start it."""
    return describe_alone(
        ConsoleLaunchOptions, package='adet_console', executable='console', file=__file__
    )
