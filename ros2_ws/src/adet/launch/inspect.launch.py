# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Inspect images: ``ros2 launch adet inspect.launch.py model:=padim source:=DIR``.

The nodes and arguments are those of ``adet.graph``; ``adet inspect`` runs the same graph in one
process. With a folder, video or bag the launch ends by itself when the last image has its row.
With ``respawn:=true`` detectors and recorder are started again when they end. Included in the
launch file of a robot, the end of an inspection ends its own nodes only (``on_end``).
"""

from __future__ import annotations

from launch.actions import OpaqueFunction
from launch_ros.actions import Node

from adet.graph import (
    cameras,
    check_bundles,
    check_source,
    composition,
    inspection_graph,
    managed,
    prepare_output,
)
from adet.launch_options import InspectLaunchOptions
from adet.launching import (
    chosen,
    declare_arguments,
    end_launch,
    end_nodes,
    is_launched_itself,
    start_composed,
    start_console,
    start_node,
)
from adet.params_file import check_params_file
from launch import LaunchContext, LaunchDescription


def generate_launch_description() -> LaunchDescription:
    """Declare every option of the graph, then start its nodes."""
    return LaunchDescription(
        [*declare_arguments(InspectLaunchOptions), OpaqueFunction(function=_start)]
    )


def _start(context: LaunchContext) -> list[Node]:
    options = chosen(InspectLaunchOptions, context, __file__)
    params_file = check_params_file(options.params_file)
    inspections = cameras(options) if options.compose else [options]
    graphs = [inspection_graph(one) for one in inspections]
    for one in inspections:
        check_source(one)
    check_bundles(options)
    own = options.on_end == 'shutdown' or (
        options.on_end == 'auto' and is_launched_itself(__file__)
    )
    nodes = [start_console(options)] if options.console else []
    on_exit = end_launch if own else end_nodes(nodes)
    if options.compose:
        nodes.append(start_composed(composition(options), on_exit))
        return nodes
    prepare_output(options)
    # The source's end is the end of the run, and that of a camera that has gone is for whoever
    # started the launch. Any other node's end is a failure: half a graph would only wait.
    nodes.extend(
        start_node(
            spec,
            options.namespace,
            on_exit,
            respawn=options.respawn and spec.executable != 'image_source',
            params_file=params_file,
        )
        for spec in managed(graphs[0], autostart=options.autostart)
    )
    return nodes
