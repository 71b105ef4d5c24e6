# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""The node ``result_forwarder`` wakes when a row is recorded, and says how its outputs are."""

from __future__ import annotations

from pathlib import Path
import socket
from typing import Any

from adet_interfaces.msg import Recorded
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
import pytest

from adet_core.errors import ConfigError
from adet_core.records import Record, RecordWriter, results_path
from adet_forwarder.node import ResultForwarder

pytestmark = pytest.mark.ros


def test_a_recorded_row_is_forwarded(ros: Any, tmp_path: Path) -> None:
    heard: list[DiagnosticStatus] = []
    ros.client.create_subscription(
        DiagnosticArray,
        '/diagnostics',
        lambda told: heard.extend(s for s in told.status if s.name.startswith(ros.namespace)),
        10,
    )
    # A receiver that takes no connection, then one that answers.
    with socket.create_server(('127.0.0.1', 0)) as taken:
        port = taken.getsockname()[1]
    config = tmp_path / 'forward.yaml'
    config.write_text(f'webhook: {{url: "http://127.0.0.1:{port}/"}}\nlongest_wait_s: 0.1\n')
    ros.start(ResultForwarder, config=str(config), output_dir=str(tmp_path))
    writer = RecordWriter(results_path(tmp_path, 'padim'))
    writer.write(Record(stamp_ns=7, frame_id='', source='a.png', label='', model='padim'))
    writer.close()
    ros.publisher(Recorded, 'recorded').publish(Recorded(model='padim'))
    ros.until(lambda: any('refused' in one.message for one in heard), 'the failure')
    with socket.create_server(('127.0.0.1', port)) as receiver:
        connection, _ = receiver.accept()
        with connection, connection.makefile('rb') as request:
            lines = list(iter(request.readline, b'\r\n'))
            length = next(int(one.split(b':')[1]) for one in lines if b'Length' in one)
            assert b'"source": "a.png"' in request.read(length)
            connection.sendall(b'HTTP/1.1 204 No Content\r\n\r\n')
            ros.until(lambda: heard[-1].message == 'ok', 'health')
    values = {entry.key: entry.value for entry in heard[-1].values}
    assert values == {'webhook_queued': '0', 'webhook_delivered': '1'}


def test_a_config_that_is_missing_is_one_line(ros: Any, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r'none\.yaml: No such file or directory; copy config'):
        ros.start(ResultForwarder, config=str(tmp_path / 'none.yaml'))
