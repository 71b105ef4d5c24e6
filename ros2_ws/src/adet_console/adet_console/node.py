# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""``console``: the node and its web server in one process."""

from __future__ import annotations

import asyncio
import signal
import sys

from aiohttp import web

from adet import runner
from adet_console.collector import Collector
from adet_console.frames import FrameStore
from adet_console.link import GraphLink
from adet_console.security import Guard, read_passwords
from adet_console.server import Console
from adet_core.errors import ConfigError
from adet_core.paths import user_path

_AUDIT = 'console_audit.jsonl'


def make_console(link: GraphLink) -> Console:
    """The server for a node, by the node's parameters.

    Raises:
        ConfigError: A path cannot be used, or the passwords cannot be read, or are needed and
            missing.
    """
    options = link.options
    file = options.password_file
    guard = Guard(
        options.host,
        read_passwords(user_path(file, 'password_file')) if file else {},
        options.allowed_hosts,
    )
    data_root = user_path(options.data_root, 'data_root')
    console = Console(
        link,
        guard,
        audit=user_path(options.output_dir, 'output_dir') / _AUDIT,
        store=FrameStore(data_root),
        collector=Collector(data_root),
    )
    link.on_event, link.on_frame = console.on_event, console.on_frame
    link.on_image = console.new_part.on_image
    return console


async def serve(link: GraphLink) -> None:
    """Serve until the process is told to stop.

    Raises:
        ConfigError: The address cannot be bound to, or see `make_console`.
        Exception: What the node failed with.
    """
    console = make_console(link)
    options = link.options
    running = web.AppRunner(console.app, access_log=None)
    await running.setup()
    try:
        site = web.TCPSite(running, options.host, options.port, shutdown_timeout=2.0)
        try:
            await site.start()
        except OSError as error:
            msg = f'cannot bind to {options.host} port {options.port}: {error.strerror}'
            raise ConfigError(msg) from None
        link.start()
        link.get_logger().info(f'the console is at {site.name}')
        stopped = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stopped.set)
        # A page that hears nothing any more is worse than none: who started it starts it again.
        link.done.add_done_callback(lambda _: loop.call_soon_threadsafe(stopped.set))
        await stopped.wait()
        if link.done.done():
            link.done.result()
    finally:
        await running.cleanup()


def main() -> int:
    """Run the node; 0 when it was told to stop, 1 after an error."""
    return runner.guarded(_serve_until_told)


def _serve_until_told() -> None:
    link = GraphLink()
    try:
        asyncio.run(serve(link))
    finally:
        link.stop()


if __name__ == '__main__':
    sys.exit(main())
