# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""``adet mark``: what ``ros2 service call <model>/mark`` does, where ros2 is missing."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
import sys
import time
from typing import Any, NamedTuple

from adet.live_view import time_of_day
from adet_core.errors import ConfigError

HELP = 'tell a running detector what a part really was; its image is kept for a retraining'
EXAMPLE = 'adet mark fine --model padim --note "only dust"'
# How long a detector that is there takes to be found, and how long one may take to come.
_AT_ONCE_S, _DETECTOR_S = 1.0, 10.0
# How long is waited for what was said last, and how much of it is shown.
_VERDICTS_S, _SHOWN = 1.0, 9


class Verdict(NamedTuple):
    """What a detector said of an image."""

    stamp_ns: int
    is_anomalous: bool
    score: float


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare one option for each field of the request."""
    parser.add_argument('verdict', choices=('fine', 'bad'))
    parser.add_argument('--model', required=True, help='the model name')
    parser.add_argument(
        '--stamp',
        type=int,
        help='stamp of the image, in nanoseconds; 0 is the newest (default: on a terminal one of '
        'the last verdicts can be chosen, else 0)',
    )
    parser.add_argument('--note', default='', help='kept beside the image')
    parser.add_argument('--namespace', default='', help='namespace of the detector')


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Call the service; returns where the image is."""
    from adet_interfaces.srv import MarkResult
    import rclpy

    from adet.cli.client import client_node
    from adet.conversions import to_stamp

    with client_node('mark', arguments.namespace) as node:
        name = f'{arguments.model}/mark'
        client = node.create_client(MarkResult, name)
        if not client.wait_for_service(_AT_ONCE_S):
            print(f'waiting up to {_DETECTOR_S:g} s for {name} ...', file=sys.stderr)
        if not client.wait_for_service(_DETECTOR_S):
            start = f'adet serve --model {arguments.model} --source camera:0'
            msg = f'no detector offers {name} within {_DETECTOR_S:g} s; start one, e.g. {start}'
            raise ConfigError(msg)
        stamp = arguments.stamp
        if stamp is None:
            stamp = _ask(_last_verdicts(node, arguments.model)) if sys.stdin.isatty() else 0
        request = MarkResult.Request(
            stamp=to_stamp(stamp), verdict=arguments.verdict, note=arguments.note
        )
        called = client.call_async(request)
        rclpy.spin_until_future_complete(node, called)
        answer = called.result()
    if not answer.success:
        raise ConfigError(answer.message)
    return {'path': answer.path, 'message': answer.message}


def _last_verdicts(node: Any, model: str) -> list[Verdict]:
    """What a detector said last, the newest first; it repeats that to whoever joins late."""
    from adet_interfaces.msg import AnomalyResult
    import rclpy

    from adet.conversions import to_nanoseconds
    from adet.qos import every_frame

    found: dict[int, Verdict] = {}

    def keep(result: Any) -> None:
        stamp = to_nanoseconds(result.header.stamp)
        found[stamp] = Verdict(stamp, bool(result.is_anomalous), float(result.score))

    node.create_subscription(AnomalyResult, f'{model}/result', keep, every_frame())
    end = time.monotonic() + _VERDICTS_S
    while time.monotonic() < end:
        rclpy.spin_once(node, timeout_sec=0.1)
    return sorted(found.values(), reverse=True)[:_SHOWN]


def _ask(verdicts: Sequence[Verdict]) -> int:
    """Let somebody at the terminal choose one; returns its stamp.

    Raises:
        ConfigError: What was typed is none of them.
    """
    if not verdicts:
        return 0
    for number, one in enumerate(verdicts, start=1):
        verdict = 'anomalous' if one.is_anomalous else 'normal'
        print(
            f'{number:3}  {time_of_day(one.stamp_ns)}  {verdict:9}  score {one.score:.4g}',
            file=sys.stderr,
        )
    print('which one? [1, the newest] ', end='', file=sys.stderr, flush=True)
    typed = input().strip() or '1'
    if not typed.isdecimal() or not 1 <= int(typed) <= len(verdicts):
        raise ConfigError(f'{typed!r} is none of 1 to {len(verdicts)}')
    return verdicts[int(typed) - 1].stamp_ns


def show(result: dict[str, Any]) -> None:
    """Print where it is."""
    print(result['message'])
