# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Drawn data sets: what they contain, that they can be repeated, and that they appear whole."""

from __future__ import annotations

from collections import Counter
import os
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from adet_core.errors import DatasetError
from adet_core.io.folders import label_of, list_images
from adet_synth import (
    DatasetFolders,
    DEFECTS,
    draw_anomalous,
    draw_normal,
    Size,
    SMALL_DEFECTS,
    write_dataset,
)

SMALL = {'category': 'plate', 'train': 2, 'test_normal': 1, 'test_anomaly': 5, 'size': 64}


def write(out: Path, **changes: Any) -> DatasetFolders:
    return write_dataset(out, **{**SMALL, 'seed': 7, **changes})


def read(path: Path) -> np.ndarray:
    image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    assert image is not None
    return image


def contents(root: Path) -> dict[str, bytes]:
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in root.rglob('*')
        if path.is_file()
    }


def test_the_folders_hold_what_was_asked_for(tmp_path: Path) -> None:
    folders = write(tmp_path, test_anomaly=7)
    test = tmp_path / 'test' / 'plate'
    assert folders == DatasetFolders(
        tmp_path / 'train' / 'plate', test / 'normal', test / 'anomaly', test / 'masks'
    )
    assert sorted(p.name for p in folders.train.iterdir()) == ['0000.png', '0001.png']
    assert [p.name for p in folders.test_normal.iterdir()] == ['0000.png']
    bad = {p.name for p in folders.test_anomaly.iterdir()}
    assert bad == {f'{d}_0000.png' for d in DEFECTS} | {'scratch_0001.png', 'dent_0001.png'}
    assert {p.name for p in folders.masks.iterdir()} == bad
    assert sorted(p.name for p in tmp_path.iterdir()) == ['test', 'train']
    assert [p.name for p in (tmp_path / 'train').iterdir()] == ['plate']


def test_every_kind_of_defect_occurs_equally_often(tmp_path: Path) -> None:
    folders = write(tmp_path, size=32, train=0, test_normal=0, test_anomaly=15)
    kinds = Counter(p.stem.rsplit('_', 1)[0] for p in folders.test_anomaly.iterdir())
    assert kinds == dict.fromkeys(DEFECTS, 3)
    assert set(DEFECTS) == {'scratch', 'dent', 'stain', 'missing', 'contamination'}


@pytest.mark.parametrize('size', [32, 64, 300])
def test_images_are_colour_and_masks_are_black_and_white(tmp_path: Path, size: int) -> None:
    folders = write(tmp_path, size=size)
    for folder in (folders.train, folders.test_normal, folders.test_anomaly):
        for path in folder.iterdir():
            image = read(path)
            assert (image.shape, image.dtype) == ((size, size, 3), np.uint8)
            assert image.std() > 20
    for path in folders.masks.iterdir():
        mask = read(path)
        assert (mask.shape, mask.dtype) == ((size, size), np.uint8)
        assert set(np.unique(mask)) == {0, 255}


def test_the_rest_of_adet_reads_the_folders(tmp_path: Path) -> None:
    folders = write(tmp_path)
    test = folders.masks.parent
    labels = Counter(label_of(path, test) for path in list_images(test))
    assert labels == {'normal': 1, 'anomaly': 5}


def test_same_seed_gives_identical_files(tmp_path: Path) -> None:
    write(tmp_path / 'a')
    np.random.seed(3)  # noqa: NPY002 - nobody's global state matters
    cv2.setRNGSeed(3)
    write(tmp_path / 'b')
    assert contents(tmp_path / 'a') == contents(tmp_path / 'b')


def test_drawing_leaves_global_generators_alone() -> None:
    np.random.seed(5)  # noqa: NPY002
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    draw_anomalous((1, 2, 3), 64, 'dent')
    assert np.array_equal(before, np.random.get_state()[1])  # noqa: NPY002


def test_another_seed_and_another_split_give_other_images(tmp_path: Path) -> None:
    first, second = write(tmp_path / 'a', seed=1), write(tmp_path / 'b', seed=2)
    images = [
        p.read_bytes()
        for folders in (first, second)
        for folder in (folders.train, folders.test_normal, folders.test_anomaly)
        for p in folder.iterdir()
    ]
    assert len(set(images)) == len(images) == 16


def test_asking_for_more_images_leaves_the_others_as_they_were(tmp_path: Path) -> None:
    write(tmp_path / 'few')
    write(tmp_path / 'many', train=4, test_normal=3, test_anomaly=8)
    few, many = contents(tmp_path / 'few'), contents(tmp_path / 'many')
    assert len(few) == 2 + 1 + 2 * 5
    assert len(many) == 4 + 3 + 2 * 8
    assert {name: many[name] for name in few} == few


def test_the_number_of_threads_changes_nothing() -> None:
    threads = cv2.getNumThreads()
    images = []
    try:
        for count in (1, 4):
            cv2.setNumThreads(count)
            images.append(draw_normal((0, 0, 0), 128))
    finally:
        cv2.setNumThreads(threads)
    assert np.array_equal(*images)


