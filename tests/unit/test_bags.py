# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Bags written, read, cut short, and full of what nobody expects."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
import json
import os
from pathlib import Path
import re
import shutil
from typing import Any

import numpy as np
import pytest
from rosbags.rosbag2 import CompressionFormat, CompressionMode, Reader, StoragePlugin, Writer
from rosbags.typesys import get_types_from_msg, get_typestore, Stores

from adet_core.cli import main
from adet_core.errors import BagError, ConfigError
from adet_core.image import Image
from adet_core.io.open_source import is_bag, open_source
from adet_core.io.sources import Frame
from adet_evaluation.bags import Bag, BagOptions, BagSource, record_images, recorded_results
from adet_evaluation.bags.messages import (
    BagTypes,
    COMPRESSED,
    DEFINITIONS,
    IMAGE,
    INFO,
    known_types,
    make_header,
    RESULT,
)
from adet_synth import write_dataset

START_NS = 1_700_000_000_000_000_000
INTERFACES = Path(__file__).parents[2] / 'ros2_ws' / 'src' / 'adet_interfaces' / 'msg'


@pytest.fixture(scope='module')
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Labelled images."""
    root = tmp_path_factory.mktemp('data')
    write_dataset(
        root,
        category='plate',
        train=1,
        test_normal=3,
        test_anomaly=4,
        size=64,
        seed=2,
    )
    return root / 'test' / 'plate'


@dataclass
class Frames:
    """A source of given frames."""

    frames: list[Frame]
    is_live: bool = False
    total: int | None = None
    duplicates: int = 0
    non_monotonic: int = 0
    lost: int | None = 0
    warnings: tuple[str, ...] = ()

    def __iter__(self) -> Iterator[Frame]:
        return iter(self.frames)


def image(encoding: str, shape: tuple[int, ...], dtype: Any) -> Image:
    values = np.arange(np.prod(shape)).reshape(shape) % 251
    return Image(values.astype(dtype), encoding)


class Recorder:
    """Writes the messages of other people's nodes."""

    def __init__(
        self,
        path: Path,
        storage: StoragePlugin = StoragePlugin.MCAP,
        compression: CompressionMode = CompressionMode.NONE,
    ) -> None:
        self.types = known_types()
        self.writer = Writer(path, version=9, storage_plugin=storage)
        self.cut: int | None = None
        if compression != CompressionMode.NONE:
            self.writer.set_compression(compression, CompressionFormat.ZSTD)
        self.connections: dict[str, Any] = {}
        self.now = START_NS

    def __enter__(self) -> Recorder:
        self.writer.open()
        return self

    def __exit__(self, *_: object) -> None:
        self.writer.close()

    def topic(self, name: str, kind: str) -> None:
        self.connections[name] = self.writer.add_connection(name, kind, typestore=self.types)

    def write(self, name: str, stamp: int, **fields: Any) -> None:
        connection = self.connections[name]
        header = make_header(self.types, stamp, 'lens')
        message = self.types.types[connection.msgtype](header=header, **fields)
        self.now += 1_000_000
        data = self.types.serialize_cdr(message, connection.msgtype)
        self.writer.write(connection, self.now, bytes(data)[: self.cut])

    def image(self, name: str, stamp: int, level: int = 0, **fields: Any) -> None:
        values = {
            'height': 4,
            'width': 5,
            'encoding': 'mono8',
            'is_bigendian': 0,
            'step': 5,
            'data': np.full(20, level, np.uint8),
        }
        self.write(name, stamp, **{**values, **fields})

    def info(self, name: str, stamp: int, label: str = 'normal', error: str = '') -> None:
        self.write(name, stamp, source=f'{stamp}.png', label=label, error=error)


def test_the_definitions_are_those_of_the_interfaces() -> None:
    store = get_typestore(Stores.ROS2_JAZZY)
    types: dict[str, Any] = {}
    for kind in DEFINITIONS:
        path = INTERFACES / f'{kind.rpartition("/")[2]}.msg'
        types.update(get_types_from_msg(path.read_text(encoding='utf-8'), kind))
    store.register(types)
    for kind in DEFINITIONS:
        assert known_types().hash_rihs01(kind) == store.hash_rihs01(kind)


