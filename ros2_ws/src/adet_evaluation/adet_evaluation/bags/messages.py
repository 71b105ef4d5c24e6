# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""The messages of a bag that adet knows, without ROS."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from typing import Any

from rosbags.interfaces import MessageDefinition, MessageDefinitionFormat
from rosbags.typesys import get_types_from_idl, get_types_from_msg, get_typestore, Stores
from rosbags.typesys.store import Typestore
from zstandard import ZstdDecompressor

from adet_core.io.sources import Frame

IMAGE = 'sensor_msgs/msg/Image'
COMPRESSED = 'sensor_msgs/msg/CompressedImage'
INFO = 'adet_interfaces/msg/ImageInfo'
RESULT = 'adet_interfaces/msg/AnomalyResult'
LARGEST_RECORD = 2**30
"""Bytes of a record; a torn length must not be taken for an order to read that much."""
_NS = 1_000_000_000
_ZSTD = b'\x28\xb5\x2f\xfd'

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
        float64 p_value
        string category
    """,
}
# Fields that earlier versions lacked, the newest first: a bag need not say what its types are.
_ADDED = {RESULT: ('string category', 'float64 p_value')}


@cache
def known_types() -> Typestore:
    """The types that a bag is written with."""
    return _store({})


class BagTypes:
    """The types that a bag is read with: its own definitions go before those known here."""

    def __init__(self, definitions: Mapping[str, MessageDefinition]) -> None:
        """Parse nothing yet: a definition that nobody needs may be as odd as it likes.

        Args:
            definitions: What the bag says of its types, by type; not every storage says anything.
        """
        self._definitions = definitions
        self._stores: dict[str, Typestore] = {}

    def decode(self, data: bytes, kind: str) -> Any:
        """The message that some bytes are.

        Raises:
            Exception: Any, as the bytes and the definition come from the bag.
        """
        if kind not in self._stores:
            self._stores[kind] = self._store_of(kind)
        if data.startswith(_ZSTD):
            # Where messages are compressed one by one, only the metadata tells.
            data = ZstdDecompressor().decompress(data, max_output_size=LARGEST_RECORD)
        try:
            return self._stores[kind].deserialize_cdr(data, kind)
        except Exception:
            if kind in self._definitions:
                raise
            return _decode_older(data, kind)

    def _store_of(self, kind: str) -> Typestore:
        definition = self._definitions.get(kind)
        try:
            own = _parse(definition, kind) if definition else {}
            return _store(own) if own else known_types()
        except Exception:
            if kind not in known_types().fielddefs:
                raise
            return known_types()


def _decode_older(data: bytes, kind: str) -> Any:
    """A message as an earlier version wrote it; raises what its own decoding raises."""
    text = DEFINITIONS.get(kind, '')
    for field in _ADDED.get(kind, ()):
        text = text.replace(field, '')
        with suppress(Exception):
            return _store(get_types_from_msg(text, kind)).deserialize_cdr(data, kind)
    return known_types().deserialize_cdr(data, kind)


def _parse(definition: MessageDefinition, kind: str) -> dict[str, Any]:
    if definition.format == MessageDefinitionFormat.MSG:
        return dict(get_types_from_msg(definition.data, kind))
    own: dict[str, Any] = {}
    if definition.format == MessageDefinitionFormat.IDL:
        # Several files behind one another, each after a line of 80 signs and its name.
        for part in definition.data.split('=' * 80 + '\n'):
            text = part.split('\n', 1)[1] if part.startswith('IDL: ') else part
            if text.strip():
                own.update(get_types_from_idl(text))
    return own


def _store(own: Mapping[str, Any]) -> Typestore:
    fields = dict(get_typestore(Stores.ROS2_JAZZY).fielddefs)
    for kind, text in DEFINITIONS.items():
        fields.update(get_types_from_msg(text, kind))
    store = get_typestore(Stores.EMPTY)
    store.register({**fields, **own})
    return store


def nanoseconds(header: Any, received_ns: int) -> int:
    """A message's stamp; where nobody set one, or one before 1970, when it was recorded."""
    stamp = int(header.stamp.sec) * _NS + int(header.stamp.nanosec)
    return stamp if stamp > 0 else received_ns


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
