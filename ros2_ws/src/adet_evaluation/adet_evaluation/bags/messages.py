# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""The messages of a bag that adet knows, without ROS."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from rosbags.interfaces import MessageDefinition, MessageDefinitionFormat
from rosbags.typesys import get_types_from_idl, get_types_from_msg, get_typestore, Stores
from rosbags.typesys.store import Typestore

from adet_core.io.sources import Frame

IMAGE = 'sensor_msgs/msg/Image'
COMPRESSED = 'sensor_msgs/msg/CompressedImage'
INFO = 'adet_interfaces/msg/ImageInfo'
RESULT = 'adet_interfaces/msg/AnomalyResult'
_NS = 1_000_000_000

# As in adet_interfaces, which a machine that only reads bags does not have; the tests hold the
# two together.
DEFINITIONS = {
    INFO: """
        std_msgs/Header header
        string source
        string label
        string error
    """,
    'adet_interfaces/msg/Region': """
        uint32 x
        uint32 y
        uint32 width
        uint32 height
        float32 score
    """,
    RESULT: """
        std_msgs/Header header
        string model
        string bundle_id
        float64 score
        float64 normalised_score
        float64 threshold
        bool is_anomalous
        bool is_uncertain
        Region[] regions
        float32 inference_ms
        string error
    """,
}


@cache
def known_types() -> Typestore:
    """The types that a bag is written with."""
    return _store({})


def types_of(definitions: Mapping[str, MessageDefinition]) -> Typestore:
    """The types that a bag is read with: its own definitions go before those known here.

    Args:
        definitions: What the bag says of its types, by type; not every storage says anything.
    """
    own: dict[str, Any] = {}
    for kind, definition in definitions.items():
        if definition.format == MessageDefinitionFormat.MSG:
            own.update(get_types_from_msg(definition.data, kind))
        elif definition.format == MessageDefinitionFormat.IDL:
            # Several files behind one another, each after a line of 80 signs and its name.
            parts = definition.data.split('=' * 80 + '\n')
            for part in parts:
                text = part.split('\n', 1)[1] if part.startswith('IDL: ') else part
                if text.strip():
                    own.update(get_types_from_idl(text))
    return _store(own) if own else known_types()


def _store(own: Mapping[str, Any]) -> Typestore:
    fields = dict(get_typestore(Stores.ROS2_JAZZY).fielddefs)
    for kind, text in DEFINITIONS.items():
        fields.update(get_types_from_msg(text, kind))
    store = get_typestore(Stores.EMPTY)
    store.register({**fields, **own})
    return store


def nanoseconds(header: Any, received_ns: int) -> int:
    """A message's stamp; where nobody set one, when it was recorded."""
    return int(header.stamp.sec) * _NS + int(header.stamp.nanosec) or received_ns


def explained(info: Any, stamp_ns: int) -> Frame:
    """What an ``image_info`` says of an image, without the image."""
    return Frame(
        None,
        info.source,
        info.label,
        info.error,
        stamp_ns=stamp_ns,
        frame_id=info.header.frame_id,
    )


def make_header(types: Typestore, stamp_ns: int, frame_id: str) -> Any:
    """A ``std_msgs/Header``."""
    time = types.types['builtin_interfaces/msg/Time']
    stamp = time(sec=stamp_ns // _NS, nanosec=stamp_ns % _NS)
    return types.types['std_msgs/msg/Header'](stamp=stamp, frame_id=frame_id)