@pytest.mark.parametrize('lacks', [(), ('category',), ('category', 'p_value')])
def test_results_of_earlier_versions_are_read_where_a_bag_does_not_say_its_types(
    lacks: tuple[str, ...],
) -> None:
    text = DEFINITIONS[RESULT]
    lines = [line for line in text.splitlines() if not line.endswith(lacks or '-')]
    store = get_typestore(Stores.ROS2_JAZZY)
    for kind, one in {**DEFINITIONS, RESULT: '\n'.join(lines)}.items():
        store.register(get_types_from_msg(one, kind))
    header = known_types().types['std_msgs/msg/Header']
    stamp = known_types().types['builtin_interfaces/msg/Time'](sec=1, nanosec=2)
    values = {
        'header': header(stamp=stamp, frame_id='lens'),
        'model': 'padim',
        'bundle_id': 'b' * 12,
        'score': 4.5,
        'normalised_score': 0.5,
        'threshold': 4.0,
        'is_anomalous': True,
        'is_uncertain': False,
        'regions': [],
        'inference_ms': 1.0,
        'error': '',
        'p_value': 0.25,
        'category': 'lid',
    }
    given = {name: value for name, value in values.items() if name not in lacks}
    data = bytes(store.serialize_cdr(store.types[RESULT](**given), RESULT))
    found = BagTypes({}).decode(data, RESULT)
    assert (found.model, found.score) == ('padim', 4.5)
    assert getattr(found, 'category', '') == ('' if lacks else 'lid')
    assert hasattr(found, 'p_value') == ('p_value' not in lacks)


@pytest.mark.parametrize('storage', ['mcap', 'sqlite3'])
@pytest.mark.parametrize('compression', ['none', 'png', 'jpeg'])
def test_what_is_recorded_is_read_back(
    folder: Path, tmp_path: Path, storage: str, compression: str
) -> None:
    source = open_source(str(folder))
    options = BagOptions(start_ns=START_NS, rate=4, storage=storage, compression=compression)
    made = record_images(source, tmp_path / 'bag', options)
    assert (made.pictures, made.unreadable) == (7, 0)
    read = open_source(str(tmp_path / 'bag'))
    assert isinstance(read, BagSource)
    frames = list(read)
    assert read.total == len(frames) == 7
    assert (read.duplicates, read.non_monotonic, read.warnings) == (0, 0, [])
    for number, (written, found) in enumerate(zip(source, frames, strict=True)):
        assert (found.source, found.label) == (written.source, written.label)
        assert found.stamp_ns == START_NS + number * 250_000_000
        assert found.frame_id == 'camera'
        assert written.image is not None
        assert found.image is not None
        assert found.image.encoding == written.image.encoding
        difference = np.abs(found.image.pixels.astype(int) - written.image.pixels)
        assert difference.mean() < (8 if compression == 'jpeg' else 1e-9)


def test_a_bag_says_what_ros2_bag_reads(folder: Path, tmp_path: Path) -> None:
    record_images(open_source(str(folder)), tmp_path / 'bag', BagOptions(start_ns=START_NS))
    text = (tmp_path / 'bag' / 'metadata.yaml').read_text(encoding='utf-8')
    assert 'version: 8' in text
    with Reader(tmp_path / 'bag') as reader:
        topics = {name: (one.msgtype, one.msgcount) for name, one in reader.topics.items()}
        assert topics == {'/image_raw': (IMAGE, 7), '/image_info': (INFO, 7)}
        (profile,) = reader.connections[0].ext.offered_qos_profiles
        assert (profile.reliability.name, profile.durability.name) == (
            'RELIABLE',
            'TRANSIENT_LOCAL',
        )


@pytest.mark.parametrize(
    'given',
    [
        image('mono8', (4, 6), np.uint8),
        image('mono16', (4, 6), np.uint16),
        image('bgr8', (4, 6, 3), np.uint8),
        image('rgba8', (4, 6, 4), np.uint8),
        image('32FC1', (4, 6), np.float32),
    ],
    ids=lambda one: one.encoding,
)
def test_pixels_of_every_layout_survive(tmp_path: Path, given: Image) -> None:
    source = Frames([Frame(given, 'a.png')])
    record_images(source, tmp_path / 'bag', BagOptions(start_ns=START_NS))
    (frame,) = BagSource(tmp_path / 'bag')
    assert frame.image is not None
    assert frame.image.encoding == given.encoding
    assert np.array_equal(frame.image.pixels, given.pixels)


