# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""The web page's server: static files, a small HTTP interface, and one WebSocket per viewer.

Every request is checked for its host; every one that changes something also for its origin and
role. No path of a request is opened: static files are a fixed list, images go by number.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import datetime, timezone
from importlib.resources import files
import json
import math
from pathlib import Path
from typing import Any, Protocol

from aiohttp import BasicAuth, web, WSMsgType

from adet_console.collector import Collector
from adet_console.frames import Frame, FrameStore, pack, width_for
from adet_console.history import History
from adet_console.known import known_of_bundle
from adet_console.metrics import exposition
from adet_console.new_part import NewPart
from adet_console.security import Guard, ROLES, Session
from adet_core.errors import AdetError, ImageError

_COOKIE = 'adet_session'
_KEY_GUARD = web.AppKey('guard', Guard)
_VIEWERS = 64
_MESSAGE_BYTES = 4096
_BODY_BYTES = 16 << 10
_NOTE = 500
_EVENTS = 256
_STATIC = {
    '.html': 'text/html',
    '.css': 'text/css',
    '.js': 'text/javascript',
    '.json': 'application/json',
    '.svg': 'image/svg+xml',
}
_HEADERS = {
    'Content-Security-Policy': (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
        "img-src 'self' blob: data:; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    ),
    'X-Content-Type-Options': 'nosniff',
    'Referrer-Policy': 'no-referrer',
    'Cross-Origin-Opener-Policy': 'same-origin',
    'Cross-Origin-Resource-Policy': 'same-origin',
    'Cache-Control': 'no-store',
}
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Graph(Protocol):
    """What the server needs of the running inspection; `adet_console.link.GraphLink` has it."""

    detectors: dict[str, Any]

    def overview(self) -> list[dict[str, Any]]:
        """Every detector."""

    def health(self) -> list[dict[str, Any]]:
        """Every node."""

    def find(self, key: str) -> Any:
        """A detector with its ``history``."""

    def bundle_of(self, key: str) -> tuple[str, str]:
        """Folder and id of its bundle."""

    def watch(self, key: str, change: int) -> None:
        """Count viewers."""

    async def set_threshold(self, key: str, value: float) -> float:
        """Set it; returns the one before."""

    async def set_category(self, key: str, category: str) -> str:
        """Inspect for it; returns the one before."""

    async def mark(self, key: str, stamp: int, verdict: str, note: str) -> str:
        """Mark an image."""

    async def retrain(self, key: str, mode: str, overrides: list[str], category: str = '') -> None:
        """Begin."""

    def collect(self, key: str, on: bool) -> None:
        """Whether the images of a detector are wanted."""

    async def cancel(self, key: str) -> None:
        """Cancel."""


class Viewer:
    """One open page.

    Attributes:
        detector: Key of the detector whose images it shows; empty: none.
        width: Of its image, in pixels of the screen.
    """

    def __init__(self) -> None:
        """Show nothing yet."""
        self.detector, self.width = '', 960
        self._events: asyncio.Queue[str] = asyncio.Queue(_EVENTS)
        self._frame: Frame | None = None
        self._changed = asyncio.Event()

    def tell(self, text: str) -> bool:
        """Queue an event; False where the viewer is too slow for events, too."""
        try:
            self._events.put_nowait(text)
        except asyncio.QueueFull:
            return False
        self._changed.set()
        return True

    def show(self, frame: Frame) -> None:
        """Offer the newest frame in place of one that was not sent yet."""
        self._frame = frame
        self._changed.set()

    async def next(self) -> tuple[list[str], Frame | None]:
        """Wait for something to send: events in order, and the newest frame."""
        await self._changed.wait()
        self._changed.clear()
        events = [self._events.get_nowait() for _ in range(self._events.qsize())]
        frame, self._frame = self._frame, None
        return events, frame


class Console:
    """The application and those who watch it.

    Attributes:
        app: The application.
        new_part: Collects images of new parts.
    """

    def __init__(
        self,
        graph: Graph,
        guard: Guard,
        *,
        audit: Path,
        store: FrameStore,
        collector: Collector,
        details: dict[str, Any] | None = None,
    ) -> None:
        """Build the routes.

        Args:
            graph: The running inspection.
            guard: Who may do what.
            audit: File that every change is noted in.
            store: Images of the history.
            collector: Images of new parts.
            details: What else the page is told.
        """
        self._graph, self._guard, self._audit, self._store = graph, guard, audit, store
        self.new_part = NewPart(graph, collector, self.on_event)
        self._details = details or {}
        self._viewers: set[Viewer] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._packed: tuple[Frame, int, bytes] | None = None
        self._packing = asyncio.Lock()
        self.app = web.Application(middlewares=[self._check], client_max_size=_BODY_BYTES)
        self.app[_KEY_GUARD] = guard
        self.app.on_startup.append(self._remember_loop)
        self._add_routes()

    # ---- called by the graph, from any thread

    def on_event(self, event: dict[str, Any]) -> None:
        """Tell every viewer."""
        text = json.dumps(event, allow_nan=False, default=str)
        self._soon(self._tell_all, text)

    def on_frame(self, key: str, frame: Frame) -> None:
        """Offer a frame to those who watch its detector."""
        self._soon(self._show, key, frame)

    def _soon(self, call: Callable[..., None], *arguments: Any) -> None:
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(call, *arguments)

    def _tell_all(self, text: str) -> None:
        for viewer in list(self._viewers):
            if not viewer.tell(text):
                # It gets everything anew when it comes back.
                self._viewers.discard(viewer)

    def _show(self, key: str, frame: Frame) -> None:
        for viewer in self._viewers:
            if viewer.detector == key:
                viewer.show(frame)
        if self._loop is not None:
            self._loop.run_in_executor(None, self._store.add, key, frame)

    async def _remember_loop(self, _: web.Application) -> None:
        self._loop = asyncio.get_running_loop()

    # ---- checks

    @web.middleware
    async def _check(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if not self._guard.allows_host(request.headers.get('Host', '')):
            raise web.HTTPMisdirectedRequest(text='this is not the name of this machine')
        upgrade = request.headers.get('Upgrade', '').lower() == 'websocket'
        if request.method not in {'GET', 'HEAD'} or upgrade:
            origin = request.headers.get('Origin')
            if not self._guard.allows_origin(origin, request.headers['Host']):
                raise web.HTTPForbidden(text='the request comes from another page')
        try:
            response = await handler(request)
        except AdetError as error:
            response = web.json_response({'error': str(error)}, status=409)
        if not isinstance(response, web.WebSocketResponse):
            response.headers.update(_HEADERS)
        return response

    def _session(self, request: web.Request, role: str = 'viewer') -> Session:
        session = self._guard.session(request.cookies.get(_COOKIE))
        if session is None:
            raise web.HTTPUnauthorized(text='log in first')
        if ROLES.index(session.role) < ROLES.index(role):
            raise web.HTTPForbidden(text=f'only the {role} may do that')
        return session

    # ---- routes

    def _add_routes(self) -> None:
        router = self.app.router
        root = files('adet_console') / 'web'
        names = ['', 'vendor/', 'i18n/']
        for folder in names:
            for path in (root / folder if folder else root).iterdir():
                suffix = Path(path.name).suffix
                if suffix in _STATIC:
                    self._add_static(f'/{folder}{path.name}', path.read_bytes(), _STATIC[suffix])
        self._add_static('/', (root / 'index.html').read_bytes(), 'text/html')
        router.add_get('/api/state', self._state)
        router.add_get('/api/live', self._live)
        router.add_get('/api/frame', self._frame)
        router.add_get('/api/known', self._known)
        router.add_get('/metrics', self._metrics)
        router.add_post('/api/login', self._log_in)
        router.add_post('/api/logout', self._log_out)
        for name, action in (
            ('threshold', self._set_threshold),
            ('category', self._set_category),
            ('mark', self._mark),
            ('retrain', self._retrain),
            ('collect', self.new_part.collect),
            ('learn', self.new_part.learn),
            ('cancel', self._cancel),
            ('shift', self._begin_shift),
        ):
            router.add_post(f'/api/{name}', self._operator(name, action))

    def _add_static(self, route: str, data: bytes, kind: str) -> None:
        async def answer(_: web.Request) -> web.Response:
            return web.Response(body=data, content_type=kind, charset='utf-8')

        self.app.router.add_get(route, answer)

    def _operator(
        self, name: str, action: Callable[[dict[str, Any]], Awaitable[dict[str, Any]]]
    ) -> Handler:
        """A route for operators; what it changes goes into the audit log."""

        async def answer(request: web.Request) -> web.Response:
            session = self._session(request, 'operator')
            try:
                body = await request.json()
                result = await action(body)
            except (KeyError, TypeError, ValueError) as error:
                raise web.HTTPBadRequest(text=f'impossible request: {error!r:.200}') from None
            except AdetError as error:
                self._note(session, request, name, body, {'error': str(error)})
                raise
            self._note(session, request, name, body, result)
            return web.json_response(result)

        return answer

    def _note(
        self,
        session: Session,
        request: web.Request,
        name: str,
        body: dict[str, Any],
        result: dict[str, Any],
    ) -> None:
        entry = {
            'time': datetime.now(timezone.utc).isoformat(timespec='milliseconds'),
            'who': session.name,
            'role': session.role,
            'from': request.remote,
            'what': name,
            'request': body,
            'result': result,
        }
        self._audit.parent.mkdir(parents=True, exist_ok=True)
        with self._audit.open('a', encoding='utf-8') as file:
            file.write(json.dumps(entry, default=str) + '\n')

    async def _log_in(self, request: web.Request) -> web.Response:
        body = await request.json()
        password, name = str(body.get('password', '')), str(body.get('name', ''))[:64]
        try:
            # scrypt takes a tenth of a second, in which the others are served.
            token = await asyncio.to_thread(
                self._guard.log_in, password, name or 'unnamed', request.remote or ''
            )
        except PermissionError as error:
            raise web.HTTPTooManyRequests(text=str(error)) from None
        if token is None:
            raise web.HTTPUnauthorized(text='wrong password')
        response = web.json_response({'role': self._session_of(token).role})
        response.set_cookie(
            _COOKIE, token, httponly=True, samesite='Strict', secure=request.secure, path='/'
        )
        return response

    def _session_of(self, token: str) -> Session:
        session = self._guard.session(token)
        assert session is not None
        return session

    async def _log_out(self, request: web.Request) -> web.Response:
        self._guard.log_out(request.cookies.get(_COOKIE, ''))
        response = web.json_response({})
        response.del_cookie(_COOKIE)
        return response

    async def _state(self, request: web.Request) -> web.Response:
        session = self._session(request)
        key = request.query.get('detector', '')
        history: list[dict[str, Any]] = []
        if key:
            history = self._graph.find(key).history.to_json()
        return web.json_response(
            {
                'role': session.role,
                'open': self._guard.is_open,
                'detectors': self._graph.overview(),
                'nodes': self._graph.health(),
                'history': history,
                **self._details,
            }
        )

    async def _frame(self, request: web.Request) -> web.Response:
        self._session(request)
        try:
            stamp = int(request.query['stamp'])
        except (KeyError, ValueError):
            raise web.HTTPBadRequest(text='stamp is a whole number') from None
        key = request.query.get('detector', '')
        found = await asyncio.to_thread(self._store.get, key, stamp)
        if found is None:
            raise web.HTTPNotFound(text='this image was not kept')
        return web.Response(body=found, content_type='application/octet-stream')

    async def _known(self, request: web.Request) -> web.Response:
        self._session(request)
        bundle = self._graph.bundle_of(request.query.get('detector', ''))
        return web.json_response(await asyncio.to_thread(known_of_bundle, *bundle))

    async def _metrics(self, request: web.Request) -> web.Response:
        if 'Authorization' in request.headers:
            await self._check_basic(request)
        else:
            self._session(request)
        text, kind = exposition(list(self._graph.overview()), list(self._graph.health()))
        return web.Response(body=text, headers={'Content-Type': kind})

    async def _check_basic(self, request: web.Request) -> None:
        """Prometheus has no cookies: it sends a password with each request."""
        try:
            given = BasicAuth.decode(request.headers['Authorization'])
            role = await asyncio.to_thread(
                self._guard.role_of, given.password, request.remote or ''
            )
        except ValueError as error:
            raise web.HTTPBadRequest(text=str(error)) from None
        except PermissionError as error:
            raise web.HTTPTooManyRequests(text=str(error)) from None
        if role is None:
            raise web.HTTPUnauthorized(text='wrong password')

    # ---- what an operator does

    async def _set_threshold(self, body: dict[str, Any]) -> dict[str, Any]:
        value = float(body['value'])
        if not math.isfinite(value):
            msg = 'the threshold is a finite number'
            raise ValueError(msg)
        before = await self._graph.set_threshold(str(body['detector']), value)
        return {'before': before if math.isfinite(before) else None, 'value': value}

    async def _set_category(self, body: dict[str, Any]) -> dict[str, Any]:
        value = str(body['value'])
        before = await self._graph.set_category(str(body['detector']), value)
        return {'before': before, 'value': value}

    async def _mark(self, body: dict[str, Any]) -> dict[str, Any]:
        message = await self._graph.mark(
            str(body['detector']),
            int(body['stamp']),
            str(body['verdict']),
            str(body.get('note', ''))[:_NOTE],
        )
        return {'message': message}

    async def _retrain(self, body: dict[str, Any]) -> dict[str, Any]:
        overrides = [str(one) for one in body.get('overrides', [])]
        await self._graph.retrain(str(body['detector']), str(body.get('mode', '')), overrides)
        return {}

    async def _cancel(self, body: dict[str, Any]) -> dict[str, Any]:
        await self._graph.cancel(str(body['detector']))
        return {}

    async def _begin_shift(self, body: dict[str, Any]) -> dict[str, Any]:
        history: History = self._graph.find(str(body['detector'])).history
        ended = history.counters.to_json()
        history.begin_shift()
        self.on_event({'type': 'detectors', 'detectors': self._graph.overview()})
        return {'ended': ended}

    # ---- the live view

    async def _live(self, request: web.Request) -> web.WebSocketResponse:
        self._session(request)
        if len(self._viewers) >= _VIEWERS:
            raise web.HTTPServiceUnavailable(text=f'{_VIEWERS} pages are open already')
        socket = web.WebSocketResponse(heartbeat=20, max_msg_size=_MESSAGE_BYTES)
        await socket.prepare(request)
        viewer = Viewer()
        self._viewers.add(viewer)
        sender = asyncio.create_task(self._send(socket, viewer))
        try:
            async for message in socket:
                if message.type != WSMsgType.TEXT or not self._turn(viewer, message.data):
                    break
        finally:
            self._viewers.discard(viewer)
            sender.cancel()
            if viewer.detector:
                self._graph.watch(viewer.detector, -1)
        return socket

    def _turn(self, viewer: Viewer, text: str) -> bool:
        """What a page wants to see from now on; False where it makes no sense."""
        try:
            wish = json.loads(text)
            detector, width = str(wish['detector']), int(wish['width'])
        except (KeyError, TypeError, ValueError):
            return False
        viewer.width = width_for(width)
        if detector != viewer.detector:
            if viewer.detector:
                self._graph.watch(viewer.detector, -1)
            if detector:
                self._graph.watch(detector, 1)
            viewer.detector = detector
        return True

    async def _send(self, socket: web.WebSocketResponse, viewer: Viewer) -> None:
        try:
            while not socket.closed:
                events, frame = await viewer.next()
                for text in events:
                    await socket.send_str(text)
                if frame is not None:
                    # A damaged one is passed over: the next one comes soon.
                    with suppress(ImageError):
                        await socket.send_bytes(await self._pack(frame, viewer.width))
                if viewer not in self._viewers:
                    await socket.close()
        except (ConnectionError, asyncio.CancelledError):
            return

    async def _pack(self, frame: Frame, width: int) -> bytes:
        """Scale a frame once for all viewers of the same width."""
        async with self._packing:
            known = self._packed
            if known is None or known[0] is not frame or known[1] != width:
                known = (frame, width, await asyncio.to_thread(pack, frame, width))
                self._packed = known
            return known[2]
