# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""The file of settings, ``forward.yaml``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
import re
import socket
from typing import Annotated
from urllib.parse import urlsplit

import yaml

from adet_core.bundle.decode import decode
from adet_core.errors import ConfigError
from adet_core.folder import open_regular

_LARGEST = 1 << 16
# Levels of MQTT topics and parts of OPC UA ids are made of it.
_NAME = re.compile(r'[^/+#\x00-\x1f]{1,64}')


def _check_name(text: str) -> str:
    if not _NAME.fullmatch(text):
        msg = f'{text!r:.80} is not a name of 1 to 64 characters without / + #'
        raise ValueError(msg)
    return text


def _check_url(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in {'http', 'https'} or not parts.hostname:
        msg = f'{text!r:.80} is not http://... or https://...'
        raise ValueError(msg)
    return text


def _check_port(number: int) -> int:
    if not 0 < number < 1 << 16:
        msg = f'{number} is not a port: 1 to 65535'
        raise ValueError(msg)
    return number


def _check_positive(number: float) -> float:
    if number <= 0:
        msg = f'{number} is not positive'
        raise ValueError(msg)
    return number


def _check_rows(number: int) -> int:
    if number < 1:
        msg = f'{number} is less than 1'
        raise ValueError(msg)
    return number


Port = Annotated[int, _check_port]
Count = Annotated[int, _check_rows]
Url = Annotated[str, _check_url]
Seconds = Annotated[float, _check_positive]


@dataclass(frozen=True, kw_only=True)
class MqttSettings:
    """A broker of MQTT 5.

    Attributes:
        host: Its name or address.
        port: Its port; 8883 is usual with TLS.
        topic: Topic of the rows; ``{robot}`` and ``{model}`` stand for their names.
        status_topic: Topic that retains ``online`` or ``offline``; empty: none.
        client_id: Name of the connection; no two clients of a broker may share one.
        username: To log in with; empty: none.
        password_file: File whose first line is the password.
        tls: Whether to encrypt, and check the broker's certificate.
        ca_file: Certificates to check it with; empty: those of the system.
        certificate_file: Certificate of this machine, where the broker asks for one.
        key_file: Its key.
        timeout_s: Seconds to wait for the broker.
    """

    host: str
    port: Port = 1883
    topic: str = 'adet/{robot}/{model}/result'
    status_topic: str = 'adet/{robot}/status'
    client_id: str = 'adet-{robot}'
    username: str = ''
    password_file: str = ''
    tls: bool = False
    ca_file: str = ''
    certificate_file: str = ''
    key_file: str = ''
    timeout_s: Seconds = 10.0


@dataclass(frozen=True, kw_only=True)
class WebhookSettings:
    """A receiver of HTTP requests: one POST for a row.

    Attributes:
        url: Where to send.
        token_file: File whose first line is sent as ``Authorization: Bearer``; empty: none.
        ca_file: Certificates to check the receiver with; empty: those of the system.
        timeout_s: Seconds to wait for an answer.
    """

    url: Url
    token_file: str = ''
    ca_file: str = ''
    timeout_s: Seconds = 10.0


@dataclass(frozen=True, kw_only=True)
class OpcUaSettings:
    """A server of OPC UA, to be read without a login.

    Attributes:
        host: Address to bind to; 0.0.0.0 for all.
        port: Its port.
    """

    host: str = '127.0.0.1'
    port: Port = 4840


@dataclass(frozen=True, kw_only=True)
class UploadSettings:
    """A folder elsewhere, for results and marked images.

    Attributes:
        to: Its address, as fsspec writes it: a path, ``s3://``, ``https://`` (by PUT) or another.
        rows: Rows in one file.
        longest_s: Seconds after which fewer rows are sent.
        images: Folder whose marked images are sent, the detectors' ``data_root``; empty: none.
    """

    to: str
    rows: Count = 1000
    longest_s: Seconds = 300.0
    images: str = ''


@dataclass(frozen=True, kw_only=True)
class ForwardSettings:
    """The whole file.

    Attributes:
        robot: Name of this machine; empty: its host name.
        queue_rows: Rows that each output keeps on the disk while it cannot be reached; further
            ones wait in the result file.
        longest_wait_s: Longest pause between two attempts, in seconds.
        mqtt: See `MqttSettings`.
        webhook: See `WebhookSettings`.
        opcua: See `OpcUaSettings`.
        upload: See `UploadSettings`.
    """

    robot: str = ''
    queue_rows: Count = 100_000
    longest_wait_s: Seconds = 60.0
    mqtt: MqttSettings | None = None
    webhook: WebhookSettings | None = None
    opcua: OpcUaSettings | None = None
    upload: UploadSettings | None = None

    @property
    def name(self) -> str:
        """The name of this machine."""
        return self.robot or re.sub(r'[/+#]', '_', socket.gethostname())


def read_settings(path: Path) -> ForwardSettings:
    """Read the file.

    Raises:
        ConfigError: It cannot be read, a value in it cannot be used, or it has no output.
    """
    try:
        with open_regular(path) as file:
            values = yaml.safe_load(file.read(_LARGEST))
        settings = decode(ForwardSettings, {} if values is None else values)
        if settings.robot:
            _check_name(settings.robot)
    except OSError as error:
        msg = f'{path}: {error.strerror}; copy config/forward.yaml of adet_forwarder'
        raise ConfigError(msg) from None
    except (ValueError, yaml.YAMLError) as error:
        msg = f'{path}: {" ".join(str(error).split())}'
        raise ConfigError(msg) from None
    if not (settings.mqtt or settings.webhook or settings.opcua or settings.upload):
        msg = f'{path}: has no output; write one of mqtt, webhook, opcua, upload'
        raise ConfigError(msg)
    return settings
