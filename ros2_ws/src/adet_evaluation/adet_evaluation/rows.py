# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Rows joined with what else is known of their images."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from adet_core.io.sources import Frame
from adet_core.io.stamp_join import StampJoin
from adet_core.records import Record


def join_rows(
    rows: Sequence[Record], frames: Iterable[tuple[int, Frame]], *, why: str
) -> list[Record]:
    """Give rows the labels and sources of their images, and each image a row.

    Args:
        rows: Of one model.
        frames: The images that there were, by their stamps in nanoseconds.
        why: The error of an image without a row, unless its frame has one.

    Returns:
        The rows in their order, and those without a verdict where their stamps belong.
    """
    join = StampJoin[Frame]()
    for stamp, frame in frames:
        join.tell(stamp, frame)
    joined = [_explained(row, join.get(row.stamp_ns)) for row in rows]
    lost = [
        Record(
            stamp_ns=stamp,
            frame_id=frame.frame_id,
            source=frame.source,
            label=frame.label,
            model=rows[0].model if rows else '',
            error=frame.error or why,
        )
        for stamp, frame in join.unused()
    ]
    return sorted([*joined, *lost], key=lambda row: row.stamp_ns) if lost else joined


def _explained(row: Record, frame: Frame | None) -> Record:
    if frame is None or row.label:
        return row
    return replace(row, source=frame.source, label=frame.label)


def share_labels(rows: Mapping[str, Sequence[Record]]) -> dict[str, list[Record]]:
    """Several models' rows, each with the label and source that any of them knows of its stamp."""
    known = {row.stamp_ns: row for one in rows.values() for row in one if row.label}
    return {
        model: [
            replace(row, label=known[row.stamp_ns].label, source=known[row.stamp_ns].source)
            if not row.label and row.stamp_ns in known
            else row
            for row in one
        ]
        for model, one in rows.items()
    }


def by_category(name: str, rows: Sequence[Record]) -> dict[str, list[Record]]:
    """A model's rows by what was in service: scores of several bundles cannot be compared.

    Args:
        name: Of the model.
        rows: In the order of their images; one without a category is of that before it.

    Returns:
        All rows by the name, or of several categories those of each by name and category.
    """
    found: dict[str, list[Record]] = {}
    category = next((row.category for row in rows if row.category), '')
    for row in rows:
        category = row.category or category
        found.setdefault(category, []).append(row)
    if len(found) <= 1:
        return {name: list(rows)}
    return {f'{name} {category}': one for category, one in found.items()}
