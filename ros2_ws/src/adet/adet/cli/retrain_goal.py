# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""``adet retrain-goal``: what ``ros2 action send_goal /retrain`` does, where ros2 is missing."""

from __future__ import annotations

import argparse
from typing import Any

from adet_core.errors import ConfigError, RejectedError
from adet_core.progress import progress_bars, ProgressCallback

HELP = 'ask a running retrain_server to learn new images'
EXAMPLE = 'adet retrain-goal --model padim'
_SERVER_S = 10.0
_LOOK_S = 1.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare one option for each field of the goal."""
    parser.add_argument('--model', required=True, help='the model name')
    parser.add_argument('--images', default='', metavar='DIR', help='normal images')
    parser.add_argument(
        '--mode',
        default='',
        help='incremental (default), full, new, or rollback to what was before',
    )
    parser.add_argument(
        '--category',
        default='',
        metavar='C',
        help='what to learn (default: what is in service); --mode new needs it',
    )
    parser.add_argument('--test-dir', default='', metavar='DIR', help='labelled images')
    parser.add_argument('--set', action='append', default=[], metavar='KEY=VALUE')
    parser.add_argument('--namespace', default='', help='namespace of the server')


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Send the goal and wait; returns the result."""
    from adet.cli.client import client_node

    with client_node('retrain_goal', arguments.namespace) as node, progress_bars() as progress:
        return _send(node, arguments, progress)


def show(result: dict[str, Any]) -> None:
    """Print what happened."""
    print(result['message'])
    print(f'in service: {result["bundle_id"]}')


def _send(node: Any, arguments: argparse.Namespace, progress: ProgressCallback) -> dict[str, Any]:
    from adet_interfaces.action import Retrain
    import rclpy
    from rclpy.action import ActionClient

    client = ActionClient(node, Retrain, 'retrain')
    if not client.wait_for_server(_SERVER_S):
        msg = 'no retrain_server answers; start one: ros2 launch adet retrain.launch.py'
        raise ConfigError(msg)

    def tell(message: Any) -> None:
        feedback = message.feedback
        progress(feedback.stage, round(feedback.progress * 100), 100)

    goal = Retrain.Goal(
        model=arguments.model,
        images=arguments.images,
        mode=arguments.mode,
        test_dir=arguments.test_dir,
        overrides=arguments.set,
        category=arguments.category,
    )
    sent = client.send_goal_async(goal, feedback_callback=tell)
    rclpy.spin_until_future_complete(node, sent, timeout_sec=_SERVER_S)
    if not sent.done():
        # DDS may lose the answer where a server was found that has not found the client yet.
        msg = 'the retrain_server did not say whether it took the goal; its log does'
        raise ConfigError(msg)
    handle = sent.result()
    ended = handle.get_result_async()
    try:
        while not ended.done():
            rclpy.spin_until_future_complete(node, ended, timeout_sec=_LOOK_S)
            if not ended.done() and not client.server_is_ready():
                msg = 'the retrain_server is gone; start it again, one whole set is in service'
                raise ConfigError(msg)
    except KeyboardInterrupt:
        rclpy.spin_until_future_complete(node, handle.cancel_goal_async(), timeout_sec=5)
        raise
    result = ended.result().result
    if not result.success:
        raise RejectedError(result.message)
    return {
        'success': True,
        'message': result.message,
        'bundle_id': result.bundle_id,
        'images_used': result.images_used,
        'threshold': result.threshold,
    }
