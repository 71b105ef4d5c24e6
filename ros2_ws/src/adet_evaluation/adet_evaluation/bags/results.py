# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""The verdicts that were recorded in a bag, as rows."""

from __future__ import annotations

from typing import Any

from adet_core.errors import BagError
from adet_core.io.sources import Frame
from adet_core.progress import ProgressCallback, silent
from adet_core.records import Record, with_verdict
from adet_evaluation.bags.messages import explained, INFO, nanoseconds, RESULT
from adet_evaluation.bags.reader import Bag, Message
from adet_evaluation.rows import join_rows


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
    told: dict[str, dict[int, Frame]] = {name: {} for name in infos}
    for number, message in enumerate(bag.read(topics | infos)):
        if message.value is None:
            name = message.topic.removesuffix('/result')
            # Where there are labels, the one that stays alone tells of the loss.
            if message.kind == RESULT and not infos:
                found[name].append(_damaged(message, name))
            continue
        stamp = nanoseconds(message.value.header, message.received_ns)
        if message.kind == INFO:
            told[message.topic][stamp] = explained(message.value, stamp)
        else:
            try:
                row = _row(message.value, stamp, message.received_ns)
            except AttributeError as error:
                msg = f'{bag.path}: recorded by another version of adet ({error})'
                raise BagError(msg) from None
            found[message.topic.removesuffix('/result')].append(row)
        progress('reading results', number + 1, total)
    # What `image_info` says in a detector's own namespace.
    beside = {name: told.get(f'{name.rpartition("/")[0]}/image_info', {}) for name in found}
    return {
        name: join_rows(rows, beside[name].items(), why='no result in the bag')
        for name, rows in found.items()
    }


def _damaged(message: Message, name: str) -> Record:
    return Record(
        stamp_ns=message.received_ns,
        frame_id='',
        source='',
        label='',
        model=name.rpartition('/')[2],
        error=message.error,
    )


def _row(message: Any, stamp: int, received_ns: int) -> Record:
    row = Record(
        stamp_ns=stamp,
        frame_id=message.header.frame_id,
        source='',
        label='',
        model=message.model,
        bundle_id=message.bundle_id,
        error=message.error,
        # A message in a bag of an earlier version lacks it.
        category=getattr(message, 'category', ''),
    )
    if message.error:
        return row
    return with_verdict(row, message, latency_ms=(received_ns - stamp) / 1e6)
