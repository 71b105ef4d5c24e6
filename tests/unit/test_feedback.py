# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Frames that are kept for a retraining, with where they came from."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest

from adet_core.errors import DatasetError
from adet_core.image import Image, read_image
from adet_core.io.feedback import is_feedback, keep_frame, SCHEMA

NOTE = {'stamp_ns': 7, 'model': 'padim', 'bundle_id': '0123', 'score': 2.5}


def frame(encoding: str = 'bgr8', seed: int = 0) -> Image:
    rng = np.random.default_rng(seed)
    shape = (5, 7) if encoding.startswith(('mono', '32F')) else (5, 7, 3)
    if encoding == '32FC1':
        return Image(rng.uniform(0, 2, shape).astype(np.float32), encoding)
    kind = np.uint16 if encoding == 'mono16' else np.uint8
    return Image(rng.integers(0, np.iinfo(kind).max, shape, kind), encoding)


@pytest.mark.parametrize('encoding', ['bgr8', 'mono8', 'mono16'])
def test_a_frame_comes_back_as_it_was(encoding: str, tmp_path: Path) -> None:
    image = frame(encoding)
    path = keep_frame(tmp_path / 'new' / 'folder', 'frame_1', image, NOTE, limit=3)
    found = read_image(path)
    assert found.encoding == encoding
    np.testing.assert_array_equal(found.pixels, image.pixels)
    assert json.loads(path.with_suffix('.json').read_text()) == {
        'schema': SCHEMA,
        **NOTE,
    }
    assert is_feedback(path)
    assert not is_feedback(tmp_path / 'other.png')


def test_other_encodings_are_kept_as_eight_bits(tmp_path: Path) -> None:
    rgb = frame('rgb8')
    found = read_image(keep_frame(tmp_path, 'rgb', rgb, NOTE, limit=3))
    np.testing.assert_array_equal(found.pixels, rgb.pixels[..., ::-1])
    depth = Image(np.array([[0.0, 1.0, 2.0]], np.float32), '32FC1')
    path = keep_frame(tmp_path, 'depth', depth, NOTE, limit=3, float_range=(0.0, 2.0))
    assert read_image(path).pixels[0, :, 0].tolist() == [0, 128, 255]


def test_a_full_folder_takes_no_more_or_loses_the_oldest(tmp_path: Path) -> None:
    (tmp_path / 'frame_0.png').write_bytes(b'of somebody else, without a note')
    for number in (1, 2):
        keep_frame(tmp_path, f'frame_{number}', frame(), NOTE, limit=2)
    with pytest.raises(DatasetError, match=r'holds 2 marked frames, the limit; .*keep_limit'):
        keep_frame(tmp_path, 'frame_3', frame(), NOTE, limit=2)
    # What is there already may be said again, e.g. with another note.
    keep_frame(tmp_path, 'frame_2', frame(), {**NOTE, 'note': 'again'}, limit=2)
    keep_frame(tmp_path, 'frame_3', frame(), NOTE, limit=2, replace=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        'frame_0.png',
        'frame_2.json',
        'frame_2.png',
        'frame_3.json',
        'frame_3.png',
    ]


@pytest.mark.parametrize(
    ('note', 'ours'),
    [
        (NOTE, True),  # as version 0.1 wrote it
        ({'schema': SCHEMA, **NOTE}, True),
        ({'schema': 'another', **NOTE}, False),
        ({'version': '5.4', 'shapes': [], 'imagePath': 'a.png'}, False),  # LabelMe
        ({'schema': SCHEMA}, True),
        ({**NOTE, 'stamp_ns': '7'}, False),
        ({}, False),
        ([NOTE], False),
        (None, False),
    ],
)
def test_only_notes_of_ours_mark_an_image(tmp_path: Path, note: object, ours: bool) -> None:
    (tmp_path / 'a.json').write_text(json.dumps(note))
    assert is_feedback(tmp_path / 'a.png') is ours


@pytest.mark.timeout(20)
def test_what_is_no_note_is_not_read(tmp_path: Path) -> None:
    for number, data in enumerate((b'', b'{', b'\xff', b'[' * 50_000, b' ' * 100_000 + b'{}')):
        (tmp_path / f'{number}.json').write_bytes(data)
        assert not is_feedback(tmp_path / f'{number}.png')
    os.mkfifo(tmp_path / 'pipe.json')
    assert not is_feedback(tmp_path / 'pipe.png')


def test_files_of_other_programs_are_neither_counted_nor_removed(tmp_path: Path) -> None:
    (tmp_path / 'a.json').write_text('{"shapes": []}')
    (tmp_path / 'a.png').write_bytes(b'an image')
    for number in (1, 2):
        keep_frame(tmp_path, f'frame_{number}', frame(), NOTE, limit=1, replace=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        'a.json',
        'a.png',
        'frame_2.json',
        'frame_2.png',
    ]


def test_frames_are_not_removed_from_a_folder_of_somebody_else(tmp_path: Path) -> None:
    mine = tmp_path / 'mine'
    for number in range(3):
        keep_frame(mine, f'frame_{number}', frame(), {}, limit=3)
    before = sorted(mine.iterdir())
    (tmp_path / 'review').mkdir()
    (tmp_path / 'review' / 'plate').symlink_to(mine)
    with pytest.raises(OSError, match='is a link'):
        keep_frame(tmp_path / 'review' / 'plate', 'f', frame(), {}, limit=1, replace=True)
    assert sorted(mine.iterdir()) == before


def test_a_person_may_link_the_folder_of_a_data_set(tmp_path: Path) -> None:
    (tmp_path / 'disk').mkdir()
    (tmp_path / 'train').symlink_to(tmp_path / 'disk')
    path = keep_frame(tmp_path / 'train', 'frame_1', frame(), {}, limit=1)
    assert path == tmp_path / 'train' / 'frame_1.png'
    assert is_feedback(tmp_path / 'disk' / 'frame_1.png')
