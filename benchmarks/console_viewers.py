# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""What viewers of the console cost the line: the detector's frames per second with 0, 1 and 5.

    python benchmarks/console_viewers.py --models-root models --source data/test/VisA_pipe_fryum

Source, detector and console are processes of their own, the viewers another one: WebSocket
clients that take every image, but the last of five takes one message in two seconds. In turns.
Also tells the CPU time that source, detector and console take for an image, which a machine that
is busy with other work leaves alone. Writes console_viewers.json.
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Iterator
from contextlib import contextmanager, ExitStack, suppress
import json
from multiprocessing import get_context
import os
from pathlib import Path
import socket
from statistics import quantiles
import subprocess
import sys
import tempfile
import threading
import time
from typing import Any

from adet_interfaces.msg import AnomalyResult
import aiohttp
from live import cpu_s, running, spinning, until

from adet import qos
from adet.cli.client import client_node

_VIEWERS = (0, 1, 5)
_SETTLE_S = 2.0
_THROTTLED_S = 2.0
_WIDTH = 960


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--models-root', type=Path, required=True)
    parser.add_argument('--model', default='padim')
    parser.add_argument('--source', required=True, help='images, as of adet inspect')
    parser.add_argument('--rate', type=float, default=100.0, help='of the source, in hertz')
    parser.add_argument('--seconds', type=float, default=6.0, help='of each turn')
    parser.add_argument('--turns', type=int, default=6)
    parser.add_argument('--out', type=Path, default=Path('console_viewers.json'))
    arguments = parser.parse_args()
    os.environ.setdefault('ROS_DOMAIN_ID', str(101 + os.getpid() % 100))
    os.environ.setdefault('ROS_AUTOMATIC_DISCOVERY_RANGE', 'LOCALHOST')
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        node = stack.enter_context(client_node('benchmark', ''))
        stack.enter_context(spinning(node))
        port = _free_port()
        detector = {'models_root': arguments.models_root, 'data_root': folder}
        source = {
            'source': arguments.source,
            'loop': 'true',
            'publish_rate': arguments.rate,
        }
        console = {'port': port, 'output_dir': folder, 'data_root': folder}
        nodes = [
            stack.enter_context(running(f'{arguments.model}_detector', detector)).pid,
            stack.enter_context(running('image_source', source)).pid,
            stack.enter_context(_console(console)).pid,
        ]
        counter = _Counter(node, arguments.model)
        until(counter.seen, 'the first verdict')
        turns = [
            _turn(counter, f'/{arguments.model}', port, arguments.seconds, nodes)
            for _ in range(arguments.turns)
        ]
    arguments.out.write_text(json.dumps({'cores': os.cpu_count(), 'turns': turns}, indent=2))
    print(
        '| viewers | frames per second / without, median (quartiles) | images per viewer and s '
        '| CPU time of an image, ms (without) |'
    )
    print('|---|---|---|---|')
    for count in _VIEWERS[1:]:
        shares = [turn[str(count)]['hz'] / turn['0']['hz'] for turn in turns]
        shown = [turn[str(count)]['shown_hz'] for turn in turns]
        taken, without = ([turn[key]['cpu_ms'] for turn in turns] for key in (str(count), '0'))
        print(
            f'| {count} | {_quartiles(shares)} | {_quartiles(shown)} '
            f'| {_quartiles(taken)} ({_quartiles(without)}) |'
        )


class _Counter:
    """Counts verdicts."""

    def __init__(self, node: Any, model: str) -> None:
        self._count = 0
        self._lock = threading.Lock()
        node.create_subscription(AnomalyResult, f'{model}/result', self._add, qos.every_frame())

    def _add(self, _: AnomalyResult) -> None:
        with self._lock:
            self._count += 1

    def seen(self) -> int:
        """How many there were."""
        with self._lock:
            return self._count


def _turn(
    counter: _Counter, key: str, port: int, seconds: float, nodes: list[int]
) -> dict[str, Any]:
    found = {}
    for count in _VIEWERS:
        shown = get_context('spawn').Value('i', 0)
        viewers = get_context('spawn').Process(target=_view, args=(key, port, count, shown))
        viewers.start()
        time.sleep(_SETTLE_S)
        before, seen, start = shown.value, counter.seen(), time.perf_counter()
        busy = cpu_s(*nodes)
        time.sleep(seconds)
        took, images = time.perf_counter() - start, counter.seen() - seen
        found[str(count)] = {
            'hz': images / took,
            'cpu_ms': 1e3 * (cpu_s(*nodes) - busy) / max(images, 1),
            'shown_hz': (shown.value - before) / took / max(count, 1),
        }
        viewers.terminate()
        viewers.join()
    print(json.dumps(found), flush=True)
    return found


def _view(key: str, port: int, count: int, shown: Any) -> None:
    asyncio.run(_view_all(key, port, count, shown))


async def _view_all(key: str, port: int, count: int, shown: Any) -> None:
    async with aiohttp.ClientSession() as session:
        throttled = [0.0] * count
        if count > 1:
            throttled[-1] = _THROTTLED_S
        await asyncio.gather(
            asyncio.sleep(3600), *(_watch(session, key, port, pause, shown) for pause in throttled)
        )


async def _watch(
    session: aiohttp.ClientSession, key: str, port: int, pause: float, shown: Any
) -> None:
    url = f'http://127.0.0.1:{port}'
    async with session.ws_connect(f'{url}/api/live', headers={'Origin': url}) as live:
        await live.send_json({'detector': key, 'width': _WIDTH})
        async for message in live:
            if message.type == aiohttp.WSMsgType.BINARY:
                with shown.get_lock():
                    shown.value += 1
            await asyncio.sleep(pause)


@contextmanager
def _console(parameters: dict[str, Any]) -> Iterator[subprocess.Popen[bytes]]:
    """The console as a process that answers."""
    words = [sys.executable, '-m', 'adet_console.node', '--ros-args']
    for key, value in parameters.items():
        words += ['-p', f'{key}:={value}']
    process = subprocess.Popen(words, stderr=subprocess.DEVNULL)  # noqa: S603 - our own

    def answers() -> bool:
        with suppress(OSError), socket.create_connection(('127.0.0.1', parameters['port']), 1):
            return True
        return False

    try:
        until(answers, 'the console')
        yield process
    finally:
        process.terminate()
        process.wait()


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(('127.0.0.1', 0))
        return int(found.getsockname()[1])


def _quartiles(values: list[float]) -> str:
    low, middle, high = quantiles(values, n=4)
    return f'{middle:.3g} ({low:.3g} to {high:.3g})'


if __name__ == '__main__':
    main()