def test_a_image_that_cannot_be_read_stays_one(tmp_path: Path) -> None:
    source = Frames(
        [
            Frame(None, 'broken\udcff.png', 'anomaly', 'cannot be decoded'),
            Frame(image('mono8', (4, 6), np.uint8), 'good.png', 'normal'),
        ]
    )
    made = record_images(source, tmp_path / 'bag', BagOptions(start_ns=START_NS))
    assert (made.pictures, made.unreadable) == (1, 1)
    broken, good = BagSource(tmp_path / 'bag')
    assert (broken.image, broken.label, broken.error) == (None, 'anomaly', 'cannot be decoded')
    assert broken.source == r'broken\udcff.png'
    assert good.image is not None


def test_stamps_of_a_bag_are_kept_when_it_is_recorded_again(folder: Path, tmp_path: Path) -> None:
    record_images(open_source(str(folder)), tmp_path / 'a', BagOptions(start_ns=START_NS))
    again = BagOptions(start_ns=1, compression='png', frame_id='other')
    record_images(BagSource(tmp_path / 'a'), tmp_path / 'b', again)
    first, second = list(BagSource(tmp_path / 'a')), list(BagSource(tmp_path / 'b'))
    assert [replace(one, image=None) for one in first] == [
        replace(one, image=None) for one in second
    ]


def test_nothing_is_left_where_recording_failed(folder: Path, tmp_path: Path) -> None:
    deep = Frames([Frame(image('mono16', (4, 6), np.uint16), 'deep.tif')])
    options = BagOptions(start_ns=START_NS, compression='jpeg')
    with pytest.raises(ConfigError, match=r'deep\.tif: mono16 does not go into jpeg'):
        record_images(deep, tmp_path / 'bag', options)
    with pytest.raises(ConfigError, match='camera'):
        record_images(Frames([], is_live=True), tmp_path / 'bag', options)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / 'bag').mkdir()
    with pytest.raises(BagError, match='is there already; give another name'):
        record_images(open_source(str(folder)), tmp_path / 'bag', options)


@pytest.mark.parametrize('first', ['info', 'image'])
def test_labels_are_joined_in_whatever_order_they_came(tmp_path: Path, first: str) -> None:
    with Recorder(tmp_path / 'bag') as bag:
        bag.topic('/line1/image_raw', IMAGE)
        bag.topic('/line1/image_info', INFO)
        for stamp in range(1, 21):
            if first == 'image':
                bag.image('/line1/image_raw', stamp, stamp)
            bag.info('/line1/image_info', stamp, 'anomaly' if stamp % 2 else 'normal')
            if first == 'info':
                bag.image('/line1/image_raw', stamp, stamp)
    frames = list(BagSource(tmp_path / 'bag'))
    assert [frame.stamp_ns for frame in frames] == list(range(1, 21))
    assert [frame.label for frame in frames] == ['anomaly', 'normal'] * 10
    assert [frame.image.pixels[0, 0] for frame in frames if frame.image] == list(range(1, 21))


def test_images_and_labels_that_lost_each_other_are_all_there(tmp_path: Path) -> None:
    with Recorder(tmp_path / 'bag') as bag:
        bag.topic('/image_raw', IMAGE)
        bag.topic('/image_info', INFO)
        for stamp in range(1, 601):
            if stamp % 100 != 50:
                bag.image('/image_raw', stamp)
            if stamp % 100 != 70:
                bag.info('/image_info', stamp)
    frames = list(BagSource(tmp_path / 'bag'))
    assert sorted(frame.stamp_ns or 0 for frame in frames) == list(range(1, 601))
    lost = [frame for frame in frames if frame.image is None]
    assert [frame.stamp_ns for frame in lost] == [50, 150, 250, 350, 450, 550]
    assert {frame.error for frame in lost} == {'its image is not in the bag'}
    unlabelled = [frame.stamp_ns for frame in frames if not frame.label]
    assert unlabelled == [70, 170, 270, 370, 470, 570]


