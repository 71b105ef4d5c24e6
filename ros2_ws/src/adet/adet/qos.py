# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""The quality-of-service profiles of every topic, each with its reason."""

from __future__ import annotations

from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy

# More frames than may be in flight, so that nothing is pushed out before it was taken.
_DEPTH = 16


def every_frame(depth: int = _DEPTH) -> QoSProfile:
    """Nothing is lost: not to a slow reader, nor to one that starts (or restarts) late.

    The last ``depth`` messages are sent again to whoever joins, so a detector or recorder that was
    killed finds the frames that were in flight; the recorder recognises those it already has.
    """
    return QoSProfile(
        history=HistoryPolicy.KEEP_LAST,
        depth=depth,
        reliability=ReliabilityPolicy.RELIABLE,
        durability=DurabilityPolicy.TRANSIENT_LOCAL,
    )


def live_images() -> QoSProfile:
    """A camera's own pictures: only the newest matters; reliable, so every reader can join."""
    return QoSProfile(
        history=HistoryPolicy.KEEP_LAST,
        depth=1,
        reliability=ReliabilityPolicy.RELIABLE,
        durability=DurabilityPolicy.VOLATILE,
    )


def any_camera() -> QoSProfile:
    """Reading pictures of any camera driver: best effort matches all of them, newest wins."""
    return QoSProfile(
        history=HistoryPolicy.KEEP_LAST,
        depth=1,
        reliability=ReliabilityPolicy.BEST_EFFORT,
        durability=DurabilityPolicy.VOLATILE,
    )


def pictures_for_people() -> QoSProfile:
    """Overlays and maps: a viewer that cannot keep up sees the newest."""
    return QoSProfile(
        history=HistoryPolicy.KEEP_LAST,
        depth=1,
        reliability=ReliabilityPolicy.RELIABLE,
        durability=DurabilityPolicy.VOLATILE,
    )
