# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Inspections that somebody asks for: of an image of their own, or of the newest of a camera."""

from __future__ import annotations

from concurrent.futures import Future
import threading

from adet_core.errors import AdetError, ConfigError
from adet_core.inference.image_queue import Arrived, STOPPED
from adet_core.inference.inspection_service import InspectionService, Outcome

_WAITING = 8


class OnDemand:
    """Blocks its callers until they have a verdict; for any threads."""

    def __init__(self, service: InspectionService) -> None:
        """Ask a service whose `InspectionService.run` runs in another thread."""
        self._service = service
        self._newest: Arrived | None = None
        self._changed = threading.Condition()
        self._stopping = False
        self._callers = threading.BoundedSemaphore(_WAITING)

    def offer(self, arrived: Arrived) -> None:
        """Remember an image as the newest of the camera."""
        with self._changed:
            self._newest = arrived
            self._changed.notify_all()

    def inspect(self, arrived: Arrived) -> Outcome:
        """Inspect an image before those that wait.

        Returns:
            The outcome, with an inspection.

        Raises:
            AdetError: The image was refused, too many wait, or the service stops.
        """
        future: Future[Outcome] = Future()
        self._service.ask(arrived, future.set_result)
        outcome = future.result()
        if outcome.inspection is None:
            raise AdetError(outcome.error)
        return outcome

    def inspect_newest(self, not_before_ns: int, timeout_s: float) -> Outcome:
        """Inspect the newest image.

        Args:
            not_before_ns: Older stamps will not do; 0 takes any.
            timeout_s: How long to wait for such an image.

        Raises:
            AdetError: No such image came in time; else as `inspect`.
        """
        if not self._callers.acquire(blocking=False):
            msg = f'{_WAITING} calls wait for an image already; wait for them'
            raise ConfigError(msg)
        try:
            arrived = self._wait(not_before_ns, timeout_s)
        finally:
            self._callers.release()
        return self.inspect(arrived)

    def stop(self) -> None:
        """Let nobody wait any longer."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()

    def _wait(self, not_before_ns: int, timeout_s: float) -> Arrived:
        def is_there() -> bool:
            newest = self._newest
            return self._stopping or (newest is not None and newest.stamp_ns >= not_before_ns)

        with self._changed:
            found = self._changed.wait_for(is_there, timeout_s)
            newest = self._newest
            if found and not self._stopping and newest is not None:
                return newest
        if self._stopping:
            reason = STOPPED
        elif newest is None:
            reason = f'no image has arrived within {timeout_s:g} s; is the camera running?'
        else:
            early_s = (not_before_ns - newest.stamp_ns) / 1e9
            reason = (
                f'no image from that time on has arrived within {timeout_s:g} s: the newest is '
                f'{early_s:.3f} s too early; do camera and caller have the same clock?'
            )
        raise AdetError(reason)