def test_stamps_that_repeat_or_go_back_are_counted(tmp_path: Path) -> None:
    with Recorder(tmp_path / 'bag') as bag:
        bag.topic('/image_raw', IMAGE)
        for stamp in (10, 20, 20, 5, 30, 10):
            bag.image('/image_raw', stamp)
    source = BagSource(tmp_path / 'bag')
    for _ in range(2):
        assert [frame.stamp_ns for frame in source] == [10, 20, 5, 30]
        assert (source.total, source.duplicates, source.non_monotonic) == (6, 2, 1)


def test_a_stamp_that_nobody_set_is_the_time_of_recording(tmp_path: Path) -> None:
    with Recorder(tmp_path / 'bag') as bag:
        bag.topic('/image_raw', IMAGE)
        for stamp in (0, 0, -5):
            bag.image('/image_raw', stamp)
    stamps = [frame.stamp_ns for frame in BagSource(tmp_path / 'bag')]
    assert stamps == [START_NS + step * 1_000_000 for step in (1, 2, 3)]


def test_images_of_no_use_have_their_reason_and_the_rest_goes_on(tmp_path: Path) -> None:
    with Recorder(tmp_path / 'bag') as bag:
        bag.topic('/image_raw', IMAGE)
        bag.image('/image_raw', 1, encoding='yuv411')
        bag.image('/image_raw', 2, step=3)
        bag.image('/image_raw', 3, height=8, width=2, step=2, data=np.zeros(16, np.uint8))
        bag.image('/image_raw', 4)
    first, second, third, fourth = BagSource(tmp_path / 'bag')
    assert "encoding 'yuv411' is not supported; supported: mono8" in first.error
    assert 'which do not fill it' in second.error
    assert third.image is not None
    assert fourth.image is not None
    assert (third.image.size, fourth.image.size) == ((8, 2), (4, 5))


def test_a_compressed_image_that_is_none_has_its_reason(tmp_path: Path) -> None:
    with Recorder(tmp_path / 'bag') as bag:
        bag.topic('/depth/compressedDepth', COMPRESSED)
        data = np.frombuffer(b'12 bytes header and so on', np.uint8)
        bag.write('/depth/compressedDepth', 1, format='32FC1; compressedDepth png', data=data)
    (frame,) = BagSource(tmp_path / 'bag')
    assert frame.error.endswith(
        '(32FC1; compressedDepth png): depth in floats is not read compressed; take the raw topic'
    )


def test_topics_are_chosen_or_asked_for(tmp_path: Path) -> None:
    path = tmp_path / 'bag'
    with Recorder(path) as bag:
        for name in ('/left/image_rect', '/right/image_rect'):
            bag.topic(name, IMAGE)
            bag.image(name, 1)
        bag.topic('/image_info', INFO)
    told = r'/image_info \(adet_interfaces/msg/ImageInfo\), /left/image_rect \(sensor_msgs/msg/Im'
    with pytest.raises(BagError, match=rf'several topics of images; choose one .* it has {told}'):
        BagSource(path)
    with pytest.raises(BagError, match=rf'no images on topic /image_info; it has {told}'):
        BagSource(path, 'image_info')
    assert BagSource(path, 'left/image_rect').topic == '/left/image_rect'


def test_a_bag_without_images_says_what_it_has(tmp_path: Path) -> None:
    with Recorder(tmp_path / 'bag') as bag:
        bag.topic('/image_info', INFO)
        bag.info('/image_info', 1)
    with pytest.raises(BagError, match='no topic of images; it has /image_info'):
        BagSource(tmp_path / 'bag')


@pytest.fixture
def many(tmp_path: Path) -> Path:
    """A bag of several chunks: 40 images of 0.2 MB."""
    frames = [
        Frame(Image(np.full((256, 256, 3), level, np.uint8), 'bgr8'), f'{level}.png', 'normal')
        for level in range(40)
    ]
    path = tmp_path / 'many'
    record_images(Frames(frames), path, BagOptions(start_ns=START_NS))
    return path


