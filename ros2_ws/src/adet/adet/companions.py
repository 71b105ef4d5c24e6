# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Processes beside an inspection, which end with it: the console and the retrain server."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
import json
import os
import signal
import subprocess
import sys
from typing import Any

from adet.environment import END_WITH_PARENT
from adet.launch_options import InspectOptions
from adet_core.errors import ConfigError

CONSOLE_PACKAGE = 'adet_console'
_END_S = 10.0


@dataclass(frozen=True)
class Companion:
    """A node in a process of its own.

    Attributes:
        module: Whose ``main`` runs the node.
        namespace: Where the node lives.
        parameters: Those that differ from their defaults.
    """

    module: str
    namespace: str
    parameters: dict[str, Any]

    @property
    def words(self) -> list[str]:
        """The command line."""
        code = f'import sys; from {self.module} import main; sys.exit(main())'
        # JSON is YAML, which is what ROS 2 reads there.
        parameters = [
            word
            for name, value in self.parameters.items()
            for word in ('-p', f'{name}:={json.dumps(value, ensure_ascii=False)}')
        ]
        remap = ['-r', f'__ns:={_absolute(self.namespace)}'] if self.namespace else []
        arguments = [*remap, *parameters]
        return [sys.executable, '-c', code, *(['--ros-args', *arguments] if arguments else [])]


def _absolute(namespace: str) -> str:
    return namespace if namespace.startswith('/') else f'/{namespace}'


def console_of(options: InspectOptions) -> Companion:
    """The console of an inspection.

    Raises:
        ConfigError: Its package is not installed.
    """
    if find_spec(CONSOLE_PACKAGE) is None:
        msg = f'console needs the package {CONSOLE_PACKAGE}: build ros2_ws with colcon, source it'
        raise ConfigError(msg)
    return Companion(f'{CONSOLE_PACKAGE}.node', options.namespace, console_parameters(options))


def console_parameters(options: InspectOptions) -> dict[str, Any]:
    """What the console has to know of an inspection."""
    return {'data_root': options.data_root, 'output_dir': options.output_dir}


def retrain_server_of(options: InspectOptions) -> Companion:
    """The server of retrainings for an inspection."""
    parameters = {
        'models_root': options.models_root,
        'data_root': options.data_root,
        'max_megapixels': options.max_megapixels,
    }
    return Companion('adet.nodes.retrain_server', options.namespace, parameters)


@contextmanager
def beside(
    companions: Sequence[Companion], *, stderr: int | None = None
) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Run processes for the length of the block; one that ends earlier is not started again.

    Args:
        companions: What they run.
        stderr: Their standard error, if it is not that of this process.
    """
    environment = {**os.environ, END_WITH_PARENT: str(os.getpid())}
    running: list[subprocess.Popen[bytes]] = []
    try:
        # In sessions of their own: Ctrl-C ends them when the inspection has ended.
        running.extend(
            subprocess.Popen(  # noqa: S603
                one.words, env=environment, start_new_session=True, stderr=stderr
            )
            for one in companions
        )
        yield running
    finally:
        for process in running:
            process.send_signal(signal.SIGINT)
        for process in running:
            _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    try:
        process.wait(_END_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
