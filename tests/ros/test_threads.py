# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""What other threads ask of nodes that spin: rclpy guards little of it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
import runpy
import sys
import threading
import time
from typing import Any

from adet_interfaces.action import Retrain
import pytest
import rclpy
from rclpy.action import ActionServer
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.parameter import Parameter
from rclpy.task import Future

from adet.loading import category_in_service


def test_asking_for_the_category_in_a_thread_leaves_the_node_alive(ros):
    group = ReentrantCallbackGroup()
    # It is always about to wait.
    ros.client.create_timer(1e-4, lambda: None)
    before = sys.getswitchinterval()
    # Threads change between any two lines: what goes wrong once a day does within a second.
    sys.setswitchinterval(1e-6)
    try:
        for _ in range(300):
            category_in_service(ros.client, 'padim', group=group, is_stopping=lambda: True)
        ros.do(lambda: None)
    finally:
        sys.setswitchinterval(before)


def test_the_events_of_humble_are_found_under_their_old_name(monkeypatch):
    from adet import qos

    now, events = qos.SubscriptionEventCallbacks, sys.modules['rclpy.event_handler']
    monkeypatch.delattr(rclpy, 'event_handler')
    monkeypatch.setitem(sys.modules, 'rclpy.event_handler', None)
    monkeypatch.setitem(sys.modules, 'rclpy.qos_event', events)
    monkeypatch.setattr(rclpy, 'qos_event', events, raising=False)
    found = runpy.run_path(qos.__file__)
    assert found['SubscriptionEventCallbacks'] is now
    assert found['UnsupportedEventTypeError'] is qos.UnsupportedEventTypeError


@pytest.fixture
def link(namespace: str, tmp_path: Path) -> Iterator[Any]:
    """The console's node, with a detector that it believes to be there."""
    pytest.importorskip('aiohttp', reason='aiohttp is not installed')
    from adet_console.link import GraphLink

    given = {'port': 0, 'output_dir': str(tmp_path), 'data_root': str(tmp_path)}
    made = GraphLink(
        namespace=namespace,
        parameter_overrides=[Parameter(name, value=value) for name, value in given.items()],
    )
    made._meet(f'{namespace}/padim/result')
    yield made
    made.stop()
    made.destroy_node()


def test_the_console_hears_the_end_of_a_retraining_that_ends_at_once(
    ros, link, namespace, monkeypatch
):
    def late() -> Future:
        # The response is there before who sent the request has noted it.
        time.sleep(0.1)
        return Future()

    def execute(handle: Any) -> Retrain.Result:
        handle.succeed()
        return Retrain.Result(success=True)

    server = ActionServer(ros.client, Retrain, 'retrain', execute)
    ended = threading.Event()
    link.on_event = lambda event: ended.set() if event.get('stage') == 'done' else None
    link.start()
    key = f'{namespace}/padim'
    ros.until(link.find(key).clients['retrain'].server_is_ready, 'the server')
    monkeypatch.setattr('rclpy.action.client.Future', late)
    asyncio.run(link.retrain(key, 'incremental', []))
    ros.until(ended.is_set, 'the end')
    ros.do(server.destroy)


def test_a_goal_that_cannot_be_sent_is_refused_and_the_console_lives(ros, link, namespace):
    server = ActionServer(ros.client, Retrain, 'retrain', lambda _: Retrain.Result())
    link.start()
    key = f'{namespace}/padim'
    ros.until(link.find(key).clients['retrain'].server_is_ready, 'the server')
    for _ in range(2):
        # No text of ROS: one half of a pair of UTF-16.
        with pytest.raises(UnicodeEncodeError):
            asyncio.run(link.retrain(key, '\ud800', []))
    assert not link.done.done()
    ros.do(server.destroy)


def test_a_console_whose_node_failed_ends_with_the_reason(link):
    from adet_console.node import serve

    def fails() -> None:
        msg = 'nobody expected this'
        raise ZeroDivisionError(msg)

    link._executor.create_task(fails)
    with pytest.raises(ZeroDivisionError, match='nobody expected this'):
        asyncio.run(serve(link))
