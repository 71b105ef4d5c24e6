# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""What every stream of images to a detector has: gaps and silence are noticed."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import NamedTuple

from adet.node import AdetNode
from adet_core.io.arrivals import Arrivals

_TELL_S = 30.0


class Silence(NamedTuple):
    """How images stay away.

    Attributes:
        text: What to say of it; empty where they do not.
        is_error: For twice the time-out or longer.
        is_stale: The same, although somebody publishes on the topic.
    """

    text: str
    is_error: bool
    is_stale: bool


class ImageStream(ABC):
    """A stream of images; a subclass gets them, and calls `arrive` with the stamp of each.

    Attributes:
        lost: Images that were lost on their way here.
        arrivals: Gaps and silence of the stream.
    """

    def __init__(self, node: AdetNode, *, timeout_s: float, every: bool) -> None:
        """Begin to listen for silence.

        Args:
            node: Whose log is told.
            timeout_s: See `silence`; 0 for no limit.
            every: None may be lost, as of a folder; the publisher waits, so that its pauses say
                nothing of what is missing.
        """
        self.lost = 0
        self.arrivals = Arrivals()
        self._node, self._timeout_s, self._every = node, timeout_s, every
        self._told = 0

    @property
    @abstractmethod
    def place(self) -> str:
        """Where the images come from, for people."""

    @property
    @abstractmethod
    def reliability(self) -> str:
        """How they come, for people."""

    @abstractmethod
    def close(self) -> None:
        """Read no more."""

    def arrive(self, stamp_ns: int) -> None:
        """Count an image."""
        if self._every:
            return
        if missing := self.arrivals.add(stamp_ns):
            self._node.get_logger().warning(
                f'{self.place}: {missing} images are missing before stamp {stamp_ns}, by the rate '
                'of the others',
                throttle_duration_sec=_TELL_S,
            )

    def silence(self) -> Silence:
        """Whether images stay away. To be called about once a second: changes go to the log."""
        silent_s = self.arrivals.silent_s
        level = min(int(silent_s / self._timeout_s), 2) if self._timeout_s else 0
        reason, is_published = self.reason() if level else ('', False)
        text = f'no image for {silent_s:.0f} s: {reason}' if level else ''
        if level != self._told:
            log = self._node.get_logger()
            # Apart: rclpy wants one severity of each line of code.
            if level == 2:
                log.error(text)
            elif level == 1:
                log.warning(text)
            else:
                log.info(f'{self.place}: images come again')
            self._told = level
        return Silence(text, level == 2, level == 2 and is_published)

    @abstractmethod
    def reason(self) -> tuple[str, bool]:
        """Why no image comes, as far as it can be told; and whether somebody should send some."""
