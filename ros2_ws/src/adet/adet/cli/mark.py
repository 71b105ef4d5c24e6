# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""``adet mark``: what ``ros2 service call <model>/mark`` does, where ros2 is missing."""

from __future__ import annotations

import argparse
from typing import Any

from adet_core.errors import ConfigError

HELP = 'tell a running detector what a part really was; its image is kept for a retraining'
EXAMPLE = 'adet mark fine --model padim --note "only dust"'
_DETECTOR_S = 10.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare one option for each field of the request."""
    parser.add_argument('verdict', choices=('fine', 'bad'))
    parser.add_argument('--model', required=True, help='the model name')
    parser.add_argument(
        '--stamp', type=int, default=0, help='of the image, in nanoseconds (default: the newest)'
    )
    parser.add_argument('--note', default='', help='kept beside the image')
    parser.add_argument('--namespace', default='', help='of the detector')


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Call the service; returns where the image is."""
    from adet_interfaces.srv import MarkResult
    import rclpy

    from adet.cli.client import client_node
    from adet.conversions import to_stamp

    with client_node('mark', arguments.namespace) as node:
        name = f'{arguments.model}/mark'
        client = node.create_client(MarkResult, name)
        if not client.wait_for_service(_DETECTOR_S):
            msg = f'no detector offers {name}; start one: ros2 launch adet inspect.launch.py'
            raise ConfigError(msg)
        request = MarkResult.Request(
            stamp=to_stamp(arguments.stamp), verdict=arguments.verdict, note=arguments.note
        )
        called = client.call_async(request)
        rclpy.spin_until_future_complete(node, called)
        answer = called.result()
    if not answer.success:
        raise ConfigError(answer.message)
    return {'path': answer.path, 'message': answer.message}


def show(result: dict[str, Any]) -> None:
    """Print where it is."""
    print(result['message'])