@pytest.mark.parametrize('share', [0.3, 0.6, 0.99, 0.9999])
@pytest.mark.parametrize('has_metadata', [True, False])
def test_a_recording_cut_short_is_read_as_far_as_it_goes(
    many: Path, share: float, has_metadata: bool
) -> None:
    storage = many / 'many.mcap'
    data = storage.read_bytes()
    storage.write_bytes(data[: int(len(data) * share)])
    if not has_metadata:
        (many / 'metadata.yaml').unlink()
    source = BagSource(many)
    frames = list(source)
    levels = [frame.image.pixels[0, 0, 0] for frame in frames if frame.image]
    assert levels == list(range(len(levels)))
    # No more than the last chunk is lost.
    assert 40 * share - 6 < len(levels) <= 40
    # The last thousandth is the index.
    known = has_metadata or share > 0.999
    assert source.lost == (40 - len(levels) if known else None)
    first, second = source.warnings
    assert str(many) in first
    assert 'ros2 bag reindex' in first
    assert 'read as far as it goes. Mend it with: mcap recover' in second


def test_a_recording_without_metadata_is_read(many: Path) -> None:
    (many / 'metadata.yaml').unlink()
    source = open_source(str(many))
    assert isinstance(source, BagSource)
    assert len(list(source)) == 40
    (warning,) = source.warnings
    assert 'has no metadata.yaml, as its recording was cut short' in warning
    # The file alone is a bag too, and lacks nothing.
    assert BagSource(many / 'many.mcap').warnings == []


def test_damage_in_the_midst_ends_the_reading_with_a_warning(many: Path) -> None:
    storage = many / 'many.mcap'
    data = bytearray(storage.read_bytes())
    # The length of a message in the fourth chunk or so.
    place = data.index(bytes([20]) * 64) - 200
    data[place : place + 200] = b'\xff' * 200
    storage.write_bytes(data)
    source = BagSource(many)
    frames = list(source)
    assert 10 < len(frames) < 40
    assert source.lost == 40 - len(frames)
    (warning,) = source.warnings
    assert warning.startswith(f'{many}: damaged (')
    # Of images and of what is told of them.
    assert re.search(r'\); \d\d of 80 messages are not read$', warning)


@pytest.mark.parametrize('labelled', [True, False])
def test_one_cut_message_is_missing_and_the_rest_goes_on(tmp_path: Path, labelled: bool) -> None:
    with Recorder(tmp_path / 'bag') as bag:
        bag.topic('/image_raw', IMAGE)
        if labelled:
            bag.topic('/image_info', INFO)
        for stamp in range(1, 8):
            bag.cut = 20 if stamp == 3 else None
            bag.image('/image_raw', stamp)
            bag.cut = None
            if labelled:
                bag.info('/image_info', stamp)
    source = BagSource(tmp_path / 'bag')
    frames = list(source)
    assert len(frames) == 7
    (lost,) = [frame for frame in frames if frame.image is None]
    told = 'its image is not in the bag' if labelled else 'a message cannot be decoded'
    assert told in lost.error
    (warning,) = source.warnings
    assert warning.startswith(f'{tmp_path}/bag: /image_raw: a message cannot be decoded (')


@pytest.mark.parametrize('labelled', [True, False])
def test_one_cut_result_is_missing_and_the_rest_goes_on(tmp_path: Path, labelled: bool) -> None:
    with Recorder(tmp_path / 'bag') as bag:
        bag.topic('/padim/result', RESULT)
        if labelled:
            bag.topic('/image_info', INFO)
        for stamp in range(1, 5):
            bag.cut = 30 if stamp == 2 else None
            bag.write('/padim/result', stamp, **result(1.0))
            bag.cut = None
            if labelled:
                bag.info('/image_info', stamp)
    rows = recorded_results(Bag(tmp_path / 'bag'))['/padim']
    assert len(rows) == 4
    (lost,) = [row for row in rows if row.score is None]
    assert lost.model == 'padim'
    assert lost.error.startswith('no result in the bag' if labelled else 'a message cannot be')


def test_an_odd_definition_of_another_topic_does_not_matter(tmp_path: Path) -> None:
    with Recorder(tmp_path / 'bag') as bag:
        bag.topic('/image_raw', IMAGE)
        bag.image('/image_raw', 1)
        odd = bag.writer.add_connection(
            '/odd', 'a/msg/Odd', msgdef='no_!32 height', rihs01=f'RIHS01_{"0" * 64}'
        )
        bag.writer.write(odd, START_NS, b'\0' * 8)
    source = BagSource(tmp_path / 'bag')
    assert [frame.error for frame in source] == ['']
    assert source.warnings == []
    (message,) = Bag(tmp_path / 'bag').read({'/odd'})
    assert message.value is None
    assert message.error.startswith('a message cannot be decoded (')


