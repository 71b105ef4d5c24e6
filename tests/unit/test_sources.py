# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Sources: which images there are, in which order, and with which label."""

from __future__ import annotations

import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from adet_core.errors import ConfigError, DatasetError
from adet_core.io.folders import IMAGE_SUFFIXES, label_of, list_images
from adet_core.io.open_source import is_bag, is_live, open_source
from adet_core.io.sources import FolderSource, VideoSource


def _draw(path: Path, level: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    suffix = '.png' if path.suffix.lower() not in IMAGE_SUFFIXES else path.suffix
    path.write_bytes(cv2.imencode(suffix, np.full((4, 6, 3), level, np.uint8))[1].tobytes())
    return path


def _names(folder: Path) -> list[str]:
    return [str(path.relative_to(folder)) for path in list_images(folder)]


def test_images_are_listed_in_a_fixed_order(tmp_path: Path) -> None:
    for name in ('b/2.png', 'b/10.png', 'a/z.png', 'c.png', 'B.png', 'b.png'):
        _draw(tmp_path / name)
    expected = ['B.png', 'a/z.png', 'b/10.png', 'b/2.png', 'b.png', 'c.png']
    assert _names(tmp_path) == expected
    assert [frame.source for frame in open_source(str(tmp_path))] == [
        str(tmp_path / name) for name in expected
    ]


@pytest.mark.parametrize('suffix', sorted(IMAGE_SUFFIXES))
def test_suffixes_are_known_in_any_case(tmp_path: Path, suffix: str) -> None:
    for name in (f'a{suffix}', f'b{suffix.upper()}'):
        (tmp_path / name).write_bytes(b'')
    assert _names(tmp_path) == [f'a{suffix}', f'b{suffix.upper()}']


def test_masks_and_hidden_and_other_files_are_left_out(tmp_path: Path) -> None:
    for name in (
        'normal/1.png',
        'anomaly/2.png',
        'masks/2.png',
        'anomaly/masks/3.png',
        '.thumbnails/1.png',
        'normal/.1.png',
    ):
        _draw(tmp_path / name)
    for name in ('notes.txt', 'png', 'a.png.part', 'Thumbs.db'):
        (tmp_path / name).write_text('')
    (tmp_path / 'folder.png').mkdir()
    assert _names(tmp_path) == ['anomaly/2.png', 'normal/1.png']


def test_a_folder_named_masks_may_be_listed_itself(tmp_path: Path) -> None:
    _draw(tmp_path / 'masks' / '1.png')
    assert _names(tmp_path / 'masks') == ['1.png']


@pytest.mark.timeout(20)
def test_linked_folders_are_followed_once(tmp_path: Path) -> None:
    _draw(tmp_path / 'shelf' / '1.png')
    _draw(tmp_path / 'data' / '2.png')
    (tmp_path / 'data' / 'more').symlink_to(tmp_path / 'shelf')
    for name in ('loop', 'again'):
        (tmp_path / 'data' / name).symlink_to(tmp_path / 'data')
    assert _names(tmp_path / 'data') == ['2.png', 'more/1.png']


@pytest.mark.parametrize(
    ('path', 'folder', 'label'),
    [
        ('/d/normal/1.png', '/d', 'normal'),
        ('/d/anomaly/1.png', '/d', 'anomaly'),
        ('/d/anomaly/scratch/1.png', '/d', 'anomaly'),
        ('/d/normal/anomaly/1.png', '/d', 'anomaly'),
        ('/d/normal/1.png', '/d/normal', 'normal'),
        ('/normal/d/1.png', '/normal/d', ''),
        ('/d/1.png', '/d', ''),
        ('/d/normal.png', '/d', ''),
        ('/d/Normal/1.png', '/d', ''),
    ],
)
def test_folders_are_labels(path: str, folder: str, label: str) -> None:
    assert label_of(Path(path), Path(folder)) == label


def test_the_present_folder_is_a_label_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _draw(tmp_path / 'anomaly' / '1.png')
    monkeypatch.chdir(tmp_path / 'anomaly')
    assert [frame.label for frame in open_source('.')] == ['anomaly']
    assert [frame.label for frame in open_source('1.png')] == ['anomaly']


def test_frames_of_a_folder_have_images_and_labels(tmp_path: Path) -> None:
    _draw(tmp_path / 'normal' / '1.png', 10)
    _draw(tmp_path / 'anomaly' / '2.png', 20)
    _draw(tmp_path / '3.png', 30)
    source = open_source(str(tmp_path))
    assert source.total == 3
    assert source.is_live is False
    for _ in range(2):  # each pass starts at the beginning
        frames = list(source)
        assert [frame.label for frame in frames] == ['', 'anomaly', 'normal']
        assert [frame.image.pixels[0, 0, 0] for frame in frames] == [30, 20, 10]
        assert all(frame.image.encoding == 'bgr8' for frame in frames)
        assert all(frame.error == '' for frame in frames)


def test_an_unreadable_image_is_a_frame_with_an_error(tmp_path: Path) -> None:
    _draw(tmp_path / 'normal' / '1.png')
    torn = tmp_path / 'normal' / '2.png'
    torn.write_bytes(b'\x89PNG')
    gone = tmp_path / 'normal' / '3.png'
    gone.symlink_to('nowhere.png')
    _draw(tmp_path / 'normal' / '4.png')
    good, bad, missing, last = open_source(str(tmp_path))
    assert good.image is not None
    assert bad.image is missing.image is None
    assert (bad.source, bad.label) == (str(torn), 'normal')
    assert bad.error == f'{torn}: cannot be decoded as an image'
    assert missing.error == f'{gone}: No such file or directory'
    assert last.image is not None


@pytest.mark.parametrize(
    'name',
    ['ünïcode 検査.png', 'two\nlines.png', 'a,"b".png', os.fsdecode(b'caf\xe9.png'), '%d.png'],
)
def test_odd_names_are_read(tmp_path: Path, name: str) -> None:
    _draw(tmp_path / 'normal' / name, 40)
    for spec in (tmp_path, tmp_path / 'normal' / name):
        (frame,) = open_source(str(spec))
        assert frame.source == str(tmp_path / 'normal' / name)
        assert frame.label == 'normal'
        assert frame.image.pixels[0, 0, 0] == 40


def test_a_single_file_is_a_source(tmp_path: Path) -> None:
    path = _draw(tmp_path / 'anomaly' / '1.PNG', 50)
    _draw(tmp_path / 'anomaly' / '2.png')
    source = open_source(str(path))
    assert source.total == 1
    (frame,) = source
    assert (frame.source, frame.label) == (str(path), 'anomaly')


def test_the_home_folder_may_be_abbreviated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _draw(tmp_path / 'images' / '1.png')
    monkeypatch.setenv('HOME', str(tmp_path))
    assert open_source('~/images').total == 1
    with pytest.raises(ConfigError, match=r'^source is .~nosuch/x.: that home folder'):
        open_source('~nosuch/x')


# ---- videos


@pytest.fixture(scope='module')
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp('video') / 'line 1.avi'
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*'MJPG'), 10, (64, 48))
    assert writer.isOpened()
    for level in (0, 100, 200):
        writer.write(np.full((48, 64, 3), level, np.uint8))
    writer.release()
    return path


