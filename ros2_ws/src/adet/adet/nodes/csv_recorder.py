# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""``csv_recorder``: one row per inspected image, in ``result_<model>.csv``."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
import sys
import threading
from typing import Any

from adet_interfaces.msg import AnomalyResult, ImageInfo, Recorded

from adet import qos, runner
from adet.conversions import to_nanoseconds, to_record, to_recorded, to_unreadable
from adet.diagnostics import Health
from adet.hand_over import HandOver
from adet.managed import ManagedNode
from adet.options import CsvRecorderOptions
from adet_core.io.stamp_join import StampJoin
from adet_core.models.names import model_folder
from adet_core.paths import user_path
from adet_core.records import Record, RecordWriter, results_path

# What belongs to one image arrives within so many seconds, even after a restart on a busy machine.
# Ticks of the timer are counted, not the time: a process that was stopped has not listened.
_PATIENCE_TICKS = 10
_KEPT_INFOS = 256
# Rows whose content is remembered, to tell a message that comes twice from a repeated stamp.
_KEPT_ROWS = 64
_TELL_S = 30.0
# A node that was killed is known to the others for so long.
_GHOST_TICKS = 30


# Score, inference time and error: no two inspections have all of them in common.
_Content = tuple[float | None, float | None, str]


class CsvRecorder(ManagedNode):
    """Joins verdicts with what is known of their images, and writes a row for each.

    Attributes:
        on_row: Told each row once it is written, if anybody wants to know.
    """

    on_row: Callable[[Record], None] | None = None

    def __init__(self, *, hand_over: HandOver | None = None, **options: Any) -> None:
        """Open the files and begin to record, unless a lifecycle manager is to say so.

        Args:
            hand_over: Where source and detectors of this process leave what is to be recorded;
                None: they publish it.
            options: rclpy's own.

        Raises:
            AdetError: A parameter is wrong, or a file there is not one of adet's.
            OSError: A file cannot be written.
        """
        super().__init__('csv_recorder', **options)
        values = self.declare(CsvRecorderOptions)
        self._hand_over = hand_over
        # With a hand-over, the threads of source and detectors write rows, too.
        self._lock = threading.RLock()
        self._models = [name.strip() for name in values.models.split(',')]
        self._folder = user_path(values.output_dir, 'output_dir')
        self._expect_info = values.expect_info
        self._measure_latency = values.measure_latency
        self._rows = self._repeated = self._refused = self._reported = 0
        self._ticks = self._crowded = 0
        self.begin(autostart=values.autostart)

    def configure(self) -> None:
        """Open the files, repairing what a crash left."""
        self._writers: dict[str, RecordWriter] = {}
        for model in self._models:
            model_folder(model)
            self._writers[model] = writer = RecordWriter(results_path(self._folder, model))
            if writer.repaired:
                self.get_logger().warning(f'{writer.path}: removed a torn end left by a crash')
        self._infos = StampJoin[ImageInfo](_KEPT_INFOS)
        self._unexplained: dict[tuple[int, str], tuple[int, AnomalyResult]] = {}
        self._written: dict[str, OrderedDict[int, _Content]] = {
            model: OrderedDict() for model in self._models
        }
        self._recorded = self.create_publisher(Recorded, 'recorded', qos.every_frame())
        self._diagnostics = self.diagnose('recording', self._health, str(self._folder))
        self._timer = self.create_timer(1.0, self._every_second)

    def activate(self) -> None:
        """Record."""
        if self._hand_over is not None:
            self._hand_over.infos.read(self._on_info)
            self._hand_over.results.read(self._on_result)
            return
        self._info_subscription = self.create_subscription(
            ImageInfo, 'image_info', self._on_info, qos.every_frame()
        )
        self._result_subscriptions = [
            self.create_subscription(
                AnomalyResult, f'{model}/result', self._on_result, qos.every_frame()
            )
            for model in self._models
        ]

    def deactivate(self) -> None:
        """Pause."""
        if self._hand_over is not None:
            self._hand_over.infos.leave(self._on_info)
            self._hand_over.results.leave(self._on_result)

    def clean_up(self) -> None:
        """Write what is waiting, flush and close."""
        for _, result in self._unexplained.values():
            self._write(result, None)
        for writer in self._writers.values():
            writer.close()

    def _on_info(self, info: ImageInfo) -> None:
        stamp = to_nanoseconds(info.header.stamp)
        with self._lock:
            for model in self._writers:
                if info.error:
                    self._write(to_unreadable(info, model), info)
                elif waiting := self._unexplained.pop((stamp, model), None):
                    self._write(waiting[1], info)
            self._infos.tell(stamp, info)

    def _on_result(self, result: AnomalyResult) -> None:
        if result.model not in self._writers:
            self._refused += 1
            self.get_logger().warning(
                f'a result of model {result.model!r:.80} is not recorded; parameter models has: '
                f'{", ".join(self._writers)}',
                throttle_duration_sec=_TELL_S,
            )
            return
        stamp = to_nanoseconds(result.header.stamp)
        with self._lock:
            info = self._infos.get(stamp)
            if info is None and self._expect_info:
                self._unexplained[stamp, result.model] = (self._ticks, result)
            else:
                self._write(result, info)

    def _write(self, result: AnomalyResult, info: ImageInfo | None) -> None:
        record = to_record(result, info, self._latency_ms(result))
        again = self._is_another_image(record)
        try:
            is_new = self._writers[result.model].write(record, again=again)
        except OSError as error:
            self.fail(error)
            return
        self._rows += is_new
        if is_new and self.on_row is not None:
            self.on_row(record)
        # When the process is told to stop, the last rows are written with nobody left to tell.
        if self.context.ok():
            recorded = to_recorded(result)
            self._recorded.publish(recorded)
            if self._hand_over is not None:
                self._hand_over.recorded.publish(recorded)

    def _latency_ms(self, result: AnomalyResult) -> float | None:
        """The age of an image; None where its stamp says nothing, or is of another clock."""
        age_ns = self.get_clock().now().nanoseconds - to_nanoseconds(result.header.stamp)
        is_known = self._measure_latency and age_ns >= 0 and to_nanoseconds(result.header.stamp)
        return age_ns / 1e6 if is_known else None

    def _is_another_image(self, record: Record) -> bool:
        """Whether a stamp is repeated, as of a driver that leaves it out: each has its row.

        The stamps of image_source differ; what comes again from there is the same image.
        """
        written = self._written[record.model]
        content = (record.score, record.inference_ms, record.error)
        before = written.get(record.stamp_ns)
        written[record.stamp_ns] = content
        if len(written) > _KEPT_ROWS:
            written.popitem(last=False)
        if self._expect_info or before in (None, content):
            return False
        self._repeated += 1
        self.get_logger().warning(
            f'images with a repeated stamp ({record.stamp_ns} ns): {self._repeated}; each has its '
            'row, but nothing else can be joined with them: let the driver set stamps',
            throttle_duration_sec=_TELL_S,
        )
        return True

    def _every_second(self) -> None:
        self._ticks += 1
        self._look_for_others()
        with self._lock:
            for key, (arrival, result) in list(self._unexplained.items()):
                if self._ticks - arrival > _PATIENCE_TICKS:
                    del self._unexplained[key]
                    self._write(result, None)
        # Rows go on meanwhile: a slow disk holds no image up.
        for writer in self._writers.values():
            try:
                writer.sync()
            except OSError as error:
                self.fail(error)

    def _look_for_others(self) -> None:
        """Notice a second detector of a model in this namespace: its rows would be among ours."""
        topics = [f'{model}/result' for model in self._writers]
        crowded = [topic for topic in topics if self.count_publishers(topic) > 1]
        if crowded and not self._crowded:
            self.get_logger().warning(f'{", ".join(crowded)}: {self._somebody_else()}')
        self._crowded = self._crowded + 1 if crowded else 0

    def _somebody_else(self) -> str:
        return (
            f'another inspection runs in namespace {self.get_namespace()} of this ROS domain; '
            'choose another namespace or ROS_DOMAIN_ID'
        )

    def _health(self) -> Health:
        problems = [self._somebody_else()] if self._crowded else []
        if (bad := self._repeated + self._refused) > self._reported:
            problems.append('repeated stamps or foreign results, see the log')
        self._reported = bad
        values = {
            'rows': self._rows,
            'repeated': self._repeated,
            'refused': self._refused,
            'files': ' '.join(str(writer.path) for writer in self._writers.values()),
        }
        return Health('; '.join(problems), values, self._crowded > _GHOST_TICKS)


def main() -> int:
    """Run the node."""
    return runner.main(CsvRecorder)


if __name__ == '__main__':
    sys.exit(main())
