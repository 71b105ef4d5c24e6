# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""What ROS costs: detectors beside a loop that does nothing but inspect, in turns.

    python benchmarks/ros_path.py --models-root models --model padim --size 640x480

Detector and csv_recorder are processes of their own; the images, in colour, come from a third.
Another process has source, detector and recorder, as `adet inspect` does. Per round: seconds from
the start of a detector to its first verdict; then, several times in turns, frames per second with
two images on their way, of the one process, and of the bare loop in another, and the CPU time that
each takes for an image, which other work on the machine changes less; at five images per second
the time from publishing to the row, less the inference in it; the detector's resident memory.
Writes ros_path.json.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager, ExitStack
from functools import cache
import json
from multiprocessing import get_context
import os
from pathlib import Path
from statistics import median, quantiles
import tempfile
import threading
import time
from typing import Any

from adet_interfaces.msg import AnomalyResult, Recorded
from composed import Composed, composed
from live import cpu_s, DEADLINE_S, in_spin, kibibytes, running, spinning, until
import numpy as np
import numpy.typing as npt
from sensor_msgs.msg import Image as ImageMessage
from std_msgs.msg import Header

from adet import qos
from adet.cli.client import client_node
from adet.conversions import to_image_message, to_nanoseconds, to_stamp
from adet_core.image import Image
from adet_core.inference.detector import Detector
from adet_core.models.names import deployed_folder
from adet_core.records import read_records, results_path

_IN_FLIGHT = 2
_SLOW_HZ = 5.0
_SLOW_IMAGES = 40


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--models-root', type=Path, required=True)
    parser.add_argument('--model', default='padim')
    parser.add_argument('--size', type=_size, default=(480, 640), help='e.g. 2560x1920')
    parser.add_argument('--images', type=int, default=60, help='of each turn')
    parser.add_argument('--turns', type=int, default=6)
    parser.add_argument('--rounds', type=int, default=5)
    parser.add_argument('--out', type=Path, default=Path('ros_path.json'))
    arguments = parser.parse_args()
    os.environ.setdefault('ROS_DOMAIN_ID', str(101 + os.getpid() % 100))
    os.environ.setdefault('ROS_AUTOMATIC_DISCOVERY_RANGE', 'LOCALHOST')
    rounds = []
    with ExitStack() as stack:
        # Its own process, which never hears of ROS.
        bare = stack.enter_context(ProcessPoolExecutor(1, get_context('spawn')))
        node = stack.enter_context(client_node('benchmark', ''))
        stack.enter_context(spinning(node))
        images = _images(arguments.size)
        path = _Path(node, arguments.models_root, arguments.model, images)
        folder = str(deployed_folder(arguments.models_root, arguments.model))

        bare_pid = bare.submit(os.getpid).result()

        def bare_hz() -> float:
            return bare.submit(_bare_loop, folder, arguments.size, arguments.images).result()

        for number in range(arguments.rounds):
            row = path.measure(arguments.images, arguments.turns, bare_hz, bare_pid)
            rounds.append({'round': number, 'size': arguments.size, **row})
            print(json.dumps(rounds[-1]), flush=True)
    arguments.out.write_text(
        json.dumps({'cores': os.cpu_count(), 'rounds': rounds}, indent=2) + '\n'
    )
    turns = [turn for row in rounds for turn in row['turns']]
    print('| figure | median (quartiles) |\n|---|---|')
    for name in ('ros_hz', 'composed_hz', 'bare_hz'):
        print(f'| {name} | {_quartiles([turn[name] for turn in turns])} |')
    for way in ('ros', 'composed'):
        shares = [turn[f'{way}_hz'] / turn['bare_hz'] for turn in turns]
        print(f'| {way}_hz / bare_hz | {_quartiles(shares)} |')
        shares = [turn['bare_cpu_ms'] / turn[f'{way}_cpu_ms'] for turn in turns]
        print(f'| bare_cpu_ms / {way}_cpu_ms | {_quartiles(shares)} |')
    print('| figure | median (range) |\n|---|---|')
    for name in ('overhead_ms', 'first_verdict_s', 'resident_mib'):
        print(f'| {name} | {_range([row[name] for row in rounds])} |')


def _size(text: str) -> tuple[int, int]:
    """Height and width from ``640x480``."""
    width, _, height = text.partition('x')
    return int(height), int(width)


