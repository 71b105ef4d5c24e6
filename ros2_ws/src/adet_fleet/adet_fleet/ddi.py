# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""A client of Eclipse hawkBit's Direct Device Integration API (DDI), version 1.

https://eclipse.dev/hawkbit/apis/ddi_api/
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
import json
import re
import ssl
from typing import Any, IO
from urllib.error import HTTPError, URLError
from urllib.parse import quote, urlsplit
import urllib.request

from adet_core.bundle.decode import parse_json
from adet_core.errors import BundleError, ConfigError
from adet_core.storage import read_portions, Sink, StorageError

_LARGEST_JSON = 1 << 22
_TIMEOUT_S = 30.0
_SLEEP = re.compile(r'(\d{1,4}):(\d\d):(\d\d)')
_LONGEST_DETAIL = 512


@dataclass(frozen=True)
class Poll:
    """What the server wants.

    Attributes:
        sleep_s: Seconds until the next poll; None: it does not say.
        deployment: Address of a deployment; empty: none.
        cancel: Address of a cancellation; empty: none.
        config_data: Address that wants to know what this robot is; empty: none.
    """

    sleep_s: float | None
    deployment: str
    cancel: str
    config_data: str


@dataclass(frozen=True)
class Deployment:
    """Software to install.

    Attributes:
        action_id: Of the action, for feedback.
        may_install: False while the server wants to wait, e.g. for a maintenance window.
        links: Address of each artifact by its file name.
    """

    action_id: str
    may_install: bool
    links: Mapping[str, str]


