# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Retraining while the line runs: seconds from goal to service, pause of inspection, memory.

    python benchmarks/retrain.py --rate 0        # nothing is inspected meanwhile
    python benchmarks/retrain.py --rate 4

A real detector and a real retrain_server, each a process of its own, and goals over ROS: 50 new
images incrementally, and 200 from scratch, of every model in turns, without labelled images.
Each goal has images of its own, as features of known ones are kept, and is rolled back before the
next. The pause is how much longer than usual the slowest of
the four images around the swap took; as the retraining shares the cores with the inspection, the
same of any four images before that stands beside it (their 95th percentile). "More at p99" is
the 99th percentile of all images of the goal, less the median of images before it. The memory is
the detector's largest resident set during the goal. Writes retrain.json.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, ExitStack
from itertools import islice
import json
import os
from pathlib import Path
import shutil
from statistics import median
import tempfile
import threading
import time
from typing import Any

from adet_interfaces.action import Retrain
from adet_interfaces.msg import AnomalyResult
from live import DEADLINE_S, in_spin, kibibytes, running, spinning, until
import numpy as np
from rclpy.action import ActionClient
from sensor_msgs.msg import Image as ImageMessage
from std_msgs.msg import Header

from adet import qos
from adet.cli.client import client_node
from adet.conversions import to_image_message, to_nanoseconds, to_stamp
from adet_core.bundle import copy_bundle
from adet_core.image import read_image
from adet_core.io.folders import list_images
from adet_core.models.names import deployed_folder
from adet_core.progress import progress_bars
from adet_synth import write_dataset
from adet_training.export import export
from adet_training.quiet import quiet_libraries
from adet_training.train import train, TrainConfig
from adet_training.versions import library_versions

_CATEGORY = 'plate'
_TRAINED = 60
_NEW = 50
_FULL = 200
_QUIET_S = 8.0