def test_the_frames_of_a_video_are_a_source(video: Path) -> None:
    source = open_source(str(video))
    assert isinstance(source, VideoSource)
    assert source.total == 3
    assert source.is_live is False
    for _ in range(2):
        frames = list(source)
        assert [frame.source for frame in frames] == [f'{video}#{n}' for n in range(3)]
        assert [frame.label for frame in frames] == [''] * 3
        for frame, level in zip(frames, (0, 100, 200), strict=True):
            assert frame.image.encoding == 'bgr8'
            assert frame.image.pixels.shape == (48, 64, 3)
            assert np.abs(frame.image.pixels.astype(int) - level).max() < 5


def test_a_video_cut_short_says_what_it_lost(tmp_path: Path) -> None:
    path = tmp_path / 'long.avi'
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*'MJPG'), 10, (64, 48))
    for _ in range(40):
        writer.write(np.zeros((48, 64, 3), np.uint8))
    writer.release()
    source = open_source(str(path))
    assert (len(list(source)), source.lost, source.warnings) == (40, 0, ())
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    source = open_source(str(path))
    read = len(list(source))
    assert (source.total, source.lost) == (40, 40 - read)
    assert 0 < read < 25
    told = f'{read} of the 40 frames that its header tells of can be decoded'
    assert source.warnings == [f'{path}: cut short or damaged: {told}']


@pytest.mark.parametrize('name', [b'caf\xe9.avi', b'%03d.avi', b'a:b.avi', b'https:'])
def test_a_video_may_have_any_name(video: Path, tmp_path: Path, name: bytes) -> None:
    path = tmp_path / os.fsdecode(name)
    path.write_bytes(video.read_bytes())
    assert [frame.source for frame in open_source(str(path))] == [f'{path}#{n}' for n in range(3)]


