# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Reading a rosbag2 recording, whole or cut short, in the order in which it was recorded."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator
from pathlib import Path
import re
from typing import Any, NamedTuple, Protocol

from mcap.records import Channel, DataEnd, Schema
from mcap.records import Message as McapMessage
from mcap.stream_reader import StreamReader
from rosbags.interfaces import MessageDefinition, MessageDefinitionFormat
from rosbags.rosbag2 import Reader
import yaml

from adet_core.errors import BagError
from adet_core.folder import open_regular
from adet_evaluation.bags.messages import BagTypes, LARGEST_RECORD

STORAGES = {'.mcap': 'mcap', '.db3': 'sqlite3'}
"""What a storage file's name ends in, and what ROS 2 calls such a storage."""
_METADATA = 'metadata.yaml'
_LARGEST_METADATA = 2**26
_MOST_WARNINGS = 100
_NO_DEFINITION = MessageDefinition(MessageDefinitionFormat.NONE, '')


class Topic(NamedTuple):
    """A topic of a bag.

    Attributes:
        kind: Its type, e.g. ``sensor_msgs/msg/Image``.
        messages: How many there should be: as the metadata says, or as can be read without it.
    """

    kind: str
    messages: int


class Message(NamedTuple):
    """A message of a bag.

    Attributes:
        topic: Its topic.
        kind: Its type.
        received_ns: When it was recorded, in nanoseconds.
        value: The message, with the fields of its definition; None if it is damaged.
        error: Empty, or one line that says why there is no value.
    """

    topic: str
    kind: str
    received_ns: int
    value: Any
    error: str = ''


class _Raw(NamedTuple):
    topic: str
    kind: str
    received_ns: int
    data: bytes


class _Storage(Protocol):
    """Something that holds messages; opened by its constructor, and again for each pass."""

    path: Path
    topics: dict[str, Topic]
    definitions: dict[str, MessageDefinition]
    is_cut: bool

    def read(self, topics: Collection[str]) -> Iterator[_Raw]:
        """The messages of some topics."""


class Bag:
    """A recording: a folder as ``ros2 bag record`` makes it, or one of its storage files.

    What was cut short is read as far as it goes. Memory does not grow with the bag.

    Attributes:
        path: The folder or file.
        topics: What was recorded, by topic.
        warnings: What is wrong with the bag and how to mend it, a line each. Damage in the midst
            of it is found, and added, by reading.
    """

    def __init__(self, path: Path) -> None:
        """Open a bag.

        Raises:
            BagError: It is none, or cannot be read at all.
        """
        self.path = path
        self.warnings: list[str] = []
        self._storages = self._open()
        counts: Counter[str] = Counter()
        kinds: dict[str, str] = {}
        definitions: dict[str, MessageDefinition] = {}
        for storage in self._storages:
            definitions.update(storage.definitions)
            for name, topic in storage.topics.items():
                counts[name] += topic.messages
                kinds[name] = topic.kind
        told = _told_counts(path)
        self.topics = {
            name: Topic(kinds[name], max(counts[name], told.get(name, 0)))
            for name in sorted(kinds)
        }
        self._is_cut = not told and any(storage.is_cut for storage in self._storages)
        self._given: Counter[str] = Counter()
        self._types = BagTypes(definitions)

    def unread(self, topic: str) -> int | None:
        """Messages of a topic that the last pass could not reach.

        Returns:
            None where the file ends early and nobody knows how many there were.
        """
        return None if self._is_cut else self.topics[topic].messages - self._given[topic]

    def read(self, topics: Collection[str]) -> Iterator[Message]:
        """The messages of some topics; where a storage file is damaged, up to there."""
        self._given.clear()
        for storage in self._storages:
            total = sum(topic.messages for name, topic in storage.topics.items() if name in topics)
            done = 0
            try:
                for raw in storage.read(topics):
                    done += 1
                    self._given[raw.topic] += 1
                    yield self._decode(raw, storage.path)
            except GeneratorExit:
                raise
            except Exception as error:  # noqa: BLE001 - damaged bytes make the libraries fail in any way
                lost = f'{total - done} of {total} messages are not read'
                self._warn(f'{storage.path}: damaged ({_brief(error)}); {lost}')

    def _decode(self, raw: _Raw, path: Path) -> Message:
        try:
            value = self._types.decode(raw.data, raw.kind)
        except Exception as error:  # noqa: BLE001 - damaged bytes make the libraries fail in any way
            reason = f'a message cannot be decoded ({_brief(error)})'
            self._warn(f'{path}: {raw.topic}: {reason}')
            return Message(raw.topic, raw.kind, raw.received_ns, None, reason)
        return Message(raw.topic, raw.kind, raw.received_ns, value)

    def told(self) -> str:
        """The topics and their types, for an error message."""
        topics = ', '.join(f'{name} ({topic.kind})' for name, topic in self.topics.items())
        return topics or 'no topic at all'

    def _warn(self, text: str) -> None:
        if text not in self.warnings and len(self.warnings) < _MOST_WARNINGS:
            self.warnings.append(text)

    def _open(self) -> list[_Storage]:
        if self.path.is_file():
            _refuse_foreign(self.path)
            return [self._open_file(self.path)]
        files = sorted(
            (one for one in self.path.glob('*') if one.suffix in STORAGES and one.is_file()),
            key=_in_order,
        )
        if not self.path.is_dir():
            msg = f'{self.path}: no such bag'
            raise BagError(msg)
        remedy = f'mend it with: ros2 bag reindex {self.path}'
        if (self.path / _METADATA).is_file():
            try:
                return [_Whole(self.path, files)]
            except Exception as error:  # noqa: BLE001 - what a broken bag raises
                self._warn(f'{self.path}: damaged ({_brief(error)}); {remedy}')
        elif files:
            self._warn(
                f'{self.path}: has no {_METADATA}, as its recording was cut short; {remedy}'
            )
        if not files:
            for file in sorted(self.path.glob('*')):
                _refuse_foreign(file)
            msg = f'{self.path}: no rosbag: it has no {_METADATA} and no .mcap or .db3 file'
            raise BagError(msg)
        return [self._open_file(file) for file in files]

    def _open_file(self, path: Path) -> _Storage:
        try:
            return _Whole(path, [path])
        except Exception as error:  # noqa: BLE001 - what a broken bag raises
            what = f'{path}: cut short or damaged ({_brief(error)})'
        if path.suffix != '.mcap':
            msg = f'{what}; mend it with: sqlite3 {path} .recover | sqlite3 NEW.db3'
            raise BagError(msg)
        torn = _Torn(path)
        if not torn.topics:
            msg = f'{path}: holds no message that can be read'
            raise BagError(msg)
        self._warn(f'{what}; read as far as it goes. Mend it with: mcap recover {path}')
        return torn