def main() -> None:
    """Train, measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--models', nargs='+', default=['padim', 'patchcore'])
    parser.add_argument('--backbone-weights', default='random', metavar='FILE')
    parser.add_argument('--rate', type=float, default=0.0, help='images inspected per second')
    parser.add_argument('--rounds', type=int, default=5)
    parser.add_argument('--out', type=Path, default=Path('retrain.json'))
    arguments = parser.parse_args()
    os.environ.setdefault('ROS_DOMAIN_ID', str(101 + os.getpid() % 100))
    with tempfile.TemporaryDirectory(prefix='adet_benchmark_') as scratch:
        roots = _prepare(
            Path(scratch), arguments.models, arguments.backbone_weights, arguments.rounds
        )
        rounds = _measure(roots, arguments)
    result = {
        'rate': arguments.rate,
        'backbone_weights': arguments.backbone_weights,
        'trained': _TRAINED,
        'cores': os.cpu_count(),
        'versions': library_versions('anomalib', 'torch', 'numpy', 'onnxruntime'),
        'rounds': rounds,
    }
    arguments.out.write_text(json.dumps(result, indent=2) + '\n')
    _show(rounds)


def _prepare(scratch: Path, models: Sequence[str], weights: str, rounds: int) -> dict[str, Path]:
    """Train each model; for each round draw 50 images it does not know, and 200 to begin anew."""
    data_root = scratch / 'data'
    write_dataset(
        data_root,
        category=_CATEGORY,
        train=_TRAINED + rounds * (_FULL + _NEW),
        test_normal=2,
        test_anomaly=2,
        size=256,
        seed=0,
    )
    images = iter(list_images(data_root / 'train' / _CATEGORY))
    trained = scratch / 'trained'

    def move(count: int, folder: Path) -> None:
        folder.mkdir(parents=True)
        for path in islice(images, count):
            path.rename(folder / path.name)

    move(_TRAINED, trained / 'train' / _CATEGORY)
    for number in range(rounds):
        move(_NEW, data_root / f'new{number}')
        move(_FULL, data_root / f'full{number}')
    shutil.rmtree(data_root / 'test')
    with quiet_libraries(), progress_bars() as progress:
        for model in models:
            config = TrainConfig(
                model=model,
                category=_CATEGORY,
                data_root=trained,
                models_root=scratch / 'pc',
                backbone_weights=weights,
                settings={},
            )
            run = train(config, progress=progress)
            export(copy_bundle(run.bundle, deployed_folder(scratch / 'robot', model)))
    return {'models_root': scratch / 'robot', 'data_root': data_root}


def _measure(roots: dict[str, Path], arguments: argparse.Namespace) -> list[dict[str, Any]]:
    found = []
    with ExitStack() as stack:
        node = stack.enter_context(client_node('benchmark', ''))
        stack.enter_context(spinning(node))
        stack.enter_context(running('retrain_server', roots))
        lines = {
            model: stack.enter_context(_Line(node, model, roots, arguments.rate))
            for model in arguments.models
        }
        action = ActionClient(node, Retrain, 'retrain')
        if not action.wait_for_server(DEADLINE_S):
            msg = 'the retrain_server did not start'
            raise SystemExit(msg)
        for number in range(arguments.rounds):
            for folder, mode in (('new', 'incremental'), ('full', 'full')):
                for model, line in lines.items():
                    row = line.goal(action, roots['data_root'] / f'{folder}{number}', mode)
                    found.append({'round': number, 'model': model, 'mode': mode, **row})
                    print(json.dumps(found[-1]), flush=True)
    return found


class _Line:
    """A detector at work, and how long each of its images takes."""

    def __init__(self, node: Any, model: str, roots: dict[str, Path], rate: float) -> None:
        self._node, self._model, self._rate, self._roots = node, model, rate, roots
        # Images of its own: the other models rest.
        topic = f'{model}/image_raw'
        self._remap = [f'image_raw:={topic}']
        self._images = node.create_publisher(ImageMessage, topic, qos.every_frame())
        node.create_subscription(
            AnomalyResult, f'{model}/result', self._on_result, qos.every_frame()
        )
        self._sent: dict[int, float] = {}
        self._took: list[tuple[float, float, str]] = []
        self._stack = ExitStack()

    def __enter__(self) -> _Line:
        parameters = {'models_root': self._roots['models_root'], 'frames': 'every'}
        self._detector = self._stack.enter_context(
            running(f'{self._model}_detector', parameters, self._remap)
        )
        self._image = read_image(list_images(self._roots['data_root'] / 'full0')[0])
        self._publish()
        until(lambda: self._took, f'the {self._model} detector inspects')
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @contextmanager
    def _fed(self) -> Iterator[None]:
        """Images come at the rate."""
        stop = threading.Event()

        def feed() -> None:
            while not stop.wait(1 / self._rate):
                self._publish()

        feeder = threading.Thread(target=feed, daemon=True)
        if self._rate:
            feeder.start()
        try:
            yield
            time.sleep(2 / self._rate if self._rate else 0)
        finally:
            stop.set()
            if self._rate:
                feeder.join()

    def _publish(self) -> None:
        stamp = time.time_ns()
        header = Header(stamp=to_stamp(stamp), frame_id='camera')
        message = to_image_message(self._image.pixels, self._image.encoding, header)
        self._sent[stamp] = time.perf_counter()
        self._images.publish(message)

    def _on_result(self, message: AnomalyResult) -> None:
        now = time.perf_counter()
        sent = self._sent.pop(to_nanoseconds(message.header.stamp), None)
        if sent is not None:
            self._took.append((sent, now - sent, message.bundle_id))

    def goal(self, action: Any, images: Path, mode: str) -> dict[str, Any]:
        """One goal; rolled back afterwards."""
        resident = kibibytes(self._detector.pid, 'VmRSS')
        Path(f'/proc/{self._detector.pid}/clear_refs').write_text('5')
        self._took.clear()
        with self._fed():
            time.sleep(_QUIET_S if self._rate else 0)
            quiet, start = len(self._took), time.perf_counter()
            result = self._run(
                action, Retrain.Goal(model=self._model, images=str(images), mode=mode)
            )
            seconds = time.perf_counter() - start
        peak = kibibytes(self._detector.pid, 'VmHWM')
        row = {
            'seconds': seconds,
            'learned': result.images_used,
            'resident_mib': resident / 1024,
            'peak_mib': peak / 1024,
            **self._pause(quiet),
        }
        self._run(action, Retrain.Goal(model=self._model, mode='rollback'))
        return row

    def _run(self, action: Any, goal: Any) -> Any:
        sent = in_spin(self._node, lambda: action.send_goal_async(goal))
        until(sent.done, 'the goal is taken')
        ended = in_spin(self._node, sent.result().get_result_async)
        until(ended.done, 'the goal ends')
        result = ended.result().result
        if not result.success:
            raise SystemExit(result.message)
        return result

    def _pause(self, quiet: int) -> dict[str, float]:
        """What the goal cost, whose first image has the number ``quiet``, in milliseconds."""
        took = list(self._took)
        swap = next((number for number, one in enumerate(took) if one[2] != took[0][2]), None)
        if swap is None:
            return {}
        usual = median(one[1] for one in took[:quiet])
        longest = [max(one[1] for one in took[i : i + 4]) - usual for i in range(len(took) - 3)]
        # The one whose third image is the first of the new bundle.
        pause = longest[min(max(swap - 2, 0), len(longest) - 1)]
        figures = {
            'image_ms': usual,
            'pause_ms': max(pause, 0.0),
            'elsewhere_ms': float(np.percentile(longest[: max(swap - 5, 1)], 95)),
            'p99_more_ms': float(np.percentile([one[1] for one in took[quiet:]], 99)) - usual,
        }
        return {name: seconds * 1e3 for name, seconds in figures.items()}


def _show(rounds: Sequence[dict[str, Any]]) -> None:
    titles = (
        'model',
        'mode',
        'learned',
        's',
        'pause ms',
        'elsewhere ms',
        'more at p99, ms',
        'image ms',
    )
    print('| ' + ' | '.join((*titles, 'resident MiB', 'peak MiB')) + ' |')
    print('|' + '---|' * (len(titles) + 2))
    keys = dict.fromkeys((row['model'], row['mode']) for row in rounds)
    for model, mode in keys:
        rows = [row for row in rounds if (row['model'], row['mode']) == (model, mode)]
        names = ['learned', 'seconds', 'pause_ms', 'elsewhere_ms', 'p99_more_ms']
        names += ['image_ms', 'resident_mib', 'peak_mib']
        cells = [_cell([row[name] for row in rows if name in row]) for name in names]
        print(f'| {model} | {mode} | ' + ' | '.join(cells) + ' |')


def _cell(values: Sequence[float]) -> str:
    """Median and spread."""
    if not values:
        return ''
    return f'{median(values):.4g} ({min(values):.3g} to {max(values):.3g})'


if __name__ == '__main__':
    main()
