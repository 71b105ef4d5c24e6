# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""``result_forwarder``: wakes the outputs when a row was recorded, and reports their health."""

from __future__ import annotations

import sys
from typing import Any

from adet_interfaces.msg import Recorded

from adet import qos, runner
from adet.diagnostics import Diagnostics, Health
from adet.node import AdetNode
from adet_core.paths import user_path
from adet_forwarder.channel import result_files
from adet_forwarder.forwarder import Forwarder
from adet_forwarder.options import ForwarderOptions
from adet_forwarder.settings import read_settings


class ResultForwarder(AdetNode):
    """Forwards the rows of the result files that a ``csv_recorder`` writes."""

    def __init__(self, **options: Any) -> None:
        """Read the settings and begin to forward.

        Raises:
            AdetError: A parameter or setting is wrong, or a library is missing.
            OSError: The queue cannot be written.
        """
        super().__init__('result_forwarder', **options)
        values = self.declare(ForwarderOptions)
        output_dir = user_path(values.output_dir, 'output_dir')
        queue_dir = user_path(values.queue_dir, 'queue_dir') if values.queue_dir else None
        self._forwarder = Forwarder(
            read_settings(user_path(values.config, 'config')),
            result_files(output_dir, values.models),
            queue_dir or output_dir / 'forwarder',
        )
        self._recorded = self.create_subscription(
            Recorded, 'recorded', lambda _: self._forwarder.wake(), qos.every_frame()
        )
        self._diagnostics = Diagnostics(self, 'forwarding', self._health, str(output_dir))
        self._forwarder.start()

    def stop(self) -> None:
        """End the outputs."""
        self._forwarder.stop()

    def _health(self) -> Health:
        problems, values = [], {}
        for channel in self._forwarder.channels:
            if channel.error is not None:
                self.fail(channel.error)
            status = channel.status()
            if status.failure:
                problems.append(f'{channel.name}: {status.failure}')
            if status.is_full:
                problems.append(f'{channel.name}: its queue is full, rows wait in the files')
            values[f'{channel.name}_queued'] = status.queued
            values[f'{channel.name}_delivered'] = status.delivered
        return Health('; '.join(problems), values)


def main() -> int:
    """Run the node."""
    return runner.main(ResultForwarder)


if __name__ == '__main__':
    sys.exit(main())
