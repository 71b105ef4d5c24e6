# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Rows of result files arrive at every output, whatever is killed meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
import http.server
import json
from pathlib import Path
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from typing import Any

import numpy as np
import pytest

from adet_core.errors import ConfigError, RecordError
from adet_core.follow import ResultFollower
from adet_core.image import Image
from adet_core.io.feedback import keep_frame
from adet_core.records import Record, RecordWriter, results_path, set_aside
from adet_core.scoring import Region

pytest.importorskip('yaml', reason='pyyaml is not installed')

from adet_forwarder.channel import Channel, result_files
from adet_forwarder.forwarder import Forwarder
from adet_forwarder.message import Message
from adet_forwarder.outputs import output as outputs
from adet_forwarder.outputs.mqtt import MqttOutput
from adet_forwarder.outputs.opcua import OpcUaOutput
from adet_forwarder.outputs.upload import UploadOutput
from adet_forwarder.outputs.webhook import WebhookOutput
from adet_forwarder.row_queue import RowQueue
from adet_forwarder.settings import (
    ForwardSettings,
    MqttSettings,
    OpcUaSettings,
    read_settings,
    UploadSettings,
    WebhookSettings,
)

ROOT = Path(__file__).parents[2]
MOSQUITTO = shutil.which('mosquitto', path='/usr/sbin:/usr/bin:/usr/local/sbin')
_DEADLINE_S = 30.0


def row(number: int, **values: Any) -> Record:
    figures = {
        'score': number / 4,
        'normalised_score': 0.5,
        'threshold': 2.0,
        'is_anomalous': number % 2 == 0,
        'is_uncertain': False,
        'inference_ms': 5.0,
    }
    return Record(
        stamp_ns=number, frame_id='', source=f'{number}.png', label='', model='padim',
        **{**figures, **values},
    )  # fmt: skip


def write(folder: Path, numbers: Sequence[int]) -> Path:
    """Append rows as a recorder does."""
    path = results_path(folder, 'padim')
    writer = RecordWriter(path)
    for number in numbers:
        assert writer.write(row(number))
    writer.close()
    return path


def until(holds: Callable[[], Any], what: str) -> None:
    deadline = time.monotonic() + _DEADLINE_S
    while not holds():
        assert time.monotonic() < deadline, f'waited in vain: {what}'
        threading.Event().wait(0.01)


def free_port() -> int:
    with socket.socket() as found:
        found.bind(('127.0.0.1', 0))
        return int(found.getsockname()[1])


class Kept:
    """An output that keeps what it gets, and fails as often as it is told."""

    def __init__(self, failures: int = 0, portion: int = 100) -> None:
        self.rows: list[int] = []
        self.failures, self.portion = failures, portion

    def deliver(self, batch: Sequence[Message]) -> int:
        if self.failures:
            self.failures -= 1
            raise outputs.OutputError('the receiver is away')
        # It may take fewer than it is offered.
        taken = batch[: max(1, self.portion - 1)]
        self.rows += [one.values()['stamp_ns'] for one in taken]
        return len(taken)

    def tick(self) -> None: ...

    def close(self) -> None: ...


def channel(folder: Path, output: Any, limit: int = 1000, wait_s: float = 1e-6) -> Channel:
    queue = RowQueue(folder / 'queue.sqlite', limit, 'robot1')
    return Channel('kept', output, queue, result_files(folder, 'padim'), longest_wait_s=wait_s)


def settle(one: Channel) -> None:
    """Step until there is nothing left to do."""
    while one.step() or one.status().failure:
        assert one.status().failure in {'', 'the receiver is away'}


# ---- reading a file that is written


def stamps(follower: ResultFollower, limit: int = 1000) -> list[int]:
    return [one.record.stamp_ns for one in follower.read(limit)]


def test_new_rows_are_read_once_and_a_torn_end_later(tmp_path: Path) -> None:
    follower = ResultFollower(results_path(tmp_path, 'padim'))
    assert stamps(follower) == []
    path = write(tmp_path, [1, 2])
    assert stamps(follower, 1) == [1]
    whole = path.read_bytes()
    path.write_bytes(whole + b'3,,torn')
    assert stamps(follower) == [2]
    path.write_bytes(whole)
    write(tmp_path, [3])
    assert stamps(follower) == [3]
    assert stamps(follower) == []


def test_runs_that_were_set_aside_are_read_to_their_end(tmp_path: Path) -> None:
    path = write(tmp_path, [1, 2, 3])
    follower = ResultFollower(path)
    position = follower.read(1)[-1].position
    # The reader is away while two runs end and a third begins.
    follower.close()
    set_aside(path)
    write(tmp_path, [4, 5])
    set_aside(path)
    write(tmp_path, [6])
    again = ResultFollower(path, position)
    assert stamps(again) == [2, 3, 4, 5, 6]
    set_aside(path)
    write(tmp_path, [7])
    assert stamps(again) == [7]