def test_a_video_of_too_large_images_is_refused(
    video: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv('ADET_MAX_MEGAPIXELS', '0.003')
    with pytest.raises(DatasetError, match=r'avi: 64x48 pixels are more than 0\.003 megapixels'):
        open_source(str(video))


@pytest.mark.timeout(20)
@pytest.mark.parametrize('name', ['pipe', 'pipe.avi', 'pipe.mcap'])
def test_a_pipe_and_a_device_are_no_source(tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / name)
    for spec in (str(tmp_path / name), '/dev/zero'):
        with pytest.raises(DatasetError, match=f'^{spec}: is no regular file; a camera is cam'):
            open_source(spec)


def test_metadata_of_another_program_makes_no_bag(tmp_path: Path) -> None:
    _draw(tmp_path / '1.png')
    (tmp_path / 'metadata.yaml').write_text('camera: left\n')
    assert not is_bag(tmp_path)
    assert open_source(str(tmp_path)).total == 1
    (tmp_path / 'metadata.yaml').write_text('rosbag2_bagfile_information:\n  version: 8\n')
    assert is_bag(tmp_path)


def test_a_video_that_vanishes_is_a_dataset_error(video: Path, tmp_path: Path) -> None:
    path = tmp_path / 'a.avi'
    path.write_bytes(video.read_bytes())
    source = open_source(str(path))
    path.unlink()
    with pytest.raises(DatasetError, match=f'^{path}: No such file or directory'):
        next(iter(source))


@pytest.mark.parametrize('name', ['a.avi', 'a.mp4', 'notes.txt', 'no_suffix'])
@pytest.mark.parametrize('data', [b'', b'this is no video'])
def test_a_file_that_is_no_video_is_refused(tmp_path: Path, name: str, data: bytes) -> None:
    path = tmp_path / name
    path.write_bytes(data)
    with pytest.raises(DatasetError, match=f'^{path}: neither an image nor a video that OpenCV'):
        open_source(str(path))


# ---- what is not there


def test_an_empty_folder_says_what_is_looked_for(tmp_path: Path) -> None:
    (tmp_path / 'notes.txt').write_text('')
    with pytest.raises(DatasetError, match=rf'^{tmp_path}: holds no images; .*\.bmp .*\.webp'):
        open_source(str(tmp_path))


@pytest.mark.parametrize(
    'spec', ['nowhere', 'nowhere/1.png', 'camera:', 'camera:x', 'camera:-1', '']
)
def test_what_does_not_exist_says_what_may_be_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spec: str
) -> None:
    monkeypatch.chdir(tmp_path)
    message = f'^{spec}: no such folder, file or camera; give a folder, a video, a bag, cam'
    with pytest.raises(DatasetError, match=message if spec else '^source is empty; give a folder'):
        open_source(spec)


def test_a_missing_folder_is_a_dataset_error(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match='nowhere: No such file or directory'):
        list_images(tmp_path / 'nowhere')
    with pytest.raises(DatasetError, match='nowhere: No such file or directory'):
        FolderSource(tmp_path / 'nowhere')


@pytest.mark.skipif(os.geteuid() == 0, reason='nothing is unreadable for root')
def test_an_unreadable_folder_is_a_dataset_error(tmp_path: Path) -> None:
    _draw(tmp_path / 'a' / '1.png')
    _draw(tmp_path / 'locked' / '1.png')
    (tmp_path / 'locked').chmod(0)
    with pytest.raises(DatasetError, match='locked: Permission denied'):
        list_images(tmp_path)
    (tmp_path / 'locked').chmod(0o700)


def test_a_camera_number_beyond_all_reason_is_a_dataset_error() -> None:
    with pytest.raises(DatasetError, match='no such folder, file or camera'):
        open_source(f'camera:{10**12}')


@pytest.mark.parametrize(
    ('spec', 'live'),
    [
        ('camera:0', True),
        ('camera:12', True),
        ('camera:/dev/v4l/by-id/usb-a', True),
        ('rtsp://10.0.0.7:554/live', True),
        ('http://10.0.0.7/video.mjpg', True),
        ('gstreamer:videotestsrc ! videoconvert', True),
        ('rtsp://', False),
        ('gstreamer:', False),
        ('file:///video.mp4', False),
        ('camera:', False),
        ('camera', False),
        ('/camera:0', False),
        ('camera:0/x', False),
        ('video.mp4', False),
        ('', False),
    ],
)
def test_only_cameras_are_live(spec: str, live: bool) -> None:
    assert is_live(spec) is live