def test_another_size_shows_the_same_part() -> None:
    small = draw_normal((4, 0, 1), 64).astype(float)
    large = cv2.resize(draw_normal((4, 0, 1), 256), (64, 64), interpolation=cv2.INTER_AREA)
    assert np.abs(small - large).mean() < 6
    other = draw_normal((4, 0, 2), 64)
    assert np.abs(small - large).mean() < np.abs(small - other).mean()


@pytest.mark.parametrize('size', [32, 160])
@pytest.mark.parametrize('defect', DEFECTS)
def test_the_mask_is_what_the_defect_changed_visibly(defect: str, size: int) -> None:
    for index in range(3):
        bad = draw_anomalous((9, 2, index), size, defect)
        assert np.array_equal(bad.flawless, draw_normal((9, 2, index), size))
        change = np.abs(bad.image.astype(int) - bad.flawless.astype(int)).max(axis=2)
        assert np.array_equal(bad.mask == 255, change >= 8)
        assert set(np.unique(bad.mask)) == {0, 255}
        # local: a defect never changes the image as a whole
        assert 3 <= np.count_nonzero(bad.mask) < 0.12 * size * size


def test_masks_lie_on_the_part() -> None:
    bad = [draw_anomalous((2, 2, index), 96, DEFECTS[index % 5]) for index in range(15)]
    rows, columns = np.nonzero(np.any([b.mask > 0 for b in bad], axis=0))
    # the plate covers 0.87 by 0.73 of the image and moves by less than 0.03
    assert 3 <= columns.min() <= columns.max() <= 92
    assert 9 <= rows.min() <= rows.max() <= 86


def test_written_masks_belong_to_the_written_images(tmp_path: Path) -> None:
    folders = write(tmp_path)
    for index, defect in enumerate(DEFECTS):
        bad = draw_anomalous((7, 2, index), SMALL['size'], defect)
        name = f'{defect}_0000.png'
        assert np.array_equal(read(folders.masks / name), bad.mask)
        assert np.array_equal(read(folders.test_anomaly / name)[..., ::-1], bad.image)


def test_defects_range_from_subtle_to_obvious() -> None:
    for defect in ('scratch', 'dent', 'stain'):
        strengths = []
        for index in range(8):
            bad = draw_anomalous((5, 2, index), 96, defect)
            change = np.abs(bad.image.astype(int) - bad.flawless.astype(int)).max(axis=2)
            strengths.append(change[bad.mask > 0].sum())
        assert max(strengths) > 4 * min(strengths)


