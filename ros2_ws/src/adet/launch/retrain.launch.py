# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Offer retraining beside a running inspection: ``ros2 launch adet retrain.launch.py``.

Then: ``ros2 action send_goal /retrain adet_interfaces/action/Retrain "{model: padim}" --feedback``
"""

from __future__ import annotations

from launch.actions import OpaqueFunction
from launch_ros.actions import Node

from adet.graph import retrain_graph
from adet.launch_options import RetrainOptions
from adet.launching import (
    chosen,
    declare_arguments,
    end_launch,
    end_nodes,
    is_launched_itself,
    start_node,
)
from launch import LaunchContext, LaunchDescription


def generate_launch_description() -> LaunchDescription:
    """Declare every option, then start the server."""
    return LaunchDescription([*declare_arguments(RetrainOptions), OpaqueFunction(function=_start)])


def _start(context: LaunchContext) -> list[Node]:
    options = chosen(RetrainOptions, context, __file__)
    on_exit = end_launch if is_launched_itself(__file__) else end_nodes([])
    return [start_node(retrain_graph(options), options.namespace, on_exit)]
