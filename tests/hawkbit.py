# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""A server that follows the documented contract of hawkBit's DDI, for the tests of its agent."""

from __future__ import annotations

import http.server
import json
import ssl
import threading
from typing import Any

_BASE = '/DEFAULT/controller/v1/robot%207'
TOKEN = 'TargetToken secret'


class HawkBit:
    """One target with at most one action, which stays open until it is closed by feedback."""

    def __init__(self, context: ssl.SSLContext | None = None) -> None:
        """Start; with a context it speaks https."""
        self.artifacts: dict[str, bytes] = {}
        self.action = ''
        self.update = 'forced'
        self.cancelling = False
        self.attributes: dict[str, str] = {}
        self.feedback: list[tuple[str, str, str]] = []
        self.details: list[str] = []
        # Which request from now on is answered with 503; 0: none.
        self.failing = 0
        # Where artifacts lie; empty: here.
        self.elsewhere = ''
        self.strangers: list[str | None] = []
        hawkbit = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                hawkbit.answer(self, None)

            def do_PUT(self) -> None:
                hawkbit.answer(self, self.rfile.read(int(self.headers['Content-Length'])))

            def do_POST(self) -> None:
                hawkbit.answer(self, self.rfile.read(int(self.headers['Content-Length'])))

            def log_message(self, *_: object) -> None: ...

        self._server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Handler)
        self.url = f'{"https" if context else "http"}://127.0.0.1:{self._server.server_port}'
        if context:
            self._server.socket = context.wrap_socket(
                self._server.socket, server_side=True, do_handshake_on_connect=False
            )
            # A client that refuses the certificate is no news.
            self._server.handle_error = lambda *_: None  # type: ignore[method-assign]
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def answer(self, request: Any, body: bytes | None) -> None:
        path = request.path.partition('?')[0]
        token = request.headers['Authorization']
        if path.startswith('/elsewhere/'):
            self.strangers.append(token)
        elif token != TOKEN:
            return self._send(request, 401, b'')
        self.failing -= self.failing > 0
        if self.failing == 1:
            return self._send(request, 503, b'')
        if '/artifacts/' in path or path.startswith('/elsewhere/'):
            return self._send(request, 200, self.artifacts[path.rpartition('/')[2]])
        values = self._json(request.command, path.removeprefix(_BASE), body)
        return self._send(request, 200, json.dumps(values).encode() if values else b'')

    def _send(self, request: Any, status: int, data: bytes) -> None:
        request.send_response(status)
        request.send_header('Content-Length', str(len(data)))
        request.end_headers()
        request.wfile.write(data)

    def _json(self, method: str, path: str, body: bytes | None) -> Any:
        action = f'/deploymentBase/{self.action}'
        if method == 'GET' and path == '':
            return self._base()
        if method == 'PUT' and path == '/configData':
            told = json.loads(body or b'')
            assert told['mode'] == 'merge'
            return self.attributes.update(told['data'])
        if method == 'GET' and path == action:
            return self._deployment()
        if method == 'GET' and path == '/cancelAction/c1':
            return {'id': 'c1', 'cancelAction': {'stopId': self.action}}
        assert method == 'POST'
        assert path in {f'{action}/feedback', '/cancelAction/c1/feedback'}
        told = json.loads(body or b'')
        status = told['status']
        assert told['id'] in path
        self.feedback.append((told['id'], status['execution'], status['result']['finished']))
        self.details += status['details']
        if status['execution'] == 'closed':
            self.action, self.cancelling = '', False
        return None

    def _base(self) -> dict[str, Any]:
        links = {}
        if not self.attributes:
            links['configData'] = {'href': f'{self.url}{_BASE}/configData'}
        if self.cancelling:
            links['cancelAction'] = {'href': f'{self.url}{_BASE}/cancelAction/c1'}
        elif self.action:
            href = f'{self.url}{_BASE}/deploymentBase/{self.action}?c=-2129030598'
            links['deploymentBase'] = {'href': href}
        return {'config': {'polling': {'sleep': '00:01:40'}}, '_links': links}

    def _deployment(self) -> dict[str, Any]:
        place = self.elsewhere or f'{self.url}{_BASE}/softwaremodules/1/artifacts'
        artifacts = [
            {
                'filename': name,
                'size': len(data),
                'hashes': {},
                '_links': {'download-http': {'href': f'{place}/{name}'}},
            }
            for name, data in self.artifacts.items()
        ]
        chunk = {'part': 'bApp', 'version': '1', 'name': 'plate', 'artifacts': artifacts}
        return {
            'id': self.action,
            'deployment': {'download': 'forced', 'update': self.update, 'chunks': [chunk]},
        }