class DdiClient:
    """Talks to one server as one controller. Answers that make no sense are a StorageError."""

    def __init__(
        self,
        server: str,
        tenant: str,
        controller: str,
        authorization: str,
        *,
        context: ssl.SSLContext | None = None,
    ) -> None:
        """Only remember.

        Args:
            server: Its address, ``https://host:port``.
            tenant: Of the server, ``DEFAULT`` where there is but one.
            controller: Name of this robot there.
            authorization: What to send in that header, e.g. ``TargetToken x``; empty: nothing.
            context: To check an https server with; None: the system's certificates.

        Raises:
            ConfigError: The address is none.
        """
        parts = urlsplit(server)
        if parts.scheme not in {'http', 'https'} or not parts.hostname:
            msg = f'server is {server!r:.100}, expected https://HOST or https://HOST:PORT'
            raise ConfigError(msg)
        self._origin = (parts.scheme, parts.hostname, parts.port)
        self._base = (
            f'{server.rstrip("/")}/{quote(tenant, safe="")}/controller/v1/'
            f'{quote(controller, safe="")}'
        )
        self._authorization = authorization
        self._opener = urllib.request.build_opener(
            _NoRedirect, urllib.request.HTTPSHandler(context=context)
        )

    def poll(self) -> Poll:
        """Ask what there is to do."""
        values = self._json('GET', self._base)
        found = _SLEEP.fullmatch(str(_get(values, 'config', 'polling', 'sleep')))
        sleep_s = None
        if found:
            hours, minutes, seconds = map(int, found.groups())
            sleep_s = hours * 3600.0 + minutes * 60 + seconds
        links = {
            name: str(_get(values, '_links', name, 'href') or '')
            for name in ('deploymentBase', 'cancelAction', 'configData')
        }
        return Poll(sleep_s, links['deploymentBase'], links['cancelAction'], links['configData'])

    def deployment(self, address: str) -> Deployment:
        """Read a deployment."""
        values = self._json('GET', address)
        links: dict[str, str] = {}
        for chunk in _list(_get(values, 'deployment', 'chunks')):
            for artifact in _list(_get(chunk, 'artifacts')):
                link = _get(artifact, '_links', 'download', 'href') or _get(
                    artifact, '_links', 'download-http', 'href'
                )
                if link:
                    links[str(_get(artifact, 'filename'))] = str(link)
        may_install = 'skip' not in {
            _get(values, 'deployment', 'download'),
            _get(values, 'deployment', 'update'),
        }
        return Deployment(_id(values, address), may_install, links)

    def confirm_cancel(self, address: str) -> None:
        """Agree to a cancellation: what is installed stays, what is not is not begun."""
        action_id = _id(self._json('GET', address), address)
        self._feedback(f'cancelAction/{quote(action_id, safe="")}', action_id, 'closed', 'success')

    def feedback(
        self, action_id: str, execution: str, finished: str, details: Sequence[str] = ()
    ) -> None:
        """Report on a deployment.

        Args:
            action_id: Of the deployment.
            execution: ``proceeding`` or ``closed``.
            finished: ``none``, ``success`` or ``failure``.
            details: Lines for people.
        """
        place = f'deploymentBase/{quote(action_id, safe="")}'
        self._feedback(place, action_id, execution, finished, details)

    def tell_config_data(self, address: str, data: Mapping[str, str]) -> None:
        """Say what this robot is."""
        self._json('PUT', address, {'mode': 'merge', 'data': dict(data)})

    def download(self, address: str, sink: Sink, limit: int) -> None:
        """Read an artifact in portions.

        Raises:
            BundleError: It is longer than ``limit`` bytes.
            StorageError: It cannot be read.
        """
        with self._open('GET', address, None, 'application/octet-stream') as file:
            try:
                read_portions(file, sink, limit, address)
            except OSError as error:
                msg = f'{address}: {error}'
                raise StorageError(msg) from None

    def _feedback(
        self,
        place: str,
        action_id: str,
        execution: str,
        finished: str,
        details: Sequence[str] = (),
    ) -> None:
        status = {
            'execution': execution,
            'result': {'finished': finished},
            'details': [line[:_LONGEST_DETAIL] for line in details],
        }
        self._json('POST', f'{self._base}/{place}/feedback', {'id': action_id, 'status': status})

    def _json(self, method: str, address: str, body: Any = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        with self._open(method, address, data, 'application/hal+json, application/json') as file:
            try:
                text = file.read(_LARGEST_JSON)
                return parse_json(text) if text else {}
            except (OSError, ValueError) as error:
                msg = f'{address}: {error}'
                raise StorageError(msg) from None

    def _open(self, method: str, address: str, data: bytes | None, accept: str) -> IO[bytes]:
        headers = {'Accept': accept}
        if data is not None:
            headers['Content-Type'] = 'application/json'
        parts = urlsplit(address)
        if parts.scheme not in {'http', 'https'}:
            msg = f'{address!r:.100}: the server names an address that is not http or https'
            raise StorageError(msg)
        # An artifact may lie with somebody else, who is not to learn the token.
        if self._authorization and (parts.scheme, parts.hostname, parts.port) == self._origin:
            headers['Authorization'] = self._authorization
        request = urllib.request.Request(address, data, headers, method=method)  # noqa: S310
        try:
            opened: IO[bytes] = self._opener.open(request, timeout=_TIMEOUT_S)
        except HTTPError as error:
            error.close()
            msg = f'{address}: answers {error.code} {error.reason}'
            raise StorageError(msg) from None
        except (URLError, OSError) as error:
            msg = f'{address}: {getattr(error, "reason", error)}'
            raise StorageError(msg) from None
        return opened


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Redirects would take the token along."""

    def redirect_request(self, *_: Any) -> None:
        """Follow none: the answer is an error."""


class ArtifactSource:
    """The artifacts of a deployment as the files of a release."""

    def __init__(self, client: DdiClient, deployment: Deployment) -> None:
        """Files are found by the last part of their names."""
        self._client, self._deployment = client, deployment

    def read(self, name: str, sink: Sink, limit: int) -> None:
        """See `adet_core.storage.Source`."""
        plain = name.rpartition('/')[2]
        if plain not in self._deployment.links:
            msg = f'the deployment has no artifact {plain}; upload every file of adet publish'
            raise BundleError(msg)
        self._client.download(self._deployment.links[plain], sink, limit)


def _id(values: Any, address: str) -> str:
    found = _get(values, 'id')
    if not isinstance(found, str | int) or not str(found):
        msg = f'{address}: names no id of an action'
        raise StorageError(msg)
    return str(found)


def _get(values: Any, *names: str) -> Any:
    """A field far down; None where there is none."""
    for name in names:
        values = values.get(name) if isinstance(values, dict) else None
    return values


def _list(values: Any) -> list[Any]:
    return values if isinstance(values, list) else []
