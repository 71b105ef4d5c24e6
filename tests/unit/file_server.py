# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""A server that takes files by PUT, and gives them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
import http.server
from pathlib import Path
import ssl
import threading
from typing import Any


@contextmanager
def serve(folder: Path, context: ssl.SSLContext | None = None) -> Iterator[str]:
    """Serve a folder on this machine; gives the address of ``bundles`` in it.

    Args:
        folder: Made if need be.
        context: Of https; None: http.
    """

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *words: Any) -> None:
            super().__init__(*words, directory=str(folder))

        def do_PUT(self) -> None:
            path = Path(self.translate_path(self.path))
            path.parent.mkdir(parents=True, exist_ok=True)
            if self.headers.get('Transfer-Encoding') == 'chunked':
                data = b''
                while size := int(self.rfile.readline(), 16):
                    data += self.rfile.read(size)
                    self.rfile.readline()
                self.rfile.readline()
            else:
                data = self.rfile.read(int(self.headers['Content-Length']))
            path.write_bytes(data)
            self.send_response(201)
            self.send_header('Content-Length', '0')
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    folder.mkdir(exist_ok=True)
    server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Handler)
    # A client that refuses the certificate is no news.
    server.handle_error = lambda *_: None  # type: ignore[method-assign]
    kind = 'http'
    if context:
        kind = 'https'
        server.socket = context.wrap_socket(
            server.socket, server_side=True, do_handshake_on_connect=False
        )
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield f'{kind}://127.0.0.1:{server.server_port}/bundles'
    server.shutdown()
    server.server_close()
