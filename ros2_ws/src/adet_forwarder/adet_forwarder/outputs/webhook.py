# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Rows to an HTTP receiver: one POST for each, over a connection that is kept."""

from __future__ import annotations

from collections.abc import Sequence
import http.client
from pathlib import Path
from urllib.parse import urlsplit

from adet_core.credentials import read_secret, tls_context
from adet_forwarder.message import Message
from adet_forwarder.outputs.output import OutputError
from adet_forwarder.settings import WebhookSettings

_LONGEST_ANSWER = 1 << 16


class WebhookOutput:
    """A receiver of POST requests; any status from 200 to 299 says that it has the row."""

    portion = 100

    def __init__(self, settings: WebhookSettings) -> None:
        """Check the settings.

        Raises:
            ConfigError: A file of the settings cannot be used.
        """
        self._settings = settings
        parts = urlsplit(settings.url)
        self._path = (parts.path or '/') + (f'?{parts.query}' if parts.query else '')
        self._headers = {'Content-Type': 'application/json'}
        if settings.token_file:
            self._headers['Authorization'] = f'Bearer {read_secret(Path(settings.token_file))}'
        host, timeout = parts.hostname or '', settings.timeout_s
        if parts.scheme == 'https':
            self._connection: http.client.HTTPConnection = http.client.HTTPSConnection(
                host, parts.port, timeout=timeout, context=tls_context(settings.ca_file)
            )
        else:
            self._connection = http.client.HTTPConnection(host, parts.port, timeout=timeout)

    def deliver(self, batch: Sequence[Message]) -> int:
        """See `Output`."""
        for count, message in enumerate(batch):
            try:
                self._post(message)
            except OutputError:
                if not count:
                    raise
                return count
        return len(batch)

    def tick(self) -> None:
        """Nothing."""

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def _post(self, message: Message) -> None:
        # A receiver may have closed a connection that was idle; a new one says how it is.
        was_open = self._connection.sock is not None
        try:
            try:
                answer = self._request(message)
            except (OSError, http.client.HTTPException):
                self._connection.close()
                if not was_open:
                    raise
                answer = self._request(message)
        except (OSError, http.client.HTTPException) as error:
            self._connection.close()
            msg = f'{self._settings.url}: {str(error) or type(error).__name__}'
            raise OutputError(msg) from None
        if not 200 <= answer.status < 300:
            told = answer.headers.get('Retry-After', '')
            msg = f'{self._settings.url}: answers {answer.status} {answer.reason}'
            raise OutputError(msg, float(told) if told.isdecimal() else 0.0)

    def _request(self, message: Message) -> http.client.HTTPResponse:
        headers = {**self._headers, 'Idempotency-Key': message.row_id}
        self._connection.request('POST', self._path, message.text.encode(), headers)
        answer = self._connection.getresponse()
        answer.read(_LONGEST_ANSWER)
        if not answer.isclosed():
            # The rest of a long answer would be taken for the next one.
            self._connection.close()
        return answer