@cache
def _images(size: tuple[int, int]) -> list[Image]:
    """Textured images, always the same."""
    height, width = size
    shape = (8, -(-height // 8), -(-width // 8), 3)
    coarse = np.random.default_rng(0).integers(0, 255, shape, np.uint8)
    block: npt.NDArray[np.uint8] = np.ones((8, 8, 1), np.uint8)
    return [
        Image(np.ascontiguousarray(np.kron(one, block)[:height, :width]), 'bgr8') for one in coarse
    ]


def _bare_loop(folder: str, size: tuple[int, int], count: int) -> float:
    """Images per second of a detector and nothing else."""
    detector, images = _detector(folder), _images(size)
    start = time.perf_counter()
    for number in range(count):
        detector.inspect(images[number % len(images)])
    return count / (time.perf_counter() - start)


@cache
def _detector(folder: str) -> Detector:
    return Detector.load(Path(folder))


class _Path:
    """Images go out, rows come back."""

    def __init__(self, node: Any, models_root: Path, model: str, images: list[Image]) -> None:
        self._models_root, self._model, self._images = models_root, model, images
        self._publisher = node.create_publisher(
            ImageMessage, 'image_raw', qos.every_frame(_IN_FLIGHT)
        )
        self._node = node
        self._recorded: set[int] = set()
        self._changed = threading.Condition()
        node.create_subscription(Recorded, 'recorded', self._on_recorded, qos.every_frame())

    def _on_recorded(self, message: Recorded) -> None:
        with self._changed:
            self._recorded.add(to_nanoseconds(message.stamp))
            self._changed.notify()

    def measure(
        self, count: int, turns: int, bare_hz: Callable[[], float], bare_pid: int
    ) -> dict[str, Any]:
        """One round, with processes of its own."""
        with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
            recorder = {'models': self._model, 'output_dir': folder, 'expect_info': 'false'}
            recording = stack.enter_context(running('csv_recorder', recorder))
            inspected: set[int] = set()
            verdicts = self._node.create_subscription(
                AnomalyResult,
                f'{self._model}/result',
                lambda message: inspected.add(to_nanoseconds(message.header.stamp)),
                qos.every_frame(),
            )
            first = self._publish(0)
            start = time.perf_counter()
            detector = stack.enter_context(
                running(
                    f'{self._model}_detector',
                    {'models_root': self._models_root, 'frames': 'every'},
                )
            )
            until(lambda: first in inspected, 'the first verdict')
            first_verdict = time.perf_counter() - start
            # A source listens to rows alone.
            in_spin(self._node, lambda: self._node.destroy_subscription(verdicts))
            self._wait({first}, 0)
            together = stack.enter_context(self._composed())
            # Loading is no part of its first turn.
            bare_hz()
            together.hz(1)
            ways: dict[str, tuple[Callable[[], float], tuple[int, ...]]] = {
                'ros': (lambda: self._hz(count), (detector.pid, recording.pid, os.getpid())),
                'composed': (lambda: together.hz(count), (together.pid,)),
                'bare': (bare_hz, (bare_pid,)),
            }
            rates: list[dict[str, float]] = [{} for _ in range(turns)]
            for turn in rates:
                for way, (hz, pids) in ways.items():
                    before = cpu_s(*pids)
                    turn[f'{way}_hz'] = hz()
                    turn[f'{way}_cpu_ms'] = (cpu_s(*pids) - before) / count * 1e3
            slow = set()
            for number in range(_SLOW_IMAGES):
                slow.add(self._publish(number))
                time.sleep(1 / _SLOW_HZ)
            self._wait(slow, 0)
            resident = kibibytes(detector.pid, 'VmRSS') / 1024
            rows = read_records(results_path(Path(folder), self._model))
            extra = [
                row.latency_ms - row.inference_ms
                for row in rows
                if row.stamp_ns in slow and row.latency_ms and row.inference_ms
            ]
        return {
            'turns': rates,
            'overhead_ms': median(extra),
            'first_verdict_s': first_verdict,
            'resident_mib': resident,
        }

    @contextmanager
    def _composed(self) -> Iterator[Composed]:
        """The same in one process, in a namespace of its own."""
        with tempfile.TemporaryDirectory() as folder:
            parameters: dict[str, dict[str, Any]] = {
                'csv_recorder': {'models': self._model, 'output_dir': folder},
                'detector': {'models_root': str(self._models_root), 'frames': 'every'},
                'image_source': {
                    'source': 'memory',
                    'publish_rate': 0.0,
                    'wait_for': self._model,
                    'max_in_flight': _IN_FLIGHT,
                },
            }
            with composed(self._images, self._model, '/composed', parameters) as together:
                yield together

    def _hz(self, count: int) -> float:
        """Images per second, published as soon as there is room."""
        sent: set[int] = set()
        start = time.perf_counter()
        for number in range(count):
            self._wait(sent, _IN_FLIGHT - 1)
            sent.add(self._publish(number))
        self._wait(sent, 0)
        return count / (time.perf_counter() - start)

    def _wait(self, sent: set[int], most: int) -> None:
        """Until so many at most have no row."""
        with self._changed:
            if not self._changed.wait_for(lambda: len(sent - self._recorded) <= most, DEADLINE_S):
                msg = 'waited in vain for a row'
                raise SystemExit(msg)

    def _publish(self, number: int) -> int:
        image, stamp = self._images[number % len(self._images)], time.time_ns()
        header = Header(stamp=to_stamp(stamp), frame_id='camera')
        self._publisher.publish(to_image_message(image.pixels, image.encoding, header))
        return stamp


def _quartiles(values: list[float]) -> str:
    low, middle, high = quantiles(values, n=4)
    return f'{middle:.3g} ({low:.3g} to {high:.3g})'


def _range(values: list[float]) -> str:
    return f'{median(values):.4g} ({min(values):.4g} to {max(values):.4g})'


if __name__ == '__main__':
    main()
