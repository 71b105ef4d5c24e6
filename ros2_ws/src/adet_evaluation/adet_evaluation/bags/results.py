# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""The verdicts that were recorded in a bag, as rows."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from adet_core.errors import BagError
from adet_core.progress import ProgressCallback, silent
from adet_core.records import Record
from adet_core.scoring import Region
from adet_evaluation.bags.messages import INFO, nanoseconds, RESULT
from adet_evaluation.bags.reader import Bag


def recorded_results(bag: Bag, *, progress: ProgressCallback = silent) -> dict[str, list[Record]]:
    """The rows of every detector whose results a bag holds, joined with ``image_info``.

    An image that ``image_info`` tells of, and that a detector has no result of, is a row with an
    error. ``latency_ms`` is from the image's stamp to the recording of the result.

    Args:
        bag: A bag with topics ``<model>/result``.
        progress: Told of the progress.

    Returns:
        By the topic without ``/result``, e.g. ``/line1/padim``.

    Raises:
        BagError: It holds no results, or those of another version of adet.
    """
    topics = {name for name, topic in bag.topics.items() if topic.kind == RESULT}
    if not topics:
        msg = f'{bag.path}: no results of a detector; inspect its images with --bundle'
        raise BagError(f'{msg}. It has {bag.told()}')
    infos = {name for name, topic in bag.topics.items() if topic.kind == INFO}
    total = sum(bag.topics[name].messages for name in topics | infos)
    found: dict[str, list[Record]] = {name.removesuffix('/result'): [] for name in sorted(topics)}
    told: dict[str, dict[int, Any]] = {name: {} for name in infos}
    for number, message in enumerate(bag.read(topics | infos)):
        stamp = nanoseconds(message.value.header, message.received_ns)
        if message.kind == INFO:
            told[message.topic][stamp] = message.value
        else:
            try:
                row = _row(message.value, stamp, message.received_ns)
            except AttributeError as error:
                msg = f'{bag.path}: recorded by another version of adet ({error})'
                raise BagError(msg) from None
            found[message.topic.removesuffix('/result')].append(row)
        progress('reading results', number + 1, total)
    return {name: _joined(rows, _nearest(told, name)) for name, rows in found.items()}


def _nearest(told: dict[str, dict[int, Any]], name: str) -> dict[int, Any]:
    """What ``image_info`` says in a detector's namespace."""
    return told.get(f'{name.rpartition("/")[0]}/image_info', {})


def _joined(rows: list[Record], infos: dict[int, Any]) -> list[Record]:
    inspected = {row.stamp_ns for row in rows}
    model = rows[0].model if rows else ''
    joined = [
        replace(row, source=info.source, label=info.label)
        if (info := infos.get(row.stamp_ns))
        else row
        for row in rows
    ]
    lost = [
        Record(
            stamp_ns=stamp,
            frame_id=info.header.frame_id,
            source=info.source,
            label=info.label,
            model=model,
            error=info.error or 'no result in the bag',
        )
        for stamp, info in infos.items()
        if stamp not in inspected
    ]
    return sorted([*joined, *lost], key=lambda row: row.stamp_ns) if lost else joined


def _row(message: Any, stamp: int, received_ns: int) -> Record:
    row = Record(
        stamp_ns=stamp,
        frame_id=message.header.frame_id,
        source='',
        label='',
        model=message.model,
        bundle_id=message.bundle_id,
        error=message.error,
    )
    if message.error:
        return row
    return replace(
        row,
        score=message.score,
        normalised_score=message.normalised_score,
        threshold=message.threshold,
        is_anomalous=message.is_anomalous,
        is_uncertain=message.is_uncertain,
        regions=tuple(Region(r.x, r.y, r.width, r.height, r.score) for r in message.regions),
        inference_ms=message.inference_ms,
        latency_ms=(received_ns - stamp) / 1e6,
    )