def test_a_file_that_is_another_one_is_read_from_its_start(tmp_path: Path) -> None:
    path = write(tmp_path, [1, 2, 3])
    position = ResultFollower(path).read(3)[-1].position
    shorter = path.read_bytes().splitlines(keepends=True)[:2]
    path.write_bytes(b''.join(shorter))
    write(tmp_path, [8, 9])
    assert stamps(ResultFollower(path, position)) == [1, 8, 9]


def test_a_file_of_another_program_is_refused(tmp_path: Path) -> None:
    path = results_path(tmp_path, 'padim')
    path.write_text('a,b\n1,2\n')
    with pytest.raises(RecordError, match=r'result_padim\.csv: not a results file'):
        ResultFollower(path).read(1)


# ---- queue and channel


def test_every_row_arrives_though_receiver_and_forwarder_fail(tmp_path: Path) -> None:
    write(tmp_path, range(1, 251))
    output = Kept(failures=3, portion=7)
    first = channel(tmp_path, output)
    for _ in range(9):
        first.step()
    assert 0 < len(output.rows) < 250
    first.stop()
    write(tmp_path, [251])
    second = channel(tmp_path, output)
    settle(second)
    assert output.rows == list(range(1, 252))
    second.stop()


def test_what_does_not_fit_into_the_queue_waits_in_the_file(tmp_path: Path) -> None:
    write(tmp_path, range(1, 31))
    output = Kept(failures=5)
    one = channel(tmp_path, output, limit=10)
    for _ in range(5):
        one.step()
    assert (one.status().queued, one.status().is_full) == (10, True)
    assert one.status().failure == 'the receiver is away'
    settle(one)
    assert output.rows == list(range(1, 31))
    one.stop()


def test_a_queue_killed_in_the_middle_neither_loses_nor_counts_twice(tmp_path: Path) -> None:
    write(tmp_path, range(1, 401))
    code = (
        'import os, sys; sys.path[:0] = [sys.argv[2]]; from pathlib import Path\n'
        'from adet_core.follow import ResultFollower\n'
        'from adet_core.records import results_path\n'
        'from adet_forwarder.row_queue import RowQueue\n'
        'folder = Path(sys.argv[1]); queue = RowQueue(folder / "queue.sqlite", 1000, "r")\n'
        'follower = ResultFollower(results_path(folder, "padim"))\n'
        'for _ in range(5): queue.append("padim", follower.read(30))\n'
        'queue._database.execute("BEGIN"); queue._database.execute("DELETE FROM rows")\n'
        'os.kill(os.getpid(), 9)\n'
    )
    source = ROOT / 'ros2_ws' / 'src' / 'adet_forwarder'
    done = subprocess.run([sys.executable, '-c', code, tmp_path, source], check=False)
    assert done.returncode == -9
    output = Kept()
    one = channel(tmp_path, output)
    assert one.status().queued == 150
    settle(one)
    assert output.rows == list(range(1, 401))
    one.stop()
    counters = RowQueue(tmp_path / 'queue.sqlite', 1000, 'r').counters('padim')
    assert counters == {'inspected': 400, 'rejected': 200, 'uncertain': 0, 'refused': 0}


def test_a_damaged_queue_is_one_line(tmp_path: Path) -> None:
    (tmp_path / 'queue.sqlite').write_bytes(b'no database' * 100)
    with pytest.raises(RecordError, match=r'queue\.sqlite: file is not a database; move it away'):
        RowQueue(tmp_path / 'queue.sqlite', 10, 'r')


def test_a_folder_of_queues_has_one_forwarder(tmp_path: Path) -> None:
    settings = ForwardSettings(webhook=WebhookSettings(url='http://127.0.0.1:1/'))
    one = Forwarder(settings, result_files(tmp_path, 'padim,vae'), tmp_path / 'queues')
    with pytest.raises(ConfigError, match='another result_forwarder uses it'):
        Forwarder(settings, {}, tmp_path / 'queues')
    one.stop()
    Forwarder(settings, {}, tmp_path / 'queues').stop()


# ---- settings


def test_the_settings_of_the_package_can_be_read() -> None:
    path = ROOT / 'ros2_ws' / 'src' / 'adet_forwarder' / 'config' / 'forward.yaml'
    settings = read_settings(path)
    assert settings.mqtt == MqttSettings(host='127.0.0.1')
    assert (settings.webhook, settings.opcua) == (None, None)
    assert settings.name


