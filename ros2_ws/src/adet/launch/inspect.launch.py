# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Inspect images: ``ros2 launch adet inspect.launch.py model:=padim source:=DIR``.

The nodes and arguments are those of ``adet.graph``; ``adet inspect`` runs the same graph in one
process. With a folder, video or bag the launch ends by itself when the last image has its row.
With ``respawn:=true`` detectors and recorder are started again when they end.
"""

from __future__ import annotations

from launch.actions import OpaqueFunction, Shutdown
from launch_ros.actions import Node

from adet.graph import inspection_graph, prepare_output
from adet.launching import declare_arguments, start_node
from adet.options import InspectLaunchOptions
from adet.parameters import from_texts
from launch import LaunchContext, LaunchDescription


def generate_launch_description() -> LaunchDescription:
    """Declare every option of the graph, then start its nodes."""
    return LaunchDescription(
        [*declare_arguments(InspectLaunchOptions), OpaqueFunction(function=_start)]
    )


def _start(context: LaunchContext) -> list[Node]:
    options = from_texts(InspectLaunchOptions, context.launch_configurations)
    prepare_output(options)
    # The source's end is the end of the run, and that of a camera that has gone is for whoever
    # started the launch. Any other node's end is a failure: half a graph would only wait.
    return [
        start_node(
            spec,
            options.namespace,
            [Shutdown(reason=f'{spec.name} has ended')],
            respawn=options.respawn and spec.executable != 'image_source',
        )
        for spec in inspection_graph(options)
    ]
