# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""A server of OPC UA: the last verdict of each model, counters, and a heartbeat."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
import contextlib
from datetime import datetime
import logging
import math
from typing import Any

from adet_core.errors import ConfigError
from adet_forwarder.message import Message
from adet_forwarder.outputs.output import load
from adet_forwarder.row_queue import COUNTERS
from adet_forwarder.settings import OpcUaSettings

URI = 'urn:adet'
# What a client reads of the last row, with the OPC UA type. `id` is written last: whoever waits
# for it to change finds the rest in place.
_VERDICT = {
    'time': 'DateTime',
    'stamp_ns': 'Int64',
    'source': 'String',
    'label': 'String',
    'frame_id': 'String',
    'bundle_id': 'String',
    'score': 'Double',
    'normalised_score': 'Double',
    'threshold': 'Double',
    'p_value': 'Double',
    'is_anomalous': 'Boolean',
    'is_uncertain': 'Boolean',
    'regions': 'String',
    'inference_ms': 'Double',
    'latency_ms': 'Double',
    'category': 'String',
    'error': 'String',
    'id': 'String',
}
_EMPTY: dict[str, Any] = {
    'DateTime': datetime(1970, 1, 1),  # noqa: DTZ001 - asyncua's are UTC without saying so
    'Int64': 0,
    'String': '',
    'Double': math.nan,
    'Boolean': False,
}


class OpcUaOutput:
    """Variables ``ns=2;s=<model>.<field>`` and ``ns=2;s=heartbeat``, which clients may read."""

    portion = 100

    def __init__(
        self,
        settings: OpcUaSettings,
        robot: str,
        models: Sequence[str],
        counters: Callable[[str], Mapping[str, int]],
    ) -> None:
        """Start the server.

        Args:
            settings: Where to listen.
            robot: Name of this machine.
            models: Whose verdicts it shows.
            counters: Gives how many rows of a model there were, ever.

        Raises:
            ConfigError: asyncua is missing, or the address cannot be bound to.
        """
        self._sync = load('asyncua.sync', 'asyncua', 'opcua')
        self._ua = load('asyncua.ua', 'asyncua', 'opcua')
        # It warns that nothing is encrypted, as the documentation does, and prints what it raises.
        logger = logging.getLogger('asyncua')
        logger.setLevel(logging.CRITICAL)
        self._counters = counters
        self._nodes: dict[str, Any] = {}
        self._beats = 0
        self._server = self._sync.Server()
        self._server.set_endpoint(f'opc.tcp://{settings.host}:{settings.port}/adet')
        self._server.set_server_name(f'adet {robot}')
        self._server.set_security_policy([self._ua.SecurityPolicyType.NoSecurity])
        self._space = self._server.register_namespace(URI)
        self._add(robot, models)
        try:
            self._server.start()
        except OSError as error:
            self._server.tloop.stop()
            msg = f'output opcua: cannot bind to {settings.host} port {settings.port}: '
            raise ConfigError(f'{msg}{error.strerror or error}') from None
        logger.setLevel(logging.ERROR)

    def deliver(self, batch: Sequence[Message]) -> int:
        """See `Output`; only the last row of each model is shown."""
        for model, message in {one.model: one for one in batch}.items():
            values = message.values()
            for name, kind in _VERDICT.items():
                self._write(f'{model}.{name}', kind, _value(values, name, kind))
            self._show_counters(model)
        return len(batch)

    def tick(self) -> None:
        """Beat."""
        self._beats = (self._beats + 1) & 0xFFFFFFFF
        self._write('heartbeat', 'UInt32', self._beats)

    def close(self) -> None:
        """Stop the server."""
        with contextlib.suppress(OSError):
            self._server.stop()

    def _add(self, robot: str, models: Sequence[str]) -> None:
        root = self._server.nodes.objects.add_object(self._id('adet'), f'{self._space}:adet')
        self._add_variable(root, 'robot', 'String', robot)
        self._add_variable(root, 'heartbeat', 'UInt32', 0)
        for model in models:
            folder = root.add_object(self._id(model), f'{self._space}:{model}')
            for name, kind in _VERDICT.items():
                self._add_variable(folder, f'{model}.{name}', kind, _EMPTY[kind])
            for name in COUNTERS:
                self._add_variable(folder, f'{model}.{name}', 'UInt64', 0)
            self._show_counters(model)

    def _add_variable(self, parent: Any, name: str, kind: str, value: Any) -> None:
        shown = name.rpartition('.')[2]
        self._nodes[name] = parent.add_variable(
            self._id(name), f'{self._space}:{shown}', value, getattr(self._ua.VariantType, kind)
        )

    def _show_counters(self, model: str) -> None:
        for name, count in self._counters(model).items():
            self._write(f'{model}.{name}', 'UInt64', count)

    def _write(self, name: str, kind: str, value: Any) -> None:
        self._nodes[name].write_value(value, getattr(self._ua.VariantType, kind))

    def _id(self, name: str) -> Any:
        return self._ua.NodeId(name, self._space)


def _value(values: Mapping[str, Any], name: str, kind: str) -> Any:
    """A field of a row as its type; what is empty there has a value that says so."""
    value = values[name]
    if name == 'regions':
        return ';'.join(
            f'{one["x"]} {one["y"]} {one["width"]} {one["height"]} {one["score"]:.9g}'
            for one in value
        )
    if value in (None, ''):
        return _EMPTY[kind]
    return datetime.fromisoformat(value).replace(tzinfo=None) if kind == 'DateTime' else value
