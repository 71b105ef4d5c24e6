# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""``fleet_agent``: a robot's side of hawkBit, beside a running inspection."""

from __future__ import annotations

import socket
import sys
from typing import Any

from rclpy.callback_groups import ReentrantCallbackGroup

from adet import runner
from adet.diagnostics import Diagnostics, Health
from adet.loading import load_into_detector
from adet.node import WorkerNode
from adet_core import __version__
from adet_core.bundle import Bundle
from adet_core.credentials import read_secret, tls_context
from adet_core.errors import RejectedError
from adet_core.paths import user_path
from adet_fleet.agent import Agent
from adet_fleet.ddi import DdiClient
from adet_fleet.install import Robot
from adet_fleet.keys import TrustedKeys
from adet_fleet.options import FleetOptions


class FleetAgent(WorkerNode):
    """Polls a hawkBit server, and takes what it rolls out if it is signed and works here."""

    def __init__(self, **options: Any) -> None:
        """Read key and token, and begin to poll.

        Raises:
            ConfigError: A parameter is wrong, or a file cannot be used.
        """
        super().__init__('fleet_agent', **options)
        values = self.declare(FleetOptions)
        self._group = ReentrantCallbackGroup()
        token = (
            read_secret(user_path(values.token_file, 'token_file')) if values.token_file else ''
        )
        client = DdiClient(
            values.server,
            values.tenant,
            values.controller_id or socket.gethostname(),
            f'{values.token_kind} {token}' if token else '',
            context=tls_context(values.ca_file),
        )
        self._agent = Agent(
            client,
            Robot(user_path(values.models_root, 'models_root')),
            TrustedKeys(user_path(values.key, 'key')),
            load=self._load,
            config_data={'adet': __version__, 'host': socket.gethostname()},
        )
        self._diagnostics = Diagnostics(self, 'updates', self._health, values.server)
        self.start(self._poll)

    def _poll(self) -> None:
        while not self.stopping:
            wait_s = self._agent.step()
            with self.changed:
                self.changed.wait_for(lambda: self.stopping, wait_s)

    def _load(self, bundle: Bundle) -> str:
        message, refusal = load_into_detector(
            self,
            bundle.manifest.model,
            bundle.folder,
            group=self._group,
            is_stopping=lambda: self.stopping,
        )
        if refusal:
            raise RejectedError(refusal)
        return message

    def _health(self) -> Health:
        return Health(self._agent.failure, {'last': self._agent.message})


def main() -> int:
    """Run the node."""
    return runner.main(FleetAgent)


if __name__ == '__main__':
    sys.exit(main())
