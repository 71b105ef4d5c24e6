# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Masks: found by one rule, of any bit depth, and none passed over in silence."""

from __future__ import annotations

import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from adet_core.geometry import Geometry
from adet_core.io.labelled import LabelledReader
from adet_core.io.masks import Masks

SIZE = (8, 8)
LEFT = np.zeros((40, 60), np.uint8)
LEFT[:, :30] = 1
EXPECTED = np.zeros(SIZE, bool)
EXPECTED[:, :4] = True


def write(path: Path, pixels: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(cv2.imencode(path.suffix.lower(), pixels)[1].tobytes())
    return path


def anomaly(home: Path, name: str = '1.png', size: tuple[int, int] = (40, 60)) -> Path:
    return write(home / 'anomaly' / name, np.zeros(size, np.uint8))


@pytest.mark.parametrize(
    ('image', 'mask'),
    [
        ('1.png', '1.PNG'),
        ('1.JPG', '1.png'),
        ('1732441234.000.png', '1732441234.000.png'),
        ('a.b/1732441234.500.bmp', 'a.b/1732441234.500.Tiff'),
        (os.fsdecode(b'caf\xe9.png'), os.fsdecode(b'caf\xe9.png')),
        ('[1].png', '[1].png'),
    ],
)
def test_a_mask_has_the_name_of_its_image(tmp_path: Path, image: str, mask: str) -> None:
    path = anomaly(tmp_path, image)
    write(tmp_path / 'masks' / mask, LEFT)
    masks = Masks()
    np.testing.assert_array_equal(masks.read(path, (40, 60), SIZE), EXPECTED)
    assert masks.warnings == []


def test_a_name_with_dots_gets_no_mask_of_another_image(tmp_path: Path) -> None:
    paths = [anomaly(tmp_path, f'1732441234.{number}.png') for number in (0, 5)]
    write(tmp_path / 'masks' / '1732441234.5.png', LEFT)
    write(tmp_path / 'masks' / '1732441234.png', LEFT)
    masks = Masks()
    assert masks.find(paths[0]) is None
    assert masks.find(paths[1]) == tmp_path / 'masks' / '1732441234.5.png'
    (line,) = masks.warnings
    assert line.startswith(f'{tmp_path}/masks/1732441234.png: is the mask of no image in')


def test_a_mask_with_the_suffix_of_its_image_comes_first(tmp_path: Path) -> None:
    path = anomaly(tmp_path, '1.png')
    first = write(tmp_path / 'masks' / '1.png', LEFT)
    other = write(tmp_path / 'masks' / '1.bmp', LEFT)
    masks = Masks()
    assert masks.find(path) == first
    assert masks.warnings == [
        f'{other}: is the mask of no image in {tmp_path}/anomaly; it is not used'
    ]


def test_masks_without_an_image_are_named_whatever_was_read(tmp_path: Path) -> None:
    anomaly(tmp_path, 'read.png')
    anomaly(tmp_path, 'not_read.png')
    normal = write(tmp_path / 'normal' / 'good.png', LEFT)
    for name in ('read.png', 'not_read.png', 'good.png'):
        write(tmp_path / 'masks' / name, LEFT)
    masks = Masks()
    assert masks.find(normal) is None
    assert [line.partition(':')[0] for line in masks.unmatched] == [f'{tmp_path}/masks/good.png']


@pytest.mark.parametrize(
    'pixels',
    [
        LEFT,
        LEFT * 255,
        LEFT.astype(np.uint16),
        np.dstack([LEFT * 0, LEFT * 0, LEFT]),
        np.dstack([LEFT, LEFT * 0, LEFT * 0]),
    ],
    ids=['1', '255', '1 of 16 bits', 'red', 'blue'],
)
def test_any_value_above_zero_is_anomalous(tmp_path: Path, pixels: np.ndarray) -> None:
    path = anomaly(tmp_path)
    write(tmp_path / 'masks' / '1.png', pixels)
    np.testing.assert_array_equal(Masks().read(path, (40, 60), SIZE), EXPECTED)


def test_the_ringing_of_a_jpeg_is_no_anomaly(tmp_path: Path) -> None:
    path = anomaly(tmp_path, size=(200, 300))
    drawn = cv2.circle(np.zeros((200, 300), np.uint8), (140, 90), 30, 255, -1)
    write(tmp_path / 'masks' / '1.jpg', drawn)
    found = Masks().read(path, drawn.shape, drawn.shape)
    assert found is not None
    assert np.abs(found.sum() / (drawn > 0).sum() - 1) < 0.02


@pytest.mark.parametrize(
    ('shape', 'fits'),
    [
        ((40, 60), True),
        ((20, 30), True),
        ((13, 20), True),
        ((400, 600), True),
        ((60, 40), False),
        ((40, 40), False),
        ((40, 66), False),
    ],
)
def test_a_mask_needs_the_proportions_of_its_image(
    tmp_path: Path, shape: tuple[int, int], fits: bool
) -> None:
    path = anomaly(tmp_path)
    mask = write(tmp_path / 'masks' / '1.png', np.ones(shape, np.uint8))
    masks = Masks()
    for _ in range(2):
        found = masks.read(path, (40, 60), SIZE)
        assert (found is not None) is fits
    rows, columns = shape
    told = f'{mask}: {columns}x{rows} pixels do not fit an image of 60x40; the mask is not used'
    assert masks.warnings == ([] if fits else [told])


def test_the_reader_keeps_the_tally(tmp_path: Path) -> None:
    first, second = anomaly(tmp_path, 'a.png'), anomaly(tmp_path, 'b.png')
    write(tmp_path / 'masks' / 'a.png', LEFT)
    torn = tmp_path / 'normal' / 'torn.png'
    torn.parent.mkdir()
    torn.write_bytes(b'')
    files: list[Path] = []
    reader = LabelledReader(Geometry.whole((32, 32)), on_file=lambda path, _: files.append(path))
    one = reader.read(first, 'anomaly')
    assert one is not None
    assert one.is_anomalous
    np.testing.assert_array_equal(one.mask, np.kron(EXPECTED, np.ones((4, 4), bool)))
    assert reader.read(second, 'anomaly', known={one.sha256}) is None
    assert reader.read(torn, 'normal') is None
    assert reader.unreadable == [f'{torn}: cannot be decoded as an image']
    assert files == [first, tmp_path / 'masks' / 'a.png']


def test_threads_read_what_one_reads_and_in_the_same_order(tmp_path: Path) -> None:
    labels: dict[Path, str] = {}
    for number in range(20):
        # Those that take longer come first.
        path = anomaly(tmp_path, f'{number:02}.png', (40 * (21 - number), 60 * (21 - number)))
        labels[path] = 'anomaly' if number % 3 else 'normal'
        write(tmp_path / 'masks' / f'{number:02}.png', LEFT)
    torn = anomaly(tmp_path, '07.png')
    torn.write_bytes(b'')
    orders: list[list[Path]] = [[], []]
    readers = [
        LabelledReader(
            Geometry.whole((32, 32)), on_file=lambda path, _, order=order: order.append(path)
        )
        for order in orders
    ]
    ones = [readers[0].read(path, label) for path, label in labels.items()]
    others = list(readers[1].read_all(labels))
    assert orders[0] == orders[1]
    assert readers[0].unreadable == readers[1].unreadable
    assert len(readers[0].unreadable) == 1
    assert [one and one.path for one in ones] == [other and other.path for other in others]
    for one, other in zip(ones, others, strict=True):
        if one and other:
            np.testing.assert_array_equal(one.pixels, other.pixels)
            np.testing.assert_array_equal(one.mask, other.mask)


def test_few_images_are_read_ahead(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    labels = {anomaly(tmp_path, f'{number:02}.png'): '' for number in range(30)}
    begun: list[Path] = []
    look = LabelledReader._look

    def noted(reader: LabelledReader, path: Path) -> object:
        begun.append(path)
        return look(reader, path)

    monkeypatch.setattr(LabelledReader, '_look', noted)
    reading = LabelledReader(Geometry.whole((32, 32))).read_all(labels)
    next(reading)
    reading.close()  # type: ignore[attr-defined]  # it is a generator
    assert len(begun) <= 8
