# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Take part in roll-outs: ``ros2 launch adet_fleet fleet.launch.py server:=URL key:=FILE``.

The agent starts and ends apart from the inspection.
"""

from __future__ import annotations

from adet.launching import describe_alone
from adet_fleet.options import FleetLaunchOptions
from launch import LaunchDescription


def generate_launch_description() -> LaunchDescription:
    """Declare every option of the agent, then start it."""
    return describe_alone(
        FleetLaunchOptions, package='adet_fleet', executable='fleet_agent', file=__file__
    )
