# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""All outputs of a file of settings."""

from __future__ import annotations

from collections.abc import Callable, Mapping
import fcntl
import os
from pathlib import Path

from adet_core.errors import ConfigError
from adet_forwarder.channel import Channel
from adet_forwarder.outputs.mqtt import MqttOutput
from adet_forwarder.outputs.opcua import OpcUaOutput
from adet_forwarder.outputs.output import Output
from adet_forwarder.outputs.upload import UploadOutput
from adet_forwarder.outputs.webhook import WebhookOutput
from adet_forwarder.row_queue import RowQueue
from adet_forwarder.settings import ForwardSettings


class Forwarder:
    """Delivers result files to every configured output, each in its own thread.

    Attributes:
        channels: One for each output.
    """

    def __init__(
        self, settings: ForwardSettings, files: Mapping[str, Path], queue_dir: Path
    ) -> None:
        """Open the queues and connect what can be connected.

        Args:
            settings: What `read_settings` gave.
            files: Result file of each model.
            queue_dir: Folder of the queues, for one forwarder at a time.

        Raises:
            AdetError: A library is missing, or a file cannot be used.
            OSError: The folder cannot be written.
        """
        self.channels: list[Channel] = []
        queue_dir.mkdir(parents=True, exist_ok=True)
        self._lock = _lock(queue_dir)
        robot, models = settings.name, list(files)
        mqtt, webhook, opcua = settings.mqtt, settings.webhook, settings.opcua
        upload = settings.upload
        makers: dict[str, Callable[[RowQueue], Output]] = {}
        if mqtt:
            makers['mqtt'] = lambda _: MqttOutput(mqtt, robot)
        if webhook:
            makers['webhook'] = lambda _: WebhookOutput(webhook)
        if opcua:
            makers['opcua'] = lambda queue: OpcUaOutput(opcua, robot, models, queue.counters)
        if upload:
            done = queue_dir / 'images.sqlite'
            makers['upload'] = lambda _: UploadOutput(upload, robot, done)
        try:
            for name, make in makers.items():
                queue = RowQueue(queue_dir / f'{name}.sqlite', settings.queue_rows, robot)
                self.channels.append(
                    Channel(
                        name, make(queue), queue, files, longest_wait_s=settings.longest_wait_s
                    )
                )
        except BaseException:
            self.stop()
            raise

    def start(self) -> None:
        """Begin."""
        for channel in self.channels:
            channel.start()

    def wake(self) -> None:
        """Say that there may be new rows."""
        for channel in self.channels:
            channel.wake()

    def stop(self) -> None:
        """End; what is not delivered stays in the queues."""
        for channel in self.channels:
            channel.stop()
        os.close(self._lock)


def _lock(folder: Path) -> int:
    """Keep a second forwarder out; the lock goes with the process."""
    descriptor = os.open(folder / '.lock', os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        msg = f'{folder}: another result_forwarder uses it; give this one another queue_dir'
        raise ConfigError(msg) from None
    return descriptor