class _Whole:
    """A bag folder or storage file that is in order."""

    is_cut = False

    def __init__(self, path: Path, files: Collection[Path]) -> None:
        for file in files:
            rest = file.with_name(f'{file.name}-wal')
            if rest.is_file() and rest.stat().st_size:
                msg = f'{rest.name} holds messages of a recorder that was killed'
                raise BagError(msg)
        self.path = path
        with Reader(path) as reader:
            self.topics = {
                name: Topic(info.msgtype or 'several types', info.msgcount)
                for name, info in reader.topics.items()
            }
            self.definitions = {one.msgtype: one.msgdef for one in reader.connections}

    def read(self, topics: Collection[str]) -> Iterator[_Raw]:
        with Reader(self.path) as reader:
            wanted = [one for one in reader.connections if one.topic in topics]
            if wanted:
                for connection, received_ns, data in reader.messages(wanted):
                    yield _Raw(connection.topic, connection.msgtype, received_ns, data)


class _Torn:
    """An MCAP file without its end, where the index would be: read from the start, twice."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.is_cut = True
        counts: Counter[str] = Counter()
        kinds: dict[str, str] = {}
        self.definitions: dict[str, MessageDefinition] = {}
        for schema, channel, _ in self._records():
            counts[channel.topic] += 1
            kinds[channel.topic] = schema.name
            self.definitions[schema.name] = _definition(schema)
        self.topics = {name: Topic(kind, counts[name]) for name, kind in kinds.items()}

    def read(self, topics: Collection[str]) -> Iterator[_Raw]:
        for schema, channel, message in self._records():
            if channel.topic in topics:
                yield _Raw(channel.topic, schema.name, message.log_time, message.data)

    def _records(self) -> Iterator[tuple[Schema, Channel, McapMessage]]:
        schemas: dict[int, Schema] = {}
        channels: dict[int, Channel] = {}
        with open_regular(self.path) as file:
            reader = StreamReader(file, validate_crcs=True, record_size_limit=LARGEST_RECORD)
            records = reader.records
            while True:
                try:
                    record = next(records)
                except Exception:  # noqa: BLE001 - this is where it was cut, and was said already
                    return
                if isinstance(record, Schema):
                    schemas[record.id] = record
                elif isinstance(record, Channel):
                    channels[record.id] = record
                elif isinstance(record, DataEnd):
                    # Behind it is the index alone.
                    self.is_cut = False
                elif isinstance(record, McapMessage):
                    channel = channels[record.channel_id]
                    yield schemas[channel.schema_id], channel, record


def _told_counts(path: Path) -> dict[str, int]:
    """Messages by topic, as the metadata of a bag folder says; empty without such."""
    try:
        with open_regular(path / _METADATA) as file:
            told = yaml.safe_load(file.read(_LARGEST_METADATA))
        return {
            one['topic_metadata']['name']: int(one['message_count'])
            for one in told['rosbag2_bagfile_information']['topics_with_message_count']
        }
    except Exception:  # noqa: BLE001 - what is wrong with it was found, and said, on opening
        return {}


def _refuse_foreign(path: Path) -> None:
    """Refuse a storage file of another kind, and say what makes one of ours of it."""
    if path.suffix == '.zstd':
        msg = f'{path}: is compressed; unpack it with: zstd -d {path}'
        raise BagError(f'{msg}, or give its whole folder with {_METADATA}')
    if path.suffix == '.bag':
        command = f'rosbags-convert --src {path} --dst {path.with_suffix("")}'
        msg = f'{path}: is a bag of ROS 1; convert it with: {command}'
        raise BagError(msg)


def _definition(schema: Schema) -> MessageDefinition:
    formats = {'ros2msg': MessageDefinitionFormat.MSG, 'ros2idl': MessageDefinitionFormat.IDL}
    if schema.encoding not in formats:
        return _NO_DEFINITION
    return MessageDefinition(formats[schema.encoding], schema.data.decode())


def _in_order(path: Path) -> list[tuple[int, str]]:
    """bag_2.mcap before bag_10.mcap."""
    return [(int(word or 0), rest) for word, rest in re.findall(r'(\d*)(\D*)', path.name)]


def _brief(error: Exception) -> str:
    return (' '.join(str(error).split()) or type(error).__name__)[:200]