@pytest.mark.parametrize(
    ('text', 'told'),
    [
        ('', 'has no output; write one of mqtt, webhook, opcua, upload'),
        ('mqtt: {port: 1883}', "field 'mqtt.host' is missing"),
        ('mqtt: {host: a, port: 0}', "field 'mqtt.port': 0 is not a port"),
        ('webhook: {url: "ftp://a"}', "field 'webhook.url': 'ftp://a' is not http"),
        ('opcua: {prot: 1}', "unknown field 'opcua.prot'"),
        ('robot: a/b\nopcua: {}', "'a/b' is not a name"),
        ('queue_rows: 0\nopcua: {}', "field 'queue_rows': 0 is less than 1"),
        ('mqtt: [', 'while parsing'),
        ('3', "field 'the whole file' is 3"),
    ],
)
def test_a_wrong_setting_is_one_line(tmp_path: Path, text: str, told: str) -> None:
    path = tmp_path / 'forward.yaml'
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        read_settings(path)
    assert str(caught.value).startswith(f'{path}: ')
    assert told in str(caught.value)
    assert '\n' not in str(caught.value)


def test_a_missing_library_is_named() -> None:
    with pytest.raises(ConfigError, match=r'output mqtt needs paho-none .*pip install paho-none'):
        outputs.load('paho_none.client', 'paho-none', 'mqtt')


# ---- webhook


class Receiver:
    """An HTTP server that answers with the statuses it is given, then with 204."""

    def __init__(self, *statuses: int) -> None:
        self.rows: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        answers = list(statuses)

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = 'HTTP/1.1'

            def do_POST(handler) -> None:  # noqa: N805
                body = handler.rfile.read(int(handler.headers['Content-Length']))
                status = answers.pop(0) if answers else 204
                if status < 300:
                    self.rows.append(json.loads(body))
                    self.headers.append(dict(handler.headers))
                handler.send_response(status)
                handler.send_header('Content-Length', '0')
                if status == 503:
                    handler.send_header('Retry-After', '7')
                handler.end_headers()

            def log_message(self, *_: object) -> None: ...

        self._server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Handler)
        self.url = f'http://127.0.0.1:{self._server.server_port}/adet?line=1'
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def test_a_webhook_gets_every_row_with_its_fields(tmp_path: Path) -> None:
    (tmp_path / 'token').write_text('secret\n')
    receiver = Receiver(500, 200, 429, 404)
    settings = WebhookSettings(url=receiver.url, token_file=str(tmp_path / 'token'))
    writer = RecordWriter(results_path(tmp_path, 'padim'))
    writer.write(row(2, regions=(Region(1, 2, 3, 4, 5.5),), p_value=0.25))
    writer.write(Record(stamp_ns=3, frame_id='', source='x', label='', model='padim', error='no'))
    writer.close()
    one = channel(tmp_path, WebhookOutput(settings))
    until(lambda: not one.step() and one.status().delivered == 2, 'two rows')
    one.stop()
    receiver.close()
    first, second = receiver.rows
    assert first == {
        'id': first['id'], 'robot': 'robot1', 'time': '1970-01-01T00:00:00.000+00:00',
        'stamp_ns': 2, 'frame_id': '', 'source': '2.png', 'label': '', 'model': 'padim',
        'bundle_id': '', 'score': 0.5, 'normalised_score': 0.5, 'threshold': 2.0,
        'is_anomalous': True, 'is_uncertain': False, 'inference_ms': 5.0, 'latency_ms': None,
        'regions': [{'x': 1, 'y': 2, 'width': 3, 'height': 4, 'score': 5.5}],
        'error': '', 'p_value': 0.25, 'category': '',
    }  # fmt: skip
    assert (second['score'], second['error']) == (None, 'no')
    assert receiver.headers[0]['Authorization'] == 'Bearer secret'
    assert receiver.headers[0]['Idempotency-Key'] == first['id']


def test_a_webhook_says_why_it_fails_and_how_long_to_wait() -> None:
    receiver = Receiver(503)
    output = WebhookOutput(WebhookSettings(url=receiver.url))
    with pytest.raises(outputs.OutputError, match='answers 503 Service Unavailable') as caught:
        output.deliver([Message('1', 'padim', '{}')])
    assert caught.value.wait_s == 7
    receiver.close()
    output.close()
    with pytest.raises(outputs.OutputError, match='Connection refused'):
        output.deliver([Message('1', 'padim', '{}')])


# ---- MQTT


