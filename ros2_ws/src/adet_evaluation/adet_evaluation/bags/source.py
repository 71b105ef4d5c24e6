# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""The images of a bag as a source of frames, joined with what is known of them."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from adet_core.errors import BagError, ImageError
from adet_core.image import decode_message, Image, unpack_image
from adet_core.io.sources import Frame
from adet_core.io.stamp_join import StampJoin
from adet_evaluation.bags.messages import COMPRESSED, explained, IMAGE, INFO, nanoseconds
from adet_evaluation.bags.reader import Bag, Message

INFO_NAME = 'image_info'
_IMAGE_KINDS = (IMAGE, COMPRESSED)
# An image waits for its label until so many others have come after it.
_PATIENCE = 8
# A label waits for its image until so many others have come after it.
_KEPT_INFOS = 256
# An image that comes a second time is recognised if no more than so many have come between.
_KEPT_STAMPS = 2**16


class BagSource:
    """The images of one topic, each once, in the order in which they were recorded.

    A frame's label and source come from the ``image_info`` beside its topic, by their stamps, in
    whatever order the two were recorded. An image that ``image_info`` tells of and that is not
    there is a frame with an error. A stamp of zero, which nobody set, is replaced by the time of
    recording.

    Attributes:
        is_live: False.
        topic: The topic of the images.
        info_topic: The topic that says what they are; empty if there is none.
        is_compressed: They are compressed.
        total: Messages on it; images that come twice count twice here.
        duplicates: Images of the present pass that were left out, as their stamp had come before.
        non_monotonic: Images of the present pass whose stamp is earlier than the one before it.
    """

    is_live = False

    def __init__(self, path: Path, topic: str = '') -> None:
        """Open a bag and find its images.

        Args:
            path: See `Bag`.
            topic: The topic of the images; by default the only one, or ``image_raw``.

        Raises:
            BagError: The bag cannot be read, there are no such images, or several topics of
                images and no ``image_raw``.
        """
        self._bag = Bag(path)
        self.topic = _topic_of(self._bag, topic)
        self.info_topic = _info_beside(self._bag, self.topic)
        self.is_compressed = self._bag.topics[self.topic].kind == COMPRESSED
        self.total: int | None = self._bag.topics[self.topic].messages
        self.duplicates = self.non_monotonic = self._unfound = 0

    @property
    def lost(self) -> int | None:
        """Images of the last pass that no frame tells of; None: nobody knows how many."""
        unread = self._bag.unread(self.topic)
        # Of an image that is not there, its label may tell.
        return unread if unread is None else max(0, unread - self._unfound)

    @property
    def warnings(self) -> list[str]:
        """What is wrong with the bag, a line each; complete after a pass."""
        return self._bag.warnings

    def __iter__(self) -> Iterator[Frame]:
        """Read the frames; memory does not grow with the bag."""
        self.duplicates = self.non_monotonic = self._unfound = 0
        infos = StampJoin[Any](_KEPT_INFOS)
        waiting: deque[tuple[int, Any]] = deque()
        seen: dict[int, None] = {}
        patience = _PATIENCE if self.info_topic else 0
        for message in self._bag.read({self.topic, self.info_topic}):
            if message.value is None:
                yield from self._damaged(message)
                continue
            stamp = nanoseconds(message.value.header, message.received_ns)
            if message.topic == self.info_topic:
                yield from self._tell(infos, stamp, message.value)
            elif self._is_new(stamp, seen):
                waiting.append((stamp, message.value))
            while waiting and (waiting[0][0] in infos or len(waiting) > patience):
                yield self._frame(*waiting.popleft(), infos)
        while waiting:
            yield self._frame(*waiting.popleft(), infos)
        for stamp, info in infos.unused():
            yield self._without_image(stamp, info)

    def _tell(self, infos: StampJoin[Any], stamp: int, info: Any) -> Iterator[Frame]:
        if info.error:
            yield explained(info, stamp)
            return
        for forgotten, old in infos.tell(stamp, info):
            yield self._without_image(forgotten, old)

    def _without_image(self, stamp: int, info: Any) -> Frame:
        self._unfound += 1
        return replace(explained(info, stamp), error='its image is not in the bag')

    def _damaged(self, message: Message) -> Iterator[Frame]:
        # Where there are labels, the one that stays alone tells of the loss.
        if not self.info_topic:
            name = f'{self._bag.path}#{self.topic}@{message.received_ns}'
            yield Frame(None, name, error=message.error, stamp_ns=message.received_ns)

    def _is_new(self, stamp: int, seen: dict[int, None]) -> bool:
        """Count an image whose stamp came before, or is earlier than that of the one before it."""
        if stamp in seen:
            self.duplicates += 1
            return False
        self.non_monotonic += stamp < next(reversed(seen), stamp)
        seen[stamp] = None
        if len(seen) > _KEPT_STAMPS:
            del seen[next(iter(seen))]
        return True

    def _frame(self, stamp: int, message: Any, infos: StampJoin[Any]) -> Frame:
        name = f'{self._bag.path}#{self.topic}@{stamp}'
        try:
            image, error = to_image(message, name), ''
        except ImageError as problem:
            image, error = None, str(problem)
        info = infos.get(stamp)
        return Frame(
            image,
            info.source if info else name,
            info.label if info else '',
            error,
            stamp_ns=stamp,
            frame_id=message.header.frame_id,
        )


def to_image(message: Any, name: str) -> Image:
    """The image of an image message, compressed or not.

    Raises:
        ImageError: Its encoding is not supported, or it is damaged; names ``name``.
    """
    if message.__msgtype__ == COMPRESSED:
        return decode_message(message.data.tobytes(), message.format, name)
    try:
        return unpack_image(
            memoryview(message.data),
            message.encoding,
            height=message.height,
            width=message.width,
            step=message.step,
            is_bigendian=bool(message.is_bigendian),
        )
    except ImageError as error:
        raise ImageError(f'{name}: {error}') from None


def _info_beside(bag: Bag, topic: str) -> str:
    """The topic that says what the images of another one are, or ''."""
    folder, _, name = topic.rpartition('/')
    candidates = [f'{folder}/{INFO_NAME}']
    if name == 'compressed':
        # As image_transport has it: image_raw/compressed beside image_raw.
        candidates.insert(0, f'{folder.rpartition("/")[0]}/{INFO_NAME}')
    found = (one for one in candidates if one in bag.topics and bag.topics[one].kind == INFO)
    return next(found, '')


def _topic_of(bag: Bag, wanted: str) -> str:
    topics = {name: topic for name, topic in bag.topics.items() if topic.kind in _IMAGE_KINDS}
    if wanted:
        # A bag has whole names.
        name = wanted if wanted.startswith('/') else f'/{wanted}'
        if name not in topics:
            msg = f'{bag.path}: no images on topic {name}; it has {bag.told()}'
            raise BagError(msg)
        return name
    raw = [name for name in topics if name.endswith('/image_raw')]
    found = list(topics) if len(topics) == 1 else raw
    if len(found) != 1:
        what = 'several topics of images' if topics else 'no topic of images'
        remedy = '; choose one with --topic (adet inspect: --bag-topic)' if topics else ''
        msg = f'{bag.path}: {what}{remedy}; it has {bag.told()}'
        raise BagError(msg)
    return found[0]
