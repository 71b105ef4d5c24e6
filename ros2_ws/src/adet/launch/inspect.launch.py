# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Inspect pictures: ``ros2 launch adet inspect.launch.py model:=padim source:=DIR``.

The nodes and arguments are those of ``adet.graph``; ``adet inspect`` runs the same graph in one
process. With a folder or video the launch ends by itself when the last picture has its row.
"""

from __future__ import annotations

from dataclasses import Field
from typing import Any

from launch.actions import DeclareLaunchArgument, OpaqueFunction, Shutdown
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue

from adet.graph import inspection_graph, InspectOptions, NodeSpec, PACKAGE, prepare_output
from adet.parameters import default_of, from_texts, options_of
from launch import LaunchContext, LaunchDescription


def generate_launch_description() -> LaunchDescription:
    """Declare every option of the graph, then start its nodes."""
    return LaunchDescription(
        [*map(_argument, options_of(InspectOptions)), OpaqueFunction(function=_start)]
    )


def _argument(spec: Field[Any]) -> DeclareLaunchArgument:
    default = default_of(spec)
    text = str(default).lower() if isinstance(default, bool) else str(default)
    return DeclareLaunchArgument(
        spec.name,
        default_value=None if default is None else text,
        description=spec.metadata['description'],
    )


def _start(context: LaunchContext) -> list[Node]:
    options = from_texts(InspectOptions, context.launch_configurations)
    prepare_output(options)
    return [_node(spec, options.namespace) for spec in inspection_graph(options)]


def _node(spec: NodeSpec, namespace: str) -> Node:
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
        # The source's end is the end of the run; any other node's end is a failure, and half a
        # graph would only wait.
        on_exit=Shutdown(reason=f'{spec.name} has ended'),
    )