class Broker:
    """A real mosquitto."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self._config = folder / 'mosquitto.conf'
        self._config.write_text(
            f'listener {self.port} 127.0.0.1\nallow_anonymous true\nuser root\n'
            f'persistence true\npersistence_location {folder}/\nmax_queued_messages 0\n'
        )
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        assert MOSQUITTO is not None
        self._process = subprocess.Popen(
            [MOSQUITTO, '-c', self._config], stderr=subprocess.DEVNULL
        )

    def stop(self, number: signal.Signals = signal.SIGKILL) -> None:
        if self._process is not None:
            self._process.send_signal(number)
            self._process.wait()
            self._process = None


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    pytest.importorskip('paho.mqtt', reason='paho-mqtt is not installed')
    if MOSQUITTO is None:
        pytest.skip('no mosquitto here: MQTT is not tested (apt install mosquitto)')
    made = Broker(tmp_path)
    yield made
    made.stop()


class Subscriber:
    """Another client of the broker, which remembers for it what it has not got yet."""

    def __init__(self, port: int) -> None:
        from paho.mqtt import client as mqtt
        from paho.mqtt.enums import CallbackAPIVersion
        from paho.mqtt.packettypes import PacketTypes
        from paho.mqtt.properties import Properties

        self.rows: list[int] = []
        self.status: list[str] = []
        self.contents: set[str] = set()
        self.is_there = threading.Event()
        self._client = mqtt.Client(
            CallbackAPIVersion.VERSION2, client_id='mes', protocol=mqtt.MQTTv5
        )
        session = Properties(PacketTypes.CONNECT)
        session.SessionExpiryInterval = 3600
        self._client.reconnect_delay_set(1, 1)
        self._client.on_connect = lambda client, *_: client.subscribe('adet/#', 1)
        self._client.on_subscribe = lambda *_: self.is_there.set()
        self._client.on_disconnect = lambda *_: self.is_there.clear()
        self._client.on_message = self._on_message
        self._client.connect_async('127.0.0.1', port, clean_start=False, properties=session)
        self._client.loop_start()

    def _on_message(self, _: Any, __: Any, message: Any) -> None:
        if message.topic == 'adet/robot1/status':
            self.status.append(message.payload.decode())
        else:
            assert message.topic == 'adet/robot1/padim/result'
            self.contents.add(message.properties.ContentType)
            self.rows.append(json.loads(message.payload)['stamp_ns'])

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


def test_nothing_is_lost_when_the_broker_is_killed(broker: Broker, tmp_path: Path) -> None:
    broker.start()
    subscriber = Subscriber(broker.port)
    assert subscriber.is_there.wait(_DEADLINE_S)
    settings = MqttSettings(host='127.0.0.1', port=broker.port)
    one = channel(tmp_path, MqttOutput(settings, 'robot1'), wait_s=0.05)
    one.start()
    write(tmp_path, range(1, 301))
    one.wake()
    until(lambda: len(subscriber.rows) > 20, 'the first rows')
    # In the middle of a batch; what it has acknowledged, it keeps.
    broker.stop(signal.SIGTERM)
    write(tmp_path, range(301, 401))
    one.wake()
    until(lambda: one.status().failure and one.status().queued >= 100, 'rows in the queue')
    assert f'MQTT broker 127.0.0.1:{broker.port}: ' in one.status().failure
    broker.start()
    until(lambda: set(subscriber.rows) == set(range(1, 401)), 'all rows')
    until(lambda: one.status().queued == 0, 'the last acknowledgement')
    broker.stop(signal.SIGKILL)
    write(tmp_path, range(401, 501))
    one.wake()
    until(lambda: one.status().queued == 100, 'rows in the queue')
    # The forwarder is killed, too: another one goes on with its queue.
    one.stop()
    until(lambda: not subscriber.is_there.is_set(), 'that the subscriber notices')
    broker.start()
    assert subscriber.is_there.wait(_DEADLINE_S)
    again = channel(tmp_path, MqttOutput(settings, 'robot1'), wait_s=0.05)
    again.start()
    until(lambda: set(subscriber.rows) == set(range(1, 501)), 'all rows')
    again.stop()
    until(lambda: subscriber.status and subscriber.status[-1] == 'offline', 'the last word')
    subscriber.close()
    assert subscriber.contents == {'application/json'}
    assert 'online' in subscriber.status


def test_a_broker_that_refuses_says_so(broker: Broker, tmp_path: Path) -> None:
    config = tmp_path / 'mosquitto.conf'
    config.write_text(config.read_text().replace('allow_anonymous true', 'allow_anonymous false'))
    broker.start()
    output = MqttOutput(MqttSettings(host='127.0.0.1', port=broker.port), 'robot1')

    def told() -> str:
        with pytest.raises(outputs.OutputError) as caught:
            output.deliver([Message('1', 'padim', '{}')])
        return str(caught.value)

    until(lambda: 'refuses the connection: Not authorized' in told(), 'the refusal')
    with pytest.raises(ConfigError, match='none: No such file or directory; its first line'):
        MqttOutput(MqttSettings(host='a', username='u', password_file='none'), 'r')
    with pytest.raises(ConfigError, match=r'none\.pem: '):
        MqttOutput(MqttSettings(host='a', tls=True, ca_file='none.pem'), 'r')


# ---- upload


def mark(folder: Path, name: str) -> None:
    keep_frame(folder, name, Image(np.zeros((4, 4), np.uint8), 'mono8'), {}, limit=10)


def test_rows_and_marked_images_are_uploaded_after_days_without_network(tmp_path: Path) -> None:
    data, there = tmp_path / 'data', tmp_path / 'there'
    good, bad = data / 'train' / 'plate', data / 'test' / 'plate' / 'anomaly'
    mark(good, 'a')
    (good / 'learned.png').write_bytes(b'an image of the data set')
    there.write_text('a file where the folder should be: nothing can be written')
    write(tmp_path, range(1, 26))
    settings = UploadSettings(to=str(there), rows=10, longest_s=3600.0, images=str(data))
    done = tmp_path / 'images.sqlite'
    one = channel(tmp_path, UploadOutput(settings, 'robot1', done))
    one.step()
    assert str(there) in one.status().failure
    mark(bad, 'b')
    one.stop()
    there.unlink()
    again = channel(tmp_path, UploadOutput(settings, 'robot1', done))
    settle(again)
    files = sorted(there.glob('robot1/padim/1970-01-01/*.jsonl'))
    rows = [json.loads(line)['stamp_ns'] for file in files for line in file.open()]
    # Five rows wait for others, until they are old.
    assert (len(files), sorted(rows), again.status().queued) == (2, [*range(1, 21)], 5)
    sent = {path.relative_to(there / 'robot1' / 'images').as_posix() for path in _files(there)}
    assert sent == {
        'train/plate/a.png', 'train/plate/a.json',
        'test/plate/anomaly/b.png', 'test/plate/anomaly/b.json',
    }  # fmt: skip
    again.stop()
    for path in _files(there):
        path.unlink()
    (good / 'a.json').unlink()
    old = UploadSettings(to=str(there), rows=10, longest_s=1e-9, images=str(data))
    last = channel(tmp_path, UploadOutput(old, 'robot1', done))
    until(lambda: not last.step() and last.status().queued == 0, 'old rows')
    assert _files(there) == []
    last.stop()


def _files(there: Path) -> list[Path]:
    return [path for path in there.glob('robot1/images/**/*') if path.is_file()]


# ---- OPC UA


def test_an_opc_ua_client_reads_verdict_counters_and_heartbeat(tmp_path: Path) -> None:
    sync = pytest.importorskip('asyncua.sync', reason='asyncua is not installed')
    from asyncua.ua.uaerrors import UaError

    write(tmp_path, [1, 2, 3])
    port = free_port()
    queue = RowQueue(tmp_path / 'queue.sqlite', 1000, 'robot1')
    output = OpcUaOutput(OpcUaSettings(port=port), 'robot1', ['padim'], queue.counters)
    one = Channel('opcua', output, queue, result_files(tmp_path, 'padim'))
    with sync.Client(f'opc.tcp://127.0.0.1:{port}/adet') as client:

        def read(name: str) -> Any:
            return client.get_node(f'ns=2;s={name}').read_value()

        assert (read('padim.id'), read('padim.inspected')) == ('', 0)
        settle(one)
        assert (read('padim.source'), read('padim.score')) == ('3.png', 0.75)
        assert (read('padim.is_anomalous'), read('padim.stamp_ns')) == (False, 3)
        assert len(read('padim.id')) == 16
        assert (read('padim.inspected'), read('padim.rejected')) == (3, 1)
        beats = read('heartbeat')
        one.step()
        assert read('heartbeat') > beats
        folder = client.nodes.objects.get_child(['2:adet', '2:padim'])
        assert len(folder.get_children()) == 22
        with pytest.raises(UaError, match='BadUserAccessDenied'):
            client.get_node('ns=2;s=padim.score').write_value(9.0)
    with pytest.raises(ConfigError, match=f'cannot bind to 127.0.0.1 port {port}'):
        OpcUaOutput(OpcUaSettings(port=port), 'robot1', ['padim'], queue.counters)
    one.stop()