@pytest.mark.parametrize('mode', [CompressionMode.FILE, CompressionMode.MESSAGE])
@pytest.mark.parametrize('storage', list(StoragePlugin))
def test_compressed_bags_are_read_or_say_how(
    tmp_path: Path, storage: StoragePlugin, mode: CompressionMode
) -> None:
    path = tmp_path / 'bag'
    with Recorder(path, storage, mode) as bag:
        bag.topic('/image_raw', IMAGE)
        bag.image('/image_raw', 1)
    assert len(list(open_source(str(path)))) == 1
    (path / 'metadata.yaml').unlink()
    (file,) = path.iterdir()
    for spec in (path, file):
        assert is_bag(spec)
        if mode == CompressionMode.MESSAGE:
            assert len(list(open_source(str(spec)))) == 1
            continue
        with pytest.raises(BagError, match=f'^{file}: is compressed; unpack it with: zstd -d '):
            open_source(str(spec))


def test_a_bag_of_ros_1_is_told_from_a_damaged_one(tmp_path: Path) -> None:
    path = tmp_path / 'drive.bag'
    path.write_bytes(b'#ROSBAG V2.0\n')
    command = f'rosbags-convert --src {path} --dst {tmp_path}/drive'
    for spec in (path, tmp_path):
        with pytest.raises(BagError, match=f'^{path}: is a bag of ROS 1; convert .* {command}'):
            Bag(spec)
    with pytest.raises(BagError, match='is a bag of ROS 1'):
        open_source(str(path))


