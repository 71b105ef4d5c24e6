# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""What the launch files share: arguments from options, and nodes from a graph."""

from __future__ import annotations

from dataclasses import Field
from typing import Any

from launch.action import Action
from launch.actions import DeclareLaunchArgument
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue

from adet.graph import NodeSpec, PACKAGE
from adet.parameters import default_text, options_of

# A node that cannot start at all, as of a broken bundle, leaves time for the others.
_RESPAWN_DELAY_S = 2.0


def declare_arguments(kind: type[Any]) -> list[DeclareLaunchArgument]:
    """A launch argument for every option of a dataclass."""
    return [_argument(spec) for spec in options_of(kind)]


def start_node(
    spec: NodeSpec, namespace: str, on_exit: list[Action], *, respawn: bool = False
) -> Node:
    """A node of a graph.

    Args:
        spec: The node.
        namespace: Where it lives.
        on_exit: What its end leads to; nothing where it is started again.
        respawn: Start it again whenever it ends, until the launch is shut down.
    """
    return Node(
        package=PACKAGE,
        executable=spec.executable,
        name=spec.name,
        namespace=namespace,
        # Texts stay texts: launch would read a folder called 1e5 as a number.
        parameters=[
            {
                key: ParameterValue(value, value_type=str) if isinstance(value, str) else value
                for key, value in spec.parameters.items()
            }
        ],
        remappings=list(spec.remappings),
        output='screen',
        respawn=respawn,
        respawn_delay=_RESPAWN_DELAY_S,
        # launch does these at every end, also before a process is started again.
        on_exit=None if respawn else on_exit,
    )


def _argument(spec: Field[Any]) -> DeclareLaunchArgument:
    return DeclareLaunchArgument(
        spec.name,
        default_value=default_text(spec),
        description=spec.metadata['description'],
    )
