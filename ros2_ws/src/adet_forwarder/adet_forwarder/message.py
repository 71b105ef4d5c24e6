# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""A row as the JSON object that outputs send."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime, timezone
import json
from typing import Any

from adet_core.follow import FollowedRow


@dataclass(frozen=True)
class Message:
    """One row for an output.

    Attributes:
        row_id: The same each time the row is sent: receivers recognise a second copy by it.
        model: The model name.
        text: The JSON object.
    """

    row_id: str
    model: str
    text: str

    def values(self) -> dict[str, Any]:
        """The object."""
        values: dict[str, Any] = json.loads(self.text)
        return values


def to_message(row: FollowedRow, robot: str) -> Message:
    """The message of a row: its fields, ``id``, ``robot``, and ``time`` beside the stamp.

    Args:
        row: Of the result file.
        robot: Name of the machine.
    """
    record = row.record
    values = {
        'id': row.row_id,
        'robot': robot,
        'time': _utc(record.stamp_ns),
        **asdict(record),
        'regions': [region._asdict() for region in record.regions],
    }
    return Message(row.row_id, record.model, json.dumps(values, allow_nan=False))


def _utc(stamp_ns: int) -> str:
    """A stamp as ISO 8601 in UTC; empty for one beyond the year 9999."""
    try:
        return datetime.fromtimestamp(stamp_ns / 1e9, timezone.utc).isoformat('T', 'milliseconds')
    except (OverflowError, ValueError, OSError):
        return ''
