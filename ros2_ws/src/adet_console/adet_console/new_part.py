# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""A new part from the page: collect images of good ones, then let the robot learn them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from adet_console.collector import Collector
from adet_core.errors import ConfigError
from adet_core.image import Image
from adet_core.retraining import MODE_NEW

Event = dict[str, Any]


class Graph(Protocol):
    """What is needed of the running inspection; `adet_console.link.GraphLink` has it."""

    def find(self, key: str) -> Any:
        """A detector."""

    def collect(self, key: str, on: bool) -> None:
        """Whether the images of a detector are wanted."""

    async def retrain(self, key: str, mode: str, overrides: list[str], category: str = '') -> None:
        """Begin."""


class NewPart:
    """What the page asks for, and what it is told."""

    def __init__(self, graph: Graph, collector: Collector, tell: Callable[[Event], None]) -> None:
        """Collect nothing yet.

        Args:
            graph: The running inspection.
            collector: Stores images.
            tell: Told each event.
        """
        self._graph, self._collector, self._tell = graph, collector, tell

    def on_image(self, key: str, stamp: int, image: Image) -> None:
        """An image that a detector is shown; from any thread."""
        if state := self._collector.offer(key, stamp, image):
            self._tell({'type': 'collected', 'detector': key, **state})

    async def collect(self, body: dict[str, Any]) -> dict[str, Any]:
        """``begin`` with ``category`` and ``every``, ``one``, ``remove`` or ``end``.

        Raises:
            ConfigError: The detector or the action is unknown, or see `Collector`.
        """
        key, action = str(body['detector']), str(body['action'])
        self._graph.find(key)
        if action == 'begin':
            state = self._collector.begin(key, str(body['category']), int(body.get('every', 0)))
            self._graph.collect(key, on=True)
        elif action == 'one':
            state = self._collector.ask(key)
        elif action == 'remove':
            state = self._collector.remove_last(key)
        elif action == 'end':
            state = self._collector.end(key)
            self._graph.collect(key, on=False)
        else:
            msg = f'action is {action!r:.20}, expected begin, one, remove or end'
            raise ConfigError(msg)
        self._tell({'type': 'collected', 'detector': key, 'action': action, **state})
        return state

    async def learn(self, body: dict[str, Any]) -> dict[str, Any]:
        """Learn what was collected, as the category of that name; ``roi`` is what to inspect.

        Raises:
            ConfigError: No server answers, or a retraining is running.
        """
        roi = str(body.get('roi', ''))
        overrides = [f'roi={roi}'] if roi else []
        await self._graph.retrain(
            str(body['detector']), MODE_NEW, overrides, str(body['category'])
        )
        return {}
