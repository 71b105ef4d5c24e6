# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""``csv_recorder``: one row per inspected image, in ``result_<model>.csv``."""

from __future__ import annotations

from pathlib import Path
import sys
import time
from typing import Any

from adet_interfaces.msg import AnomalyResult, ImageInfo, Recorded

from adet import qos, runner
from adet.conversions import to_nanoseconds, to_record
from adet.diagnostics import Diagnostics, Health
from adet.node import AdetNode
from adet.options import CsvRecorderOptions
from adet_core.io.stamp_join import StampJoin
from adet_core.models.names import model_folder
from adet_core.records import RecordWriter, results_path

# What belongs to one image arrives within this time, even after a restart on a busy machine.
_PATIENCE_S = 10.0
_KEPT_INFOS = 256


class CsvRecorder(AdetNode):
    """Joins verdicts with what is known of their images, and writes a row for each."""

    def __init__(self, **options: Any) -> None:
        """Open the files, repairing what a crash left, and begin to record.

        Raises:
            AdetError: A parameter is wrong, or a file there is not one of adet's.
            OSError: A file cannot be written.
        """
        super().__init__('csv_recorder', **options)
        values = self.declare(CsvRecorderOptions)
        models = [name.strip() for name in values.models.split(',')]
        self._expect_info = values.expect_info
        self._measure_latency = values.measure_latency
        folder = Path(values.output_dir).expanduser()
        self._writers: dict[str, RecordWriter] = {}
        for model in models:
            model_folder(model)
            self._writers[model] = writer = RecordWriter(results_path(folder, model))
            if writer.repaired:
                self.get_logger().warning(f'{writer.path}: removed a torn end left by a crash')
        self._infos = StampJoin[ImageInfo](_KEPT_INFOS)
        self._unexplained: dict[tuple[int, str], tuple[float, AnomalyResult]] = {}
        self._rows = 0
        self._recorded = self.create_publisher(Recorded, 'recorded', qos.every_frame())
        self._info_subscription = self.create_subscription(
            ImageInfo, 'image_info', self._on_info, qos.every_frame()
        )
        self._result_subscriptions = [
            self.create_subscription(
                AnomalyResult, f'{model}/result', self._on_result, qos.every_frame()
            )
            for model in models
        ]
        self._diagnostics = Diagnostics(self, self._health, str(folder))
        self._timer = self.create_timer(1.0, self._every_second)

    def stop(self) -> None:
        """Write what is waiting, flush and close."""
        for _, result in self._unexplained.values():
            self._write(result, None)
        for writer in self._writers.values():
            writer.close()

    def _on_info(self, info: ImageInfo) -> None:
        stamp = to_nanoseconds(info.header.stamp)
        for model in self._writers:
            if info.error:
                result = AnomalyResult(header=info.header, model=model, error=info.error)
                self._write(result, info)
            elif waiting := self._unexplained.pop((stamp, model), None):
                self._write(waiting[1], info)
        self._infos.tell(stamp, info)

    def _on_result(self, result: AnomalyResult) -> None:
        stamp = to_nanoseconds(result.header.stamp)
        info = self._infos.get(stamp)
        if info is None and self._expect_info:
            self._unexplained[stamp, result.model] = (time.monotonic(), result)
        else:
            self._write(result, info)

    def _write(self, result: AnomalyResult, info: ImageInfo | None) -> None:
        age_ns = self.get_clock().now().nanoseconds - to_nanoseconds(result.header.stamp)
        record = to_record(result, info, age_ns / 1e6 if self._measure_latency else None)
        try:
            self._writers[result.model].write(record)
        except OSError as error:
            self.fail(error)
            return
        self._rows += 1
        # When the process is told to stop, the last rows are written with nobody left to tell.
        if self.context.ok():
            self._recorded.publish(Recorded(stamp=result.header.stamp, model=result.model))

    def _every_second(self) -> None:
        overdue = time.monotonic() - _PATIENCE_S
        for key, (arrival, result) in list(self._unexplained.items()):
            if arrival < overdue:
                del self._unexplained[key]
                self._write(result, None)
        for writer in self._writers.values():
            try:
                writer.sync()
            except OSError as error:
                self.fail(error)

    def _health(self) -> Health:
        files = ' '.join(str(writer.path) for writer in self._writers.values())
        return Health('', {'rows': self._rows, 'files': files})


def main() -> int:
    """Run the node."""
    return runner.main(CsvRecorder)


if __name__ == '__main__':
    sys.exit(main())
