# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Rows to a broker of MQTT 5, with quality of service 1: each is acknowledged by the broker."""

from __future__ import annotations

from collections.abc import Sequence
import contextlib
from pathlib import Path
import threading
import time
from typing import Any

from adet_core.credentials import read_secret
from adet_core.errors import ConfigError
from adet_forwarder.message import Message
from adet_forwarder.outputs.output import load, OutputError
from adet_forwarder.settings import MqttSettings

_QOS = 1
_FAILED = 0x80
_KEEP_ALIVE_S = 15


class MqttOutput:
    """A client of a broker. A connection that failed is thrown away with all it had in flight."""

    portion = 100

    def __init__(self, settings: MqttSettings, robot: str) -> None:
        """Check the settings; the broker is connected to when there is something to say.

        Raises:
            ConfigError: paho-mqtt is missing, or a file of the settings cannot be used.
        """
        self._mqtt = load('paho.mqtt.client', 'paho-mqtt', 'mqtt')
        if not hasattr(self._mqtt, 'CallbackAPIVersion'):
            msg = 'output mqtt needs paho-mqtt 2.0 or newer: pip install --upgrade paho-mqtt'
            raise ConfigError(msg)
        self._properties = load('paho.mqtt.properties', 'paho-mqtt', 'mqtt').Properties
        self._publish = load('paho.mqtt.packettypes', 'paho-mqtt', 'mqtt').PacketTypes.PUBLISH
        self._settings, self._robot = settings, robot
        self._broker = f'MQTT broker {settings.host}:{settings.port}'
        self._client: Any = None
        self._changed = threading.Condition()
        self._is_connected, self._failure = False, ''
        self._acknowledged: set[int] = set()
        # Wrong files are told at the start.
        self._make_client()

    def deliver(self, batch: Sequence[Message]) -> int:
        """See `Output`."""
        if self._client is not None and not self._is_connected:
            self._drop()
        if self._client is None:
            self._connect()
        with self._changed:
            self._acknowledged.clear()
        sent = [self._send(message) for message in batch]
        with self._changed:
            self._changed.wait_for(
                lambda: self._failure or self._acknowledged.issuperset(sent),
                self._settings.timeout_s,
            )
            arrived = next(
                (at for at, number in enumerate(sent) if number not in self._acknowledged),
                len(sent),
            )
            failure = self._failure or 'does not acknowledge'
        if arrived < len(sent):
            self._drop()
        if not arrived:
            msg = f'{self._broker}: {failure}'
            raise OutputError(msg)
        return arrived

    def tick(self) -> None:
        """Nothing: paho keeps the connection alive."""

    def close(self) -> None:
        """Say goodbye."""
        if self._client is not None:
            if self._is_connected and self._settings.status_topic:
                info = self._client.publish(
                    self._named(self._settings.status_topic), 'offline', qos=_QOS, retain=True
                )
                with contextlib.suppress(RuntimeError, ValueError):
                    info.wait_for_publish(1.0)
            self._drop()

    def _send(self, message: Message) -> int:
        properties = self._properties(self._publish)
        properties.ContentType = 'application/json'
        properties.PayloadFormatIndicator = 1
        topic = self._named(self._settings.topic, message.model)
        info = self._client.publish(topic, message.text, qos=_QOS, properties=properties)
        return int(info.mid)

    def _named(self, topic: str, model: str = '') -> str:
        return topic.replace('{robot}', self._robot).replace('{model}', model)

    def _make_client(self) -> Any:
        settings = self._settings
        client = self._mqtt.Client(
            self._mqtt.CallbackAPIVersion.VERSION2,
            client_id=self._named(settings.client_id),
            protocol=self._mqtt.MQTTv5,
            reconnect_on_failure=False,
        )
        client.connect_timeout = settings.timeout_s
        if settings.username:
            password = (
                read_secret(Path(settings.password_file)) if settings.password_file else None
            )
            client.username_pw_set(settings.username, password)
        if settings.tls:
            try:
                client.tls_set(
                    ca_certs=settings.ca_file or None,
                    certfile=settings.certificate_file or None,
                    keyfile=settings.key_file or None,
                )
            except (OSError, ValueError) as error:
                msg = f'{settings.ca_file or settings.certificate_file}: {error}'
                raise ConfigError(msg) from None
        if settings.status_topic:
            client.will_set(self._named(settings.status_topic), 'offline', qos=_QOS, retain=True)
        client.on_connect, client.on_disconnect = self._on_connect, self._on_disconnect
        client.on_publish = self._on_publish
        return client

    def _connect(self) -> None:
        self._is_connected, self._failure = False, ''
        client = self._make_client()
        try:
            client.connect(self._settings.host, self._settings.port, _KEEP_ALIVE_S)
        except (OSError, ValueError) as error:
            msg = f'{self._broker}: {error}'
            raise OutputError(msg) from None
        self._client = client
        client.loop_start()
        with self._changed:
            deadline = time.monotonic() + self._settings.timeout_s
            while not (self._is_connected or self._failure) and time.monotonic() < deadline:
                self._changed.wait(self._settings.timeout_s)
            is_connected, failure = self._is_connected, self._failure or 'does not answer'
        if not is_connected:
            self._drop()
            msg = f'{self._broker}: {failure}'
            raise OutputError(msg)
        if self._settings.status_topic:
            client.publish(
                self._named(self._settings.status_topic), 'online', qos=_QOS, retain=True
            )

    def _drop(self) -> None:
        client, self._client = self._client, None
        client.disconnect()
        client.loop_stop()

    # ---- called by paho's thread

    def _on_connect(self, _: Any, __: Any, ___: Any, reason: Any, ____: Any) -> None:
        with self._changed:
            if reason.is_failure:
                self._failure = f'refuses the connection: {reason}'
            else:
                self._is_connected = True
            self._changed.notify_all()

    def _on_disconnect(self, _: Any, __: Any, ___: Any, reason: Any, ____: Any) -> None:
        with self._changed:
            self._is_connected = False
            self._failure = self._failure or f'disconnected: {reason}'
            self._changed.notify_all()

    def _on_publish(self, _: Any, __: Any, number: int, reason: Any, ___: Any) -> None:
        with self._changed:
            if reason.value >= _FAILED:
                self._failure = f'refuses a message: {reason}'
            else:
                self._acknowledged.add(number)
            self._changed.notify_all()
