# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Images of a category: prepared as the detector prepares them, labelled, masked, named."""

from __future__ import annotations

from collections.abc import Callable
import os
from pathlib import Path
import re
import shutil

import cv2
import numpy as np
import pytest
from tiny_models import held_upright

from adet_core.errors import DatasetError
from adet_core.geometry import Geometry
from adet_core.image import preprocess, read_image
from adet_core.io.labelled import LabelledImage
from adet_training.dataset import Category, load_category
from adet_training.hold_out import hold_out

pytestmark = pytest.mark.training

SIZE = 64


def _load(root: Path, category: str = 'plate') -> Category:
    return load_category(root, category, Geometry.whole((SIZE, SIZE)))


def _draw(path: Path, pixels: np.ndarray | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    grey = np.full((96, 128, 3), 120, np.uint8) if pixels is None else pixels
    assert cv2.imwrite(str(path), grey)
    return path


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """Two grey images to learn from, and one of each kind to test."""
    root = tmp_path / 'small'
    for name in ('a', 'b'):
        _draw(root / 'train' / 'plate' / f'{name}.png')
    _draw(root / 'test' / 'plate' / 'normal' / 'good.png')
    _draw(root / 'test' / 'plate' / 'anomaly' / 'bad.png')
    return root


# ---- images and labels


def test_all_images_are_read_and_labelled(data_root: Path) -> None:
    data = _load(data_root)

    assert [s.path.name for s in data.train] == [f'{n:04}.png' for n in range(12)]
    assert not any(s.is_anomalous for s in data.train)
    labels = {s.path.relative_to(data_root): s.is_anomalous for s in data.test}
    assert labels == {
        path.relative_to(data_root): kind == 'anomaly'
        for kind in ('normal', 'anomaly')
        for path in (data_root / 'test' / 'plate' / kind).iterdir()
    }
    assert len(labels) == 16
    assert data.unreadable == []
    assert data.is_labelled


def test_the_pixels_are_those_that_the_detector_sees(own_data: Path) -> None:
    train = own_data / 'train' / 'plate'
    rng = np.random.default_rng(0)
    _draw(train / 'grey.png', rng.integers(0, 256, (90, 70), np.uint8))
    _draw(train / 'deep.tif', rng.integers(0, 65536, (50, 200), np.uint16))
    _draw(train / 'deep_colour.png', rng.integers(0, 65536, (40, 40, 3), np.uint16))
    _draw(train / 'alpha.png', rng.integers(0, 256, (64, 64, 4), np.uint8))
    upright = _draw(train / 'turned.jpg', rng.integers(0, 256, (30, 80, 3), np.uint8))
    upright.write_bytes(held_upright(upright.read_bytes()))

    data = _load(own_data)

    assert len(data.train) == 17
    assert data.unreadable == []
    assert read_image(upright).size == (80, 30)
    for labelled in data.train + data.test:
        expected = preprocess(read_image(labelled.path), (SIZE, SIZE))
        np.testing.assert_array_equal(labelled.pixels, expected)
        assert labelled.pixels.shape == (SIZE, SIZE, 3)
        assert labelled.pixels.dtype == np.uint8


def test_what_is_read_is_reported(data_root: Path) -> None:
    calls: list[tuple[str, int, int | None]] = []
    load_category(
        data_root, 'plate', Geometry.whole((SIZE, SIZE)), progress=lambda *call: calls.append(call)
    )
    assert calls == [('reading images', done, 28) for done in range(1, 29)]


@pytest.mark.parametrize(
    ('kinds', 'labelled'),
    [((), False), (('normal',), False), (('anomaly',), False), (('normal', 'anomaly'), True)],
)
def test_only_both_kinds_together_are_labelled_data(
    small: Path, kinds: tuple[str, ...], labelled: bool
) -> None:
    test = small / 'test' / 'plate'
    for kind in {'normal', 'anomaly'} - set(kinds):
        shutil.rmtree(test / kind)
    if not kinds:
        test.rmdir()
    data = _load(small)
    assert len(data.test) == len(kinds)
    assert data.is_labelled is labelled


def test_a_test_image_outside_normal_and_anomaly_is_named(small: Path) -> None:
    stray = _draw(small / 'test' / 'plate' / 'stray.png')
    message = f'{stray}: has no label; test images belong in normal/ or anomaly/'
    with pytest.raises(DatasetError, match=f'^{re.escape(message)}$'):
        _load(small)


def test_an_unreadable_image_is_skipped_and_named(small: Path) -> None:
    broken = small / 'train' / 'plate' / 'c.png'
    broken.write_bytes(b'not an image')
    (small / 'test' / 'plate' / 'anomaly' / 'empty.png').write_bytes(b'')

    data = _load(small)

    assert [s.path.name for s in data.train] == ['a.png', 'b.png']
    assert len(data.test) == 2
    assert len(data.unreadable) == 2
    assert data.unreadable[0] == f'{broken}: cannot be decoded as an image'
    assert 'empty.png: cannot be decoded as an image' in data.unreadable[1]


def test_grey_levels_that_would_all_be_white_are_refused(small: Path) -> None:
    for name, peak in (('c', 1), ('d', 255)):
        levels = np.linspace(0, peak, 96 * 128, dtype=np.float32).reshape(96, 128)
        cv2.imwrite(str(small / 'train' / 'plate' / f'{name}.tiff'), levels)
    data = _load(small)
    assert [s.path.name for s in data.train] == ['a.png', 'b.png', 'c.tiff']
    (line,) = data.unreadable
    assert line.endswith(
        'd.tiff: has float pixels up to 255, expected 0 to 1; save it with 16 bits'
    )


def test_too_few_readable_images_name_what_was_wrong(small: Path) -> None:
    folder = small / 'train' / 'plate'
    (folder / 'b.png').write_bytes(b'')
    message = (
        f'{folder}: 1 readable images, at least 2 are needed; '
        f'{folder}/b.png: cannot be decoded as an image'
    )
    with pytest.raises(DatasetError, match=f'^{re.escape(message)}$'):
        _load(small)


def test_one_image_is_too_few(small: Path) -> None:
    (small / 'train' / 'plate' / 'b.png').unlink()
    with pytest.raises(DatasetError, match=r'plate: 1 readable images, at least 2 are needed$'):
        _load(small)


def test_a_missing_category_is_answered_with_the_others(small: Path) -> None:
    (small / 'train' / 'lid').mkdir()
    (small / 'train' / 'a file').write_text('')
    message = f'{small}/train/plat: no such folder; put images of good parts there; it has '
    with pytest.raises(
        DatasetError, match=f'^{re.escape(message)}lid, plate; did you mean plate\\?$'
    ):
        _load(small, 'plat')


def test_a_missing_data_root_says_what_belongs_there(tmp_path: Path) -> None:
    message = f'{tmp_path}/no/train/plate: no such folder; put images of good parts there'
    with pytest.raises(DatasetError, match=f'^{re.escape(message)}$'):
        _load(tmp_path / 'no')


@pytest.mark.parametrize('folder', ['train', 'test'])
def test_a_folder_without_images_is_named(small: Path, folder: str) -> None:
    shutil.rmtree(small / folder / 'plate')
    (small / folder / 'plate').mkdir()
    with pytest.raises(DatasetError, match=f'/{folder}/plate: holds no images; put some there'):
        _load(small)


@pytest.mark.parametrize('category', ['', '.', '..', '../train/plate', 'plate/', '/tmp'])
def test_a_category_is_the_name_of_a_folder(small: Path, category: str) -> None:
    message = f'category {category!r} is not the name of a folder under train and test'
    with pytest.raises(DatasetError, match=f'^{re.escape(message)}$'):
        _load(small, category)


# ---- what makes a test doubtful


def test_drawn_data_needs_no_warning(data_root: Path) -> None:
    assert _load(data_root).warnings == []


@pytest.mark.parametrize('kind', ['normal', 'anomaly'])
def test_a_test_image_that_is_also_learned_from_is_warned_of(own_data: Path, kind: str) -> None:
    learned = own_data / 'train' / 'plate' / '0003.png'
    folder = own_data / 'test' / 'plate' / kind
    # Found by what it shows: under another name, in another format.
    copies = [folder / 'copy1.png', folder / 'copy2.bmp']
    for copy in copies:
        _draw(copy, cv2.imread(str(learned)))
    data = _load(own_data)
    assert data.warnings == [
        f'2 test images are also training images ({copies[0]} is {learned}); '
        'metrics and threshold flatter the model: move them out of one of the folders'
    ]


def test_images_that_are_nearly_the_same_are_no_duplicates(own_data: Path) -> None:
    pixels = cv2.imread(str(own_data / 'train' / 'plate' / '0003.png'))
    pixels[0, 0] ^= 255
    _draw(own_data / 'test' / 'plate' / 'normal' / 'other.png', pixels)
    assert _load(own_data).warnings == []


def test_one_good_image_many_times_is_warned_of(small: Path) -> None:
    _draw(small / 'test' / 'plate' / 'normal' / 'good.png', np.zeros((9, 9, 3), np.uint8))
    _draw(small / 'test' / 'plate' / 'anomaly' / 'bad.png', np.full((9, 9, 3), 9, np.uint8))
    (warning,) = _load(small).warnings
    first = small / 'train' / 'plate' / 'a.png'
    assert warning.startswith(f'all 2 training images are the same ({first}): whatever differs')
    _draw(small / 'train' / 'plate' / 'c.png', np.zeros((9, 9, 3), np.uint8))
    (warning,) = _load(small).warnings
    assert warning.startswith('1 test images are also training images (')


# ---- masks


def test_each_anomaly_has_the_mask_of_its_own_name(data_root: Path) -> None:
    data = _load(data_root)
    for labelled in data.test:
        assert labelled.mask is not None
        assert labelled.mask.shape == (SIZE, SIZE)
        assert labelled.mask.dtype == np.bool_
        assert labelled.mask.any() == labelled.is_anomalous
    for labelled in (s for s in data.test if s.is_anomalous):
        drawn = cv2.imread(str(labelled.path.parents[1] / 'masks' / labelled.path.name), 0) > 0
        rows, columns = np.nonzero(labelled.mask)
        truth = np.argwhere(drawn).mean(axis=0) / drawn.shape
        assert np.hypot(rows.mean() / SIZE - truth[0], columns.mean() / SIZE - truth[1]) < 0.02


def test_masks_are_matched_by_their_place_below_anomaly_whatever_their_format(small: Path) -> None:
    test = small / 'test' / 'plate'
    left, right = np.zeros((96, 128), np.uint8), np.zeros((96, 128), np.uint8)
    left[:, :64], right[:, 64:] = 255, 255
    for kind, mask in (('dent', left), ('scratch', right)):
        _draw(test / 'anomaly' / kind / '1.jpg')
        _draw(test / 'masks' / kind / '1.png', mask)
    _draw(test / 'masks' / '1.png', np.full((96, 128), 255, np.uint8))

    found = {s.path.parent.name: s.mask for s in _load(small).test}

    assert found['dent'] is not None
    assert found['scratch'] is not None
    assert found['dent'][:, :32].all()
    assert not found['dent'][:, 32:].any()
    np.testing.assert_array_equal(found['scratch'], ~found['dent'])


def test_an_anomaly_that_nobody_marked_has_no_mask(small: Path) -> None:
    masks = {s.path.name: s.mask for s in _load(small).test}
    assert masks['bad.png'] is None
    assert masks['good.png'] is not None
    assert not masks['good.png'].any()


def test_the_kinds_may_lie_deeper_with_their_masks_beside_them(small: Path) -> None:
    test = small / 'test' / 'plate'
    (test / 'line1').mkdir()
    (test / 'anomaly').rename(test / 'line1' / 'anomaly')
    _draw(test / 'line1' / 'masks' / 'bad.png', np.full((96, 128), 255, np.uint8))
    anomaly = next(s for s in _load(small).test if s.is_anomalous)
    assert anomaly.mask is not None
    assert anomaly.mask.all()


@pytest.mark.parametrize('level', [1, 255])
def test_a_hairline_survives_downscaling(small: Path, level: int) -> None:
    line = np.zeros((1024, 1024), np.uint8)
    line[100:900, 501] = level
    _draw(small / 'test' / 'plate' / 'anomaly' / 'bad.png', line)
    _draw(small / 'test' / 'plate' / 'masks' / 'bad.png', line)

    mask = next(s.mask for s in _load(small).test if s.is_anomalous)

    assert mask is not None
    rows, columns = np.nonzero(mask)
    assert set(columns) == {501 // 16}
    assert set(rows) == set(range(100 // 16, 900 // 16 + 1))


def test_a_broad_mask_keeps_its_area(small: Path) -> None:
    disc = cv2.circle(np.zeros((512, 512), np.uint8), (250, 260), 100, 255, -1)
    _draw(small / 'test' / 'plate' / 'anomaly' / 'bad.png', disc)
    _draw(small / 'test' / 'plate' / 'masks' / 'bad.png', disc)
    mask = next(s.mask for s in _load(small).test if s.is_anomalous)
    assert mask is not None
    assert mask.mean() == pytest.approx((disc > 0).mean(), rel=0.02)


def test_masks_of_no_use_are_warned_of_by_name(small: Path) -> None:
    masks = small / 'test' / 'plate' / 'masks'
    masks.mkdir()
    (masks / 'bad.png').write_bytes(b'no mask')
    _draw(masks / 'other.png', np.full((96, 128), 255, np.uint8))
    _draw(small / 'train' / 'plate' / 'c.png', np.zeros((96, 128, 3), np.uint8))
    data = _load(small)
    assert [one.mask for one in data.test if one.is_anomalous] == [None]
    assert data.warnings[0] == (
        f'{masks}/bad.png: cannot be decoded as an image; the mask is not used'
    )
    assert (data.unmatched_masks, data.unfit_masks) == (1, 1)
    assert data.warnings[1].startswith(f'{masks}/other.png: is the mask of no image in ')


# ---- fingerprint


def _change_a_image(root: Path) -> None:
    _draw(root / 'train' / 'plate' / 'a.png', np.zeros((96, 128, 3), np.uint8))


def _change_a_mask(root: Path) -> None:
    _draw(root / 'test' / 'plate' / 'masks' / 'bad.png', np.full((96, 128), 9, np.uint8))


def _add_a_image(root: Path) -> None:
    _draw(root / 'train' / 'plate' / 'c.png')


def _rename_a_image(root: Path) -> None:
    (root / 'train' / 'plate' / 'a.png').rename(root / 'train' / 'plate' / 'a2.png')


def _relabel_a_image(root: Path) -> None:
    test = root / 'test' / 'plate'
    (test / 'normal' / 'good.png').rename(test / 'anomaly' / 'good.png')


def _swap_two_images(root: Path) -> None:
    good, bad = (root / 'test' / 'plate' / name for name in ('normal/good.png', 'anomaly/bad.png'))
    _draw(good, np.zeros((96, 128, 3), np.uint8))
    before = _load(root).fingerprint
    spare = root / 'spare.png'
    good.rename(spare)
    bad.rename(good)
    spare.rename(bad)
    assert _load(root).fingerprint != before


@pytest.mark.parametrize(
    'change',
    [
        _change_a_image,
        _change_a_mask,
        _add_a_image,
        _rename_a_image,
        _relabel_a_image,
        _swap_two_images,
    ],
)
def test_the_fingerprint_changes_with_content_and_names(
    small: Path, change: Callable[[Path], None]
) -> None:
    before = _load(small).fingerprint
    assert re.fullmatch('[0-9a-f]{64}', before)
    change(small)
    assert _load(small).fingerprint != before


def test_the_fingerprint_does_not_depend_on_the_place(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = _load(small).fingerprint
    copy = shutil.copytree(small, tmp_path / 'elsewhere' / 'data')
    (copy / 'train' / 'plate' / 'notes.txt').write_text('not an image')
    assert _load(copy).fingerprint == before
    monkeypatch.chdir(copy)
    assert _load(Path()).fingerprint == before
    (tmp_path / 'link').symlink_to(copy)
    assert _load(tmp_path / 'link').fingerprint == before


def test_a_name_may_be_in_any_encoding(small: Path) -> None:
    before = _load(small)
    image = small / 'train' / 'plate' / 'a.png'
    try:
        image.rename(image.with_name(os.fsdecode(b'\xff\xfe.png')))
    except OSError:
        pytest.skip('this file system takes UTF-8 alone')
    data = _load(small)
    assert len(data.train) == 2
    assert data.fingerprint != before.fingerprint


# ---- holding out


def _images(count: int) -> list[LabelledImage]:
    pixels = np.zeros((1, 1, 3), np.uint8)
    return [LabelledImage(Path(f'/images/{number:03}.png'), pixels) for number in range(count)]


@pytest.mark.parametrize('count', [3, 4, 5, 12, 99])
@pytest.mark.parametrize('share', [0.001, 0.2, 0.5, 0.999])
def test_holding_out_splits_the_images_in_two(count: int, share: float) -> None:
    images = _images(count)
    fit, kept = hold_out(images, share, seed=3)
    assert sorted(str(s.path) for s in fit + kept) == [str(s.path) for s in images]
    assert len(fit) >= 2
    assert len(kept) == min(max(round(count * share), 1), count - 2)
    for part in (fit, kept):
        assert part == sorted(part, key=lambda labelled: labelled.path)


def test_the_seed_decides_what_is_held_out() -> None:
    images = _images(50)
    first, same, other = (hold_out(images, 0.2, seed)[1] for seed in (0, 0, 1))
    assert first == same != other


def test_every_image_has_its_chance_to_be_held_out() -> None:
    images = _images(10)
    kept = {str(s.path) for seed in range(60) for s in hold_out(images, 0.2, seed)[1]}
    assert len(kept) == 10


def test_two_images_cannot_be_split() -> None:
    with pytest.raises(
        DatasetError,
        match=r'^/images: 2 readable images, at least 3 are needed; without labelled test',
    ):
        hold_out(_images(2), 0.2, seed=0)


def test_the_last_images_can_be_held_out() -> None:
    images = _images(10)
    fit, kept = hold_out(images, 0.3, seed=0, by='last')
    assert (fit, kept) == (images[:7], images[7:])


@pytest.mark.parametrize('by', ['random', 'last'])
@pytest.mark.parametrize('group_by', [r'^(item\d+)_', r'^item\d+', 'folder'])
def test_a_group_is_never_split(by: str, group_by: str) -> None:
    images = [
        LabelledImage(Path(f'/images/{item}/item{item}_{view}.png'), np.zeros((2, 2, 3), np.uint8))
        for item in range(6)
        for view in range(4)
    ]
    for seed in range(5):
        fit, kept = hold_out(images, 0.2, seed, by=by, group_by=group_by)
        items = [{labelled.path.parent.name for labelled in part} for part in (fit, kept)]
        # A fifth of 24 images is 5: two whole items.
        assert (len(items[0]), len(items[1]), len(kept)) == (4, 2, 8)
        assert not items[0] & items[1]
        assert by == 'random' or items[1] == {'4', '5'}
    with pytest.raises(DatasetError, match='group_by=item leaves no group to hold out of 1; name'):
        hold_out(images, 0.2, 0, by=by, group_by='item')
    # What does not match stands alone.
    assert len(hold_out(images, 0.25, 0, by=by, group_by='nothing')[1]) == 6
