# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Real nodes over DDS, and a client that listens to them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
import itertools
from pathlib import Path
import threading
import time
from typing import Any

import pytest

rclpy = pytest.importorskip('rclpy', reason='ROS 2 is not installed')

from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor  # noqa: E402
from rclpy.parameter import Parameter  # noqa: E402
from robot import Client, Robot  # noqa: E402

from adet import qos  # noqa: E402
from adet.nodes.detector import DetectorNode  # noqa: E402
from adet.nodes.retrain_server import RetrainServer  # noqa: E402

_DEADLINE_S = 60.0
_numbers = itertools.count()


@pytest.fixture(scope='session', autouse=True)
def _context() -> Iterator[None]:
    rclpy.init(args=[])
    yield
    rclpy.try_shutdown()


def _new_namespace() -> str:
    return f'/test{next(_numbers)}'


@pytest.fixture
def namespace() -> str:
    """A namespace of its own for every test."""
    return _new_namespace()


class Ros:
    """Spins nodes in a thread, and collects what a client hears."""

    def __init__(self, namespace: str) -> None:
        self.namespace = namespace
        self.client = rclpy.create_node('client', namespace=namespace)
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self.client)
        self._nodes: list[Any] = []
        self._failure: Exception | None = None
        self._thread = threading.Thread(target=self._spin, daemon=True)
        self._thread.start()

    def _spin(self) -> None:
        try:
            self._executor.spin()
        except ExternalShutdownException:
            return
        except Exception as error:  # noqa: BLE001 - raised where the test waits
            self._failure = error

    def start(self, create: Callable[..., Any], **parameters: Any) -> Any:
        """Create a node with parameters and spin it."""
        overrides = [Parameter(name, value=value) for name, value in parameters.items()]
        return self.take(create(namespace=self.namespace, parameter_overrides=overrides))

    def take(self, node: Any) -> Any:
        """Spin a node that somebody else has created."""
        self._nodes.append(node)
        self._executor.add_node(node)
        return node

    def detector(self, deployed: Any, **parameters: Any) -> DetectorNode:
        """Start the small detector."""
        defaults = {'models_root': str(deployed.models_root), 'frames': 'every'}
        return self.start(lambda **o: DetectorNode('padim', **o), **{**defaults, **parameters})

    def do(self, work: Callable[[], Any]) -> Any:
        """Let the spinning thread do what rclpy does not allow beside it; returns the result.

        That is to destroy what has handlers of events, and to call an action.
        """
        task = self._executor.create_task(work)
        self.until(task.done, 'the spinning thread')
        return task.result()

    def publisher(self, kind: type, topic: str, profile: Any = None) -> Any:
        """A publisher of the client."""
        return self.client.create_publisher(kind, topic, profile or qos.every_frame())

    def hear(self, kind: type, topic: str, profile: Any = None) -> list[Any]:
        """A list that fills with what is published on a topic."""
        heard: list[Any] = []
        self.client.create_subscription(kind, topic, heard.append, profile or qos.every_frame())
        return heard

    def until(self, holds: Callable[[], Any], what: str) -> Any:
        """Wait until something holds; returns it."""
        deadline = time.monotonic() + _DEADLINE_S
        while not (value := holds()):
            assert time.monotonic() < deadline, f'waited in vain: {what}'
            if self._failure is not None:
                raise self._failure
            for node in self._nodes:
                if node.done.done() and node.done.exception():
                    raise node.done.exception()
            time.sleep(0.01)
        return value

    def call(self, kind: type, name: str, request: Any) -> Any:
        """Call a service."""
        client = self.client.create_client(kind, name)
        assert client.wait_for_service(_DEADLINE_S)
        future = client.call_async(request)
        self.until(future.done, f'answer of {name}')
        return future.result()

    def close(self) -> None:
        """Stop everything."""
        # As in `adet.runner`, nothing is called any more when files are closed.
        self._executor.shutdown()
        self._thread.join()
        for node in self._nodes:
            node.stop()
        for node in [*self._nodes, self.client]:
            node.destroy_node()


@pytest.fixture
def ros(namespace: str) -> Iterator[Ros]:
    """See `Ros`."""
    made = Ros(namespace)
    yield made
    made.close()


@pytest.fixture(scope='module')
def module_ros() -> Iterator[Ros]:
    """See `Ros`; for tests that look at nodes and leave them as they are."""
    made = Ros(_new_namespace())
    yield made
    made.close()


@pytest.fixture
def robot(deployed: Any, new_images: Path, tmp_path: Path) -> Robot:
    """See `Robot`."""
    return Robot(deployed, new_images, tmp_path)


@pytest.fixture
def client(ros: Ros, robot: Robot) -> Iterator[Client]:
    """A server for that robot, and who sends it goals."""
    ros.start(RetrainServer, **robot.server_parameters)
    made = Client(ros)
    yield made
    ros.do(made.action.destroy)
