# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""What it costs to send rows on, and to bring a bundle to a robot.

    python benchmarks/forwarding.py --bundle models/PaDiM --rows 5000

Processor time of a row from the result file to the acknowledgement of the receiver, by output,
with its queue on the disk; a webhook's receiver is part of the same process. MQTT needs mosquitto.
Then publishing and fetching the bundle through a folder. Writes forwarding.json.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
import http.server
import json
from pathlib import Path
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from typing import Any

from adet_core.records import Record, RecordWriter, results_path
from adet_fleet.fetch import fetch_release, split_address
from adet_fleet.install import Robot
from adet_fleet.keys import make_keys, Signer, TrustedKeys
from adet_fleet.publish import publish
from adet_forwarder.channel import Channel, result_files
from adet_forwarder.message import Message
from adet_forwarder.outputs.mqtt import MqttOutput
from adet_forwarder.outputs.opcua import OpcUaOutput
from adet_forwarder.outputs.output import Output
from adet_forwarder.outputs.upload import UploadOutput
from adet_forwarder.outputs.webhook import WebhookOutput
from adet_forwarder.row_queue import RowQueue
from adet_forwarder.settings import (
    MqttSettings,
    OpcUaSettings,
    UploadSettings,
    WebhookSettings,
)

_MOSQUITTO = shutil.which('mosquitto', path='/usr/sbin:/usr/bin:/usr/local/sbin')
Make = Callable[[RowQueue], Output]


class _Nowhere:
    """Takes everything: what remains is the queue's own share."""

    portion = 100
    length = 0

    def deliver(self, batch: Sequence[Message]) -> int:
        """Count the bytes."""
        self.length = len(batch[0].text)
        return len(batch)

    def tick(self) -> None:
        """Nothing."""

    def close(self) -> None:
        """Nothing."""


class _Receiver(http.server.BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'

    def do_POST(self) -> None:
        """Take a row."""
        self.rfile.read(int(self.headers['Content-Length']))
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def _write_rows(folder: Path, count: int) -> int:
    """Write a result file; returns its size in bytes."""
    path = results_path(folder, 'padim')
    writer = RecordWriter(path)
    for number in range(1, count + 1):
        writer.write(
            Record(
                stamp_ns=1_700_000_000_000_000_000 + number,
                frame_id='camera',
                source=f'/data/camera/{number:08d}.png',
                label='',
                model='padim',
                bundle_id='0123456789abcdef',
                score=number / 7,
                normalised_score=0.25,
                threshold=20.0,
                is_anomalous=False,
                is_uncertain=False,
                inference_ms=26.4,
                latency_ms=31.9,
                p_value=0.25,
            )
        )
    writer.close()
    return path.stat().st_size


def _measure(make: Make, rows: int) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        size = _write_rows(folder, rows)
        queue = RowQueue(folder / 'queue.sqlite', rows, 'robot')
        channel = Channel('one', make(queue), queue, result_files(folder, 'padim'))
        wall, processor = time.perf_counter(), time.process_time()
        while channel.status().delivered < rows:
            channel.step()
            if failure := channel.status().failure:
                raise SystemExit(f'error: {failure}')
        wall, processor = time.perf_counter() - wall, time.process_time() - processor
        channel.stop()
    return {
        'us_of_processor': processor / rows * 1e6,
        'rows_per_s': rows / wall,
        'bytes_in_file': size / rows,
    }


@contextmanager
def _broker() -> Iterator[int]:
    port = _free_port()
    with tempfile.NamedTemporaryFile('w', suffix='.conf') as config:
        config.write(f'listener {port} 127.0.0.1\nallow_anonymous true\n')
        config.flush()
        with subprocess.Popen(  # noqa: S603 - a program of the system, with a file of ours
            [str(_MOSQUITTO), '-c', config.name], stderr=subprocess.DEVNULL
        ) as process:
            _wait_for(port)
            yield port
            process.kill()


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(('127.0.0.1', 0))
        return int(found.getsockname()[1])


def _wait_for(port: int) -> None:
    for _ in range(100):
        try:
            socket.create_connection(('127.0.0.1', port), 1.0).close()
        except OSError:
            time.sleep(0.1)
        else:
            return


def _measure_outputs(rows: int) -> dict[str, Any]:
    nowhere = _Nowhere()
    found: dict[str, Any] = {'queue alone': _measure(lambda _: nowhere, rows)}
    found['queue alone']['bytes_of_message'] = nowhere.length
    if _MOSQUITTO:
        with _broker() as port:
            mqtt = MqttSettings(host='127.0.0.1', port=port)
            found['mqtt'] = _measure(lambda _: MqttOutput(mqtt, 'robot'), rows)
    server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), _Receiver)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    webhook = WebhookSettings(url=f'http://127.0.0.1:{server.server_port}/')
    found['webhook'] = _measure(lambda _: WebhookOutput(webhook), rows)
    server.shutdown()
    with tempfile.TemporaryDirectory() as scratch:
        upload = UploadSettings(to=f'{scratch}/there', longest_s=1e-9)
        done = Path(scratch, 'images.sqlite')
        found['upload'] = _measure(lambda _: UploadOutput(upload, 'robot', done), rows)
    opcua = OpcUaSettings(port=_free_port())
    found['opcua'] = _measure(
        lambda queue: OpcUaOutput(opcua, 'robot', ['padim'], queue.counters), rows
    )
    return found


def _measure_fleet(bundle: Path) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        public = make_keys(folder / 'fleet.key')
        start = time.process_time()
        release, address = publish(bundle, str(folder / 'store'), Signer(folder / 'fleet.key'))
        published = time.process_time()
        source, name = split_address(address)
        signed = fetch_release(source, name, TrustedKeys(public), address)
        Robot(folder / 'models').install(source, signed)
        installed = time.process_time()
    return {
        'mb': sum(entry.size for entry in release.files.values()) / 1e6,
        'publish_s_of_processor': published - start,
        'fetch_and_try_s_of_processor': installed - published,
    }


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--bundle', type=Path, required=True)
    parser.add_argument('--rows', type=int, default=5000)
    parser.add_argument('--out', type=Path, default=Path('forwarding.json'))
    arguments = parser.parse_args()
    found = _measure_outputs(arguments.rows)
    for name, figures in found.items():
        print(name, {key: round(value, 1) for key, value in figures.items()})
    found['bundle'] = _measure_fleet(arguments.bundle)
    print('bundle', {key: round(value, 2) for key, value in found['bundle'].items()})
    arguments.out.write_text(json.dumps(found, indent=1))


if __name__ == '__main__':
    main()
