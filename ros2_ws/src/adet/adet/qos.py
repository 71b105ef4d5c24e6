# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""The quality-of-service profiles of every topic, each with its reason."""

from __future__ import annotations

from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy

try:
    from rclpy import event_handler as _events
except ImportError:
    # Humble
    from rclpy import qos_event as _events

SubscriptionEventCallbacks = _events.SubscriptionEventCallbacks
UnsupportedEventTypeError = _events.UnsupportedEventTypeError

# More frames than may be in flight, so that nothing is pushed out before it was taken.
DEPTH = 16
_LIVE_DEPTH = 5


def every_frame(depth: int = DEPTH) -> QoSProfile:
    """Nothing is lost: not to a slow reader, nor to one that starts (or restarts) late.

    The last ``depth`` messages are sent again to whoever joins, so a detector or recorder that was
    killed finds the frames that were in flight; the recorder recognises those it already has.
    """
    return _profile(depth, ReliabilityPolicy.RELIABLE, DurabilityPolicy.TRANSIENT_LOCAL)


def newest_only() -> QoSProfile:
    """Only the newest matters: a camera's images, and what is drawn for people.

    Reliable, so that every reader can join.
    """
    return _profile(1, ReliabilityPolicy.RELIABLE, DurabilityPolicy.VOLATILE)


def latched() -> QoSProfile:
    """What holds until something else is said, also for who joins late."""
    return every_frame(1)


def any_camera(*, best_effort: bool = True) -> QoSProfile:
    """Reading images of a camera driver, which are gone once they are sent.

    A little deeper than one: what comes too fast is dropped, and counted, by the detector.

    Args:
        best_effort: This hears every driver; a reliable subscription hears the reliable ones only.
    """
    reliability = ReliabilityPolicy.BEST_EFFORT if best_effort else ReliabilityPolicy.RELIABLE
    return _profile(_LIVE_DEPTH, reliability, DurabilityPolicy.VOLATILE)


def _profile(
    depth: int, reliability: ReliabilityPolicy, durability: DurabilityPolicy
) -> QoSProfile:
    return QoSProfile(
        history=HistoryPolicy.KEEP_LAST,
        depth=depth,
        reliability=reliability,
        durability=durability,
    )
