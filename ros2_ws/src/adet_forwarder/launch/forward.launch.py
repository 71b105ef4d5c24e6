# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Forward results: ``ros2 launch adet_forwarder forward.launch.py config:=FILE``.

The forwarder starts and ends apart from the inspection.
"""

from __future__ import annotations

from adet.launching import describe_alone
from adet_forwarder.options import ForwarderLaunchOptions
from launch import LaunchDescription


def generate_launch_description() -> LaunchDescription:
    """Declare every option of the forwarder, then start it."""
    return describe_alone(
        ForwarderLaunchOptions,
        package='adet_forwarder',
        executable='result_forwarder',
        file=__file__,
    )
