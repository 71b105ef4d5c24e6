# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""``adet health``: whether an inspection is alive, for whoever restarts what is not."""

from __future__ import annotations

import argparse
import time
from typing import Any

from adet_core.errors import AdetError

HELP = 'exit with 1 where a node of an inspection is silent on /diagnostics, or reports an error'
EXAMPLE = 'adet health --model padim --namespace line1'
_WITHIN_S = 10.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        '--model', default='padim', help='as for the inspection (default: %(default)s)'
    )
    parser.add_argument('--namespace', default='', help='namespace of the inspection')
    parser.add_argument(
        '--within',
        type=float,
        default=_WITHIN_S,
        metavar='SECONDS',
        help='how long to listen for all of them at most; each speaks once a second '
        '(default: %(default)s)',
    )


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Listen until every node has spoken; returns what they said.

    Raises:
        AdetError: One did not, or reports an error.
    """
    from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
    import rclpy

    from adet.cli.client import client_node
    from adet.diagnostics import node_of

    models = [name.strip() for name in arguments.model.split(',')]
    place = '/'.join(part for part in ('', *arguments.namespace.split('/')) if part)
    prefix = f'/{place}/' if place else '/'
    # image_source is not asked: another node may send the images, and its end ends the launch.
    expected = [f'{prefix}{name}' for name in ('csv_recorder', *(f'{m}_detector' for m in models))]
    heard: dict[str, Any] = {}

    def hear(message: Any) -> None:
        told = {node_of(one.name): one for one in message.status}
        heard.update({name: one for name, one in told.items() if name in expected})

    with client_node('health', arguments.namespace) as node:
        node.create_subscription(DiagnosticArray, '/diagnostics', hear, 10)
        deadline = time.monotonic() + arguments.within
        while len(heard) < len(expected) and (left := deadline - time.monotonic()) > 0:
            rclpy.spin_once(node, timeout_sec=left)
    silent = [name for name in expected if name not in heard]
    if silent:
        msg = f'nothing on /diagnostics from {", ".join(silent)} within {arguments.within:g} s'
        raise AdetError(msg)
    # A status says ERROR, or STALE, which is worse, where its node cannot do its work.
    for name, status in heard.items():
        if status.level >= DiagnosticStatus.ERROR:
            msg = f'{name} reports an error: {status.message}'
            raise AdetError(msg)
    return {'nodes': {name: heard[name].message for name in expected}}


def show(result: dict[str, Any]) -> None:
    """Print what each said."""
    for name, message in result['nodes'].items():
        print(f'{name}: {message}')
