# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Which topic brings a camera's images, raw or compressed, named as image_transport does it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

RAW = 'sensor_msgs/msg/Image'
COMPRESSED = 'sensor_msgs/msg/CompressedImage'
SUFFIX = '/compressed'
"""What image_transport adds to the name of a topic of raw images."""
_NAMES = (SUFFIX, '/compressedDepth')

Publishers = Callable[[str], Sequence[Any]]
"""Gives what is known of those who publish a topic."""


class Stream(NamedTuple):
    """A topic of images.

    Attributes:
        topic: Its full name.
        type: `RAW` or `COMPRESSED`.
    """

    topic: str
    type: str

    def publishers(self, known: Publishers) -> list[Any]:
        """Those who publish images of this type there."""
        return [one for one in known(self.topic) if one.topic_type == self.type]


def streams_of(topic: str, transport: str) -> list[Stream]:
    """Where the images of a topic may come from, the best one first.

    Args:
        topic: What a user named: raw or compressed images.
        transport: ``raw``, ``compressed``, or ``auto`` for both.
    """
    here = Stream(topic, COMPRESSED)
    if topic.endswith(_NAMES):
        return [here]
    raw, beside = Stream(topic, RAW), Stream(f'{topic}{SUFFIX}', COMPRESSED)
    return {'raw': [raw], 'compressed': [beside, here]}.get(transport, [raw, here, beside])


def choose_stream(streams: Sequence[Stream], present: Stream, known: Publishers) -> Stream:
    """The best stream that somebody publishes; the present one while nobody does."""
    return next((one for one in streams if one.publishers(known)), present)