def test_a_torn_sqlite_bag_is_refused_with_the_remedy(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / 'bag'
    options = BagOptions(start_ns=START_NS, storage='sqlite3')
    record_images(open_source(str(folder)), path, options)
    storage = path / 'bag.db3'
    whole = storage.read_bytes()
    storage.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(BagError, match=r'bag\.db3: cut short .* sqlite3 .*bag\.db3 \.recover'):
        BagSource(path)
    storage.write_bytes(whole)
    (path / 'bag.db3-wal').write_bytes(b'rows of a killed recorder')
    with pytest.raises(BagError, match='holds messages of a recorder that was killed'):
        BagSource(path)


@pytest.mark.parametrize(
    ('name', 'data'), [('bag.mcap', b''), ('bag.mcap', b'no bag'), ('bag.db3', b'no bag' * 400)]
)
def test_what_is_no_bag_is_one_line(tmp_path: Path, name: str, data: bytes) -> None:
    (tmp_path / name).write_bytes(data)
    for path in (tmp_path, tmp_path / name):
        with pytest.raises(BagError) as caught:
            Bag(path)
        assert name in str(caught.value)
        assert '\n' not in str(caught.value)


def test_metadata_that_names_other_files_is_made_good_for(many: Path) -> None:
    (many / 'many.mcap').rename(many / 'other.mcap')
    source = BagSource(many)
    assert len(list(source)) == 40
    assert 'Some database files are missing' in source.warnings[0]


@pytest.mark.timeout(60)
@pytest.mark.parametrize('name', ['metadata.yaml', 'other.mcap'])
def test_a_pipe_in_the_folder_of_a_bag_is_not_waited_for(many: Path, name: str) -> None:
    (many / 'metadata.yaml').unlink()
    os.mkfifo(many / name)
    assert len(list(open_source(str(many)))) == 40


def test_the_parts_of_a_split_recording_come_in_order(tmp_path: Path) -> None:
    path = tmp_path / 'bag'
    path.mkdir()
    for part in (0, 1, 2, 10):
        with Recorder(tmp_path / f'bag_{part}') as bag:
            bag.topic('/image_raw', IMAGE)
            bag.image('/image_raw', part + 1)
        shutil.move(tmp_path / f'bag_{part}' / f'bag_{part}.mcap', path)
    assert [frame.stamp_ns for frame in BagSource(path)] == [1, 2, 3, 11]


def result(score: float, **fields: Any) -> dict[str, Any]:
    region = known_types().types['adet_interfaces/msg/Region']
    values = {
        'model': 'padim',
        'bundle_id': 'abc',
        'score': score,
        'normalised_score': 0.7,
        'threshold': 2.0,
        'is_anomalous': score >= 2,
        'is_uncertain': False,
        'regions': [region(x=1, y=2, width=3, height=4, score=5.0)],
        'inference_ms': 8.0,
        'p_value': 0.25,
        'category': 'lid',
        'error': '',
    }
    return {**values, **fields}


@pytest.mark.parametrize('storage', list(StoragePlugin))
def test_recorded_results_become_rows(tmp_path: Path, storage: StoragePlugin) -> None:
    with Recorder(tmp_path / 'bag', storage) as bag:
        bag.topic('/line1/image_info', INFO)
        bag.topic('/line1/padim/result', RESULT)
        for stamp, score in ((1, 1.0), (2, 3.0), (3, None), (4, 2.5)):
            bag.info('/line1/image_info', stamp, 'normal' if stamp == 1 else 'anomaly')
            if score is not None:
                bag.write('/line1/padim/result', stamp, **result(score))
        bag.write('/line1/padim/result', 5, **result(0.0, error='no such encoding'))
    found = recorded_results(Bag(tmp_path / 'bag'))
    assert list(found) == ['/line1/padim']
    rows = found['/line1/padim']
    assert [row.stamp_ns for row in rows] == [1, 2, 3, 4, 5]
    assert [row.score for row in rows] == [1.0, 3.0, None, 2.5, None]
    assert [row.label for row in rows] == ['normal', 'anomaly', 'anomaly', 'anomaly', '']
    assert [row.error for row in rows] == ['', '', 'no result in the bag', '', 'no such encoding']
    assert rows[1].regions[0].width == 3
    assert rows[1].p_value == 0.25
    assert rows[0].source == '1.png'


def test_a_bag_without_results_says_what_to_do(many: Path) -> None:
    with pytest.raises(BagError, match='no results of a detector; inspect its images with --bu'):
        recorded_results(Bag(many))


@pytest.mark.parametrize('has_metadata', [True, False])
def test_the_command_says_which_images_a_damaged_bag_lost(
    many: Path, tmp_path: Path, has_metadata: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    storage = many / 'many.mcap'
    storage.write_bytes(storage.read_bytes()[:2_000_000])
    if not has_metadata:
        (many / 'metadata.yaml').unlink()
    assert main(['record', '--images', str(many), '--bag', str(tmp_path / 'new'), '--json']) == 1
    out, err = capsys.readouterr()
    made = json.loads(out.splitlines()[-1])
    lost = 40 - made['pictures'] if has_metadata else None
    assert (made['lost'], len(made['warnings'])) == (lost, 2)
    lines = err.splitlines()
    assert [f'warning: {line}' for line in made['warnings']] == lines[-3:-1]
    told = lost if has_metadata else 'nobody knows how many'
    cut = 'the source is cut short or damaged'
    assert lines[-1] == f'error: {many}: images lost: {told}; {cut}'
    assert len(list(BagSource(tmp_path / 'new'))) == made['pictures']


def test_the_command_records(
    folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    words = ['record', '--images', str(folder), '--bag', str(tmp_path / 'bag')]
    assert main([*words, '--storage', 'sqlite3', '--compression', 'png', '--rate', '5']) == 0
    out = capsys.readouterr().out
    assert re.search(r'bag: 7 images on /image_raw/compressed\n', out)
    assert main(words) == 1
    assert 'is there already' in capsys.readouterr().err
    # Restored in the end.
    monkeypatch.setenv('ADET_MAX_MEGAPIXELS', '')
    words = ['record', '--images', str(folder), '--bag', str(tmp_path / 'small')]
    assert main([*words, '--max-megapixels', '0.004']) == 0
    assert '7 could not be read' in capsys.readouterr().out
    assert main([*words, '--max-megapixels', 'many']) == 1
    assert capsys.readouterr().err.startswith("error: max_megapixels is 'many', expected a number")
    with pytest.raises(SystemExit):
        main([*words, '--rate', '0'])
    for option, value in (('--rate', '1e-300'), ('--topic', ''), ('--topic', 'a b')):
        with pytest.raises(SystemExit):
            main([*words, option, value])
        assert f'{value!r} is not a ' in capsys.readouterr().err