def test_progress_counts_every_image(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    write(tmp_path, size=32, on_progress=lambda done, total: seen.append((done, total)))
    assert seen == [(done, 8) for done in range(1, 9)]


def test_no_images_give_empty_folders(tmp_path: Path) -> None:
    folders = write(tmp_path, train=0, test_normal=0, test_anomaly=0)
    for folder in (folders.train, folders.test_normal, folders.test_anomaly, folders.masks):
        assert list(folder.iterdir()) == []


@pytest.mark.parametrize(
    'category',
    ['', '.', '..', '.hidden', 'a/b', '../up', '/absolute', 'a b', 'a\\b', 'a\n', 'ä', 'x' * 101],
)
def test_a_category_that_is_no_folder_name_is_refused(tmp_path: Path, category: str) -> None:
    with pytest.raises(DatasetError, match=r'category .* letters, digits') as error:
        write(tmp_path / 'out', category=category)
    assert '\n' not in str(error.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ('argument', 'value'),
    [
        ('train', -1),
        ('test_normal', -1),
        ('test_anomaly', -5),
        ('size', 31),
        ('size', 4097),
        ('size', (4096, 31)),
        ('size', (4096, 2049)),
        ('seed', -1),
    ],
)
def test_an_impossible_number_is_refused(tmp_path: Path, argument: str, value: int) -> None:
    with pytest.raises(DatasetError, match=f'^{argument} is '):
        write(tmp_path / 'out', **{argument: value})
    assert list(tmp_path.iterdir()) == []


def test_another_aspect_is_the_middle_of_the_square() -> None:
    square = draw_normal((4, 0, 1), 160).astype(int)
    for size in (Size(160, 120), Size(100, 160), Size(160, 35)):
        image = draw_normal((4, 0, 1), size)
        assert image.shape == (size.height, size.width, 3)
        top, left = (160 - size.height) // 2, (160 - size.width) // 2
        middle = square[top : top + size.height, left : left + size.width]
        # The sensor's noise is another one.
        assert np.abs(image - middle).mean() < 4


@pytest.mark.parametrize('defect', SMALL_DEFECTS)
@pytest.mark.parametrize('size', [Size(400, 300), Size(1200, 64)])
def test_a_small_defect_has_the_extent_that_was_asked_for(size: Size, defect: str) -> None:
    flawless = draw_normal((9, 2, 0), size, sharp=True)
    for extent in ((5, 5), (6, 15)):
        bad = draw_anomalous((9, 2, 0), size, defect, extent=extent)
        assert np.array_equal(bad.flawless, flawless)
        rows, columns = np.nonzero(bad.mask)
        assert extent[0] <= max(np.ptp(rows), np.ptp(columns)) + 1 <= extent[1]
        change = np.abs(bad.image.astype(int) - flawless.astype(int)).max(axis=2)
        assert np.array_equal(bad.mask == 255, change >= 8)


def test_a_data_set_of_small_defects(tmp_path: Path) -> None:
    folders = write(tmp_path, size=(96, 64), defect_size=(4, 9), test_anomaly=5)
    names = [f'{kind}_0000.png' for kind in SMALL_DEFECTS] + ['scratch_0001.png']
    assert sorted(p.name for p in folders.masks.iterdir()) == sorted(names)
    assert all(read(p).shape == (64, 96, 3) for p in folders.test_anomaly.iterdir())
    bad = draw_anomalous((7, 2, 1), Size(96, 64), 'dent', extent=(4, 9))
    assert np.array_equal(read(folders.masks / 'dent_0000.png'), bad.mask)
    normal = draw_normal((7, 0, 0), Size(96, 64), sharp=True)
    assert np.array_equal(read(folders.train / '0000.png')[..., ::-1], normal)


@pytest.mark.parametrize('extent', [(2, 9), (9, 8), (4, 17)])
def test_an_impossible_defect_size_is_refused(tmp_path: Path, extent: tuple[int, int]) -> None:
    with pytest.raises(
        DatasetError, match=r'defect size is .*; in images of 64x64 it can be 3..16'
    ):
        write(tmp_path, defect_size=extent)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize('part', ['train', 'test'])
def test_existing_images_are_never_touched(tmp_path: Path, part: str) -> None:
    home = tmp_path / part / 'plate'
    home.mkdir(parents=True)
    (home / 'mine.png').write_bytes(b'precious')
    with pytest.raises(DatasetError) as error:
        write(tmp_path)
    assert str(error.value) == (
        f'{home}: exists and is not empty; delete it or choose another category'
    )
    assert contents(tmp_path) == {f'{part}/plate/mine.png': b'precious'}
    assert [p.name for p in tmp_path.iterdir()] == [part]


def test_empty_folders_are_filled_and_other_categories_stay(tmp_path: Path) -> None:
    (tmp_path / 'train' / 'plate').mkdir(parents=True)
    write(tmp_path, category='bracket', size=32)
    bracket = contents(tmp_path)
    write(tmp_path, size=32)
    both = contents(tmp_path)
    assert len(both) == 2 * len(bracket)
    assert bracket.items() <= both.items()


def test_a_run_that_is_stopped_leaves_nothing(tmp_path: Path) -> None:
    def stop(done: int, total: int) -> None:
        found = [p.relative_to(tmp_path).parts for p in tmp_path.rglob('plate')]
        assert len(found) == 2
        assert all(any(name.startswith('.') for name in parts) for parts in found)
        if done == total:
            raise KeyboardInterrupt

    (tmp_path / 'kept').mkdir()
    with pytest.raises(KeyboardInterrupt):
        write(tmp_path / 'kept' / 'new' / 'out', size=32, on_progress=stop)
    assert [p.name for p in tmp_path.rglob('*')] == ['kept']


def test_images_that_appear_meanwhile_win_and_nothing_is_half_there(tmp_path: Path) -> None:
    def intrude(done: int, total: int) -> None:
        home = tmp_path / 'test' / 'plate'
        if done == total:
            home.mkdir()
            (home / 'theirs.png').write_bytes(b'theirs')

    with pytest.raises(DatasetError, match=r'cannot write the data set: .*; nothing was kept$'):
        write(tmp_path, size=32, on_progress=intrude)
    assert contents(tmp_path) == {'test/plate/theirs.png': b'theirs'}
    assert not (tmp_path / 'train').exists()


def test_a_file_in_the_way_is_named(tmp_path: Path) -> None:
    out = tmp_path / 'out'
    out.write_text('not a folder')
    with pytest.raises(DatasetError, match='out: cannot write the data set'):
        write(out)
    assert out.read_text() == 'not a folder'


def test_an_image_that_cannot_be_encoded_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr('cv2.imencode', lambda *_: (False, None))
    with pytest.raises(DatasetError, match='could not encode'):
        write(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.name == 'nt', reason='Windows has no permission bits')
def test_folders_have_the_usual_permissions(tmp_path: Path) -> None:
    (tmp_path / 'like').mkdir()
    usual = (tmp_path / 'like').stat().st_mode
    folders = write(tmp_path, size=32)
    for folder in (folders.train, folders.masks.parent, folders.masks):
        assert folder.stat().st_mode == usual
