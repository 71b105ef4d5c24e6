# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Images: every encoding against numpy's own arithmetic, every file against what was drawn."""

from __future__ import annotations

import os
from pathlib import Path
import struct

import cv2
import numpy as np
import pytest

from adet_core.errors import ImageError
from adet_core.image import (
    encoding_layout,
    ENCODINGS,
    Image,
    preprocess,
    read_image,
    to_bgr,
)

RNG = np.random.default_rng(0)
COLOUR = RNG.integers(0, 256, (40, 50, 3), np.uint8)
ALPHA = RNG.integers(0, 256, (40, 50, 4), np.uint8)
GREY = RNG.integers(0, 256, (40, 50), np.uint8)
DEEP = RNG.integers(0, 65536, (40, 50), np.uint16)
FLOAT = RNG.uniform(-0.5, 1.5, (40, 50)).astype(np.float32)


def _grey_rgb(pixels: np.ndarray) -> np.ndarray:
    return np.repeat(pixels[..., None], 3, axis=2)


PLAIN = {
    'mono8': (GREY, _grey_rgb(GREY)),
    'mono16': (DEEP, _grey_rgb(np.rint(DEEP.astype(np.float64) * 255 / 65535))),
    '32FC1': (FLOAT, _grey_rgb(np.rint(np.clip(FLOAT.astype(np.float64), 0, 1) * 255))),
    'rgb8': (COLOUR, COLOUR),
    'bgr8': (COLOUR, COLOUR[..., ::-1]),
    'rgba8': (ALPHA, ALPHA[..., :3]),
    'bgra8': (ALPHA, ALPHA[..., 2::-1]),
}
MOSAICS = {
    'bayer_rggb8': 'RGGB',
    'bayer_bggr8': 'BGGR',
    'bayer_gbrg8': 'GBRG',
    'bayer_grbg8': 'GRBG',
}


def test_every_encoding_has_a_test() -> None:
    assert ENCODINGS.keys() == PLAIN.keys() | MOSAICS.keys()


@pytest.mark.parametrize('encoding', PLAIN)
def test_an_encoding_becomes_rgb(encoding: str) -> None:
    pixels, expected = PLAIN[encoding]
    before = pixels.copy()
    preprocessed = preprocess(Image(pixels, encoding), (40, 50))
    assert preprocessed.dtype == np.uint8
    assert preprocessed.shape == (40, 50, 3)
    assert preprocessed.flags.c_contiguous
    np.testing.assert_array_equal(preprocessed, expected)
    np.testing.assert_array_equal(pixels, before)


@pytest.mark.parametrize('encoding', PLAIN)
def test_showing_a_image_gives_the_same_in_bgr(encoding: str) -> None:
    pixels, expected = PLAIN[encoding]
    shown = to_bgr(Image(pixels, encoding))
    np.testing.assert_array_equal(shown, expected[..., ::-1])


@pytest.mark.parametrize('encoding', MOSAICS)
@pytest.mark.parametrize('colour', [(200, 100, 50), (255, 0, 0), (0, 255, 0), (0, 0, 255)])
def test_a_mosaic_gets_its_colours_back(encoding: str, colour: tuple[int, int, int]) -> None:
    levels = dict(zip('RGB', colour, strict=True))
    tile = np.array([levels[letter] for letter in MOSAICS[encoding]], np.uint8).reshape(2, 2)
    mosaic = np.tile(tile, (16, 16))
    preprocessed = preprocess(Image(mosaic, encoding), (32, 32))
    np.testing.assert_array_equal(preprocessed, np.full((32, 32, 3), colour, np.uint8))
    small = preprocess(Image(mosaic, encoding), (8, 8))
    np.testing.assert_array_equal(small, np.full((8, 8, 3), colour, np.uint8))


@pytest.mark.parametrize('level', [0, 1, 128, 129, 257, 32767, 32768, 65534, 65535])
def test_sixteen_bits_are_scaled_to_eight(level: int) -> None:
    pixels = np.full((4, 4), level, np.uint16)
    preprocessed = preprocess(Image(pixels, 'mono16'), (4, 4))
    assert (preprocessed == round(level * 255 / 65535)).all()


def test_floats_are_scaled_by_the_given_range_and_odd_values_are_clipped() -> None:
    pixels = np.array(
        [[10, 20, 15, 12.5], [-5, 99, np.nan, np.inf], [-np.inf, 3.4e38, -3.4e38, 1e-40]],
        np.float32,
    )
    preprocessed = preprocess(Image(pixels, '32FC1'), (3, 4), float_range=(10, 20))
    expected = [[0, 255, 128, 64], [0, 255, 0, 255], [0, 255, 0, 0]]
    np.testing.assert_array_equal(preprocessed[..., 0], expected)


def test_a_float_range_may_be_turned_round() -> None:
    pixels = np.array([[0.0, 0.25, 1.0, 2.0]], np.float32)
    preprocessed = preprocess(Image(pixels, '32FC1'), (1, 4), float_range=(1.0, 0.0))
    np.testing.assert_array_equal(preprocessed[0, :, 0], [255, 191, 0, 0])


# ---- sizes


@pytest.mark.parametrize(('rows', 'columns'), [(2, 2), (4, 4), (3, 5), (1, 4), (8, 1)])
def test_a_large_image_shrinks_to_the_means_of_its_blocks(rows: int, columns: int) -> None:
    pixels = RNG.integers(0, 256, (16 * rows, 20 * columns, 3), np.uint8)
    preprocessed = preprocess(Image(pixels, 'rgb8'), (16, 20))
    means = pixels.reshape(16, rows, 20, columns, 3).mean(axis=(1, 3))
    assert np.abs(preprocessed - means).max() <= 0.5 + 1e-4


def test_a_ratio_that_is_not_whole_shrinks_by_weighted_means() -> None:
    pixels = np.tile(np.array([0, 90, 180], np.uint8), (3, 1))
    preprocessed = preprocess(Image(pixels, 'mono8'), (2, 2))[..., 0]
    expected = [(0 * 2 + 90) / 3, (90 + 180 * 2) / 3]
    np.testing.assert_allclose(preprocessed, [expected, expected], atol=0.5)


@pytest.mark.parametrize(
    'shape',
    [(1944, 2592, 3), (1080, 1920), (1080, 1920, 1), (720, 1280, 3), (1001, 1200, 3)],
)
@pytest.mark.parametrize('size', [(256, 256), (300, 200)])
@pytest.mark.parametrize('cores', [1, 2, 3, 8])
def test_the_strips_of_a_large_image_are_what_the_whole_would_be(
    shape: tuple[int, ...],
    size: tuple[int, int],
    cores: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(os, 'sched_getaffinity', lambda _: set(range(cores)))
    pixels = RNG.integers(0, 256, shape, np.uint8)
    whole = cv2.resize(pixels, size[::-1], interpolation=cv2.INTER_AREA)
    encoding = 'rgb8' if shape[2:] == (3,) else 'mono8'
    if encoding == 'mono8':
        whole = cv2.cvtColor(whole, cv2.COLOR_GRAY2RGB)
    assert np.array_equal(preprocess(Image(pixels, encoding), size), whole)


def test_a_small_image_grows_by_interpolation() -> None:
    pixels = np.array([[0, 100], [200, 50]], np.uint8)
    preprocessed = preprocess(Image(pixels, 'mono8'), (8, 8))[..., 0]
    place = np.clip((np.arange(8) + 0.5) / 4 - 0.5, 0, 1)
    weights = np.stack([1 - place, place])
    np.testing.assert_allclose(preprocessed, weights.T @ pixels @ weights, atol=1)


@pytest.mark.parametrize('turn', [False, True])
def test_one_axis_may_shrink_while_the_other_grows(turn: bool) -> None:
    # Stripes finer than the result: averaged they are even, sampled they would be patterns.
    pixels = np.tile(np.array([[200], [0], [0], [200]], np.uint8), (64, 32))
    image = pixels.T if turn else pixels
    preprocessed = preprocess(Image(image, 'mono8'), (64, 64))
    assert (preprocessed == 100).all()


@pytest.mark.parametrize('turn', [False, True])
def test_the_growing_axis_is_interpolated_while_the_other_shrinks(turn: bool) -> None:
    pixels = np.tile(np.array([0, 200], np.uint8), (128, 1))
    preprocessed = preprocess(Image(pixels.T if turn else pixels, 'mono8'), (32, 32))[..., 0]
    ramp = (preprocessed.T if turn else preprocessed)[0].astype(int)
    assert ramp[0] == 0
    assert ramp[-1] == 200
    assert (np.diff(ramp) >= 0).all()
    assert len(set(ramp)) > 10


def test_a_constant_image_stays_constant_at_any_size() -> None:
    for size in ((1, 1), (7, 300), (300, 7), (41, 51), (39, 49)):
        preprocessed = preprocess(Image(np.full((40, 50, 3), 77, np.uint8), 'bgr8'), size)
        assert preprocessed.shape == (*size, 3)
        assert (preprocessed == 77).all()


@pytest.mark.parametrize('encoding', PLAIN)
def test_pixels_may_be_views(encoding: str) -> None:
    pixels, expected = PLAIN[encoding]
    turned = preprocess(Image(pixels[::-1, ::2], encoding), (40, 25))
    np.testing.assert_array_equal(turned, expected[::-1, ::2])
    swapped = preprocess(Image(pixels.swapaxes(0, 1), encoding), (50, 40))
    np.testing.assert_array_equal(swapped, expected.swapaxes(0, 1))
    padded = np.zeros((pixels.shape[0], pixels.shape[1] + 3, *pixels.shape[2:]), pixels.dtype)
    padded[:, :-3] = pixels
    np.testing.assert_array_equal(preprocess(Image(padded[:, :-3], encoding), (40, 50)), expected)
    small = preprocess(Image(pixels[:, ::-1], encoding), (10, 10))
    reference = preprocess(Image(np.ascontiguousarray(pixels[:, ::-1]), encoding), (10, 10))
    np.testing.assert_array_equal(small, reference)


def test_the_result_is_a_copy_that_may_outlive_a_buffer_only_if_it_was_changed() -> None:
    preprocessed = preprocess(Image(COLOUR, 'bgr8'), (40, 50))
    assert not np.shares_memory(preprocessed, COLOUR)


def test_one_channel_may_have_an_axis_of_its_own() -> None:
    preprocessed = preprocess(Image(GREY[..., None], 'mono8'), (40, 50))
    np.testing.assert_array_equal(preprocessed, _grey_rgb(GREY))


@pytest.mark.parametrize(
    ('pixels', 'encoding'),
    [
        (GREY, 'bgr8'),
        (COLOUR, 'mono8'),
        (COLOUR, 'rgba8'),
        (ALPHA, 'rgb8'),
        (DEEP, 'mono8'),
        (GREY, 'mono16'),
        (DEEP.astype('>u2'), 'mono16'),
        (FLOAT.astype(np.float64), '32FC1'),
        (GREY, '32FC1'),
        (COLOUR, 'bayer_rggb8'),
        (DEEP, 'bayer_rggb8'),
        (GREY[0], 'mono8'),
        (COLOUR[None], 'bgr8'),
        (np.zeros((), np.uint8), 'mono8'),
        (np.zeros((0, 5), np.uint8), 'mono8'),
        (np.zeros((5, 0, 3), np.uint8), 'bgr8'),
    ],
)
def test_pixels_that_do_not_fit_their_encoding_are_refused(
    pixels: np.ndarray, encoding: str
) -> None:
    with pytest.raises(ImageError, match=f'^{encoding} pixels of .* do not fit the encoding$'):
        preprocess(Image(pixels, encoding), (64, 64))


@pytest.mark.parametrize('encoding', ['yuv422', '', 'BGR8', 'bayer_rggb16', '8UC3'])
def test_an_unknown_encoding_is_refused_with_the_known_ones(encoding: str) -> None:
    message = f"encoding '{encoding}' is not supported; supported: mono8, mono16, bgr8"
    with pytest.raises(ImageError, match=message):
        encoding_layout(encoding)
    with pytest.raises(ImageError, match=message):
        preprocess(Image(GREY, encoding), (64, 64))


# ---- files


@pytest.mark.parametrize('suffix', ['.png', '.bmp', '.tiff', '.tif', '.webp', '.ppm'])
def test_lossless_colour_files_are_read_as_they_were_drawn(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f'a{suffix}'
    options = [cv2.IMWRITE_WEBP_QUALITY, 101] if suffix == '.webp' else []
    assert cv2.imwrite(str(path), COLOUR, options)
    image = read_image(path)
    assert image.encoding == 'bgr8'
    assert image.size == (40, 50)
    np.testing.assert_array_equal(image.pixels, COLOUR)


@pytest.mark.parametrize('suffix', ['.png', '.bmp', '.tiff', '.pgm'])
def test_grey_files_stay_grey(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f'a{suffix}'
    assert cv2.imwrite(str(path), GREY)
    image = read_image(path)
    assert image.encoding == 'mono8'
    np.testing.assert_array_equal(image.pixels, GREY)


@pytest.mark.parametrize('suffix', ['.jpg', '.jpeg', '.JPG'])
def test_jpeg_files_are_read_nearly_as_they_were_drawn(tmp_path: Path, suffix: str) -> None:
    smooth = cv2.GaussianBlur(COLOUR, (0, 0), 4)
    path = tmp_path / f'a{suffix}'
    assert cv2.imwrite(str(path), smooth, [cv2.IMWRITE_JPEG_QUALITY, 100])
    image = read_image(path)
    assert image.encoding == 'bgr8'
    assert np.abs(image.pixels.astype(int) - smooth).mean() < 2


@pytest.mark.parametrize('suffix', ['.png', '.tiff'])
def test_deep_grey_files_keep_their_depth(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f'a{suffix}'
    assert cv2.imwrite(str(path), DEEP)
    image = read_image(path)
    assert image.encoding == 'mono16'
    np.testing.assert_array_equal(image.pixels, DEEP)


@pytest.mark.parametrize('suffix', ['.png', '.tiff'])
def test_deep_colour_becomes_eight_bits(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f'a{suffix}'
    deep = RNG.integers(0, 65536, (40, 50, 3), np.uint16)
    assert cv2.imwrite(str(path), deep)
    image = read_image(path)
    assert image.encoding == 'bgr8'
    np.testing.assert_array_equal(image.pixels, np.rint(deep * (255 / 65535)))


@pytest.mark.parametrize('dtype', [np.uint8, np.uint16])
def test_an_alpha_channel_is_dropped(tmp_path: Path, dtype: type[np.generic]) -> None:
    path = tmp_path / 'a.png'
    scale = 257 if dtype is np.uint16 else 1
    assert cv2.imwrite(str(path), ALPHA.astype(dtype) * np.array(scale, dtype))
    image = read_image(path)
    assert image.encoding == 'bgr8'
    np.testing.assert_array_equal(image.pixels, ALPHA[..., :3])


def test_float_tiffs_are_read_as_they_are(tmp_path: Path) -> None:
    path = tmp_path / 'a.tiff'
    assert cv2.imwrite(str(path), FLOAT)
    image = read_image(path)
    assert image.encoding == '32FC1'
    np.testing.assert_array_equal(image.pixels, FLOAT)


@pytest.mark.parametrize('dtype', [np.float64, np.int16])
def test_pixels_of_an_odd_type_are_refused(tmp_path: Path, dtype: type[np.generic]) -> None:
    path = tmp_path / 'a.tiff'
    assert cv2.imwrite(str(path), GREY.astype(dtype))
    name = np.dtype(dtype).name
    with pytest.raises(ImageError, match=f'^{path}: has {name} pixels, which adet does not rea'):
        read_image(path)


def _with_orientation(jpeg: bytes, orientation: int) -> bytes:
    entry = struct.pack('>HHIHH', 0x0112, 3, 1, orientation, 0)
    tiff = b'MM\x00*' + struct.pack('>IH', 8, 1) + entry + struct.pack('>I', 0)
    body = b'Exif\x00\x00' + tiff
    return jpeg[:2] + b'\xff\xe1' + struct.pack('>H', len(body) + 2) + body + jpeg[2:]


@pytest.mark.parametrize(('orientation', 'turns'), [(1, 0), (3, 2), (6, -1), (8, 1)])
def test_a_camera_that_was_held_upright_is_put_right(
    tmp_path: Path, orientation: int, turns: int
) -> None:
    drawn = np.full((16, 32, 3), 30, np.uint8)
    drawn[:8, :16] = 220  # the upper left
    jpeg = cv2.imencode('.jpg', drawn, [cv2.IMWRITE_JPEG_QUALITY, 100])[1].tobytes()
    path = tmp_path / 'a.jpg'
    path.write_bytes(_with_orientation(jpeg, orientation))
    image = read_image(path)
    expected = np.rot90(drawn, turns)
    assert image.pixels.shape == expected.shape
    assert np.abs(image.pixels.astype(int) - expected).max() < 10


@pytest.mark.parametrize('suffix', ['.png', '.jpg', '.bmp', '.tiff', '.webp'])
@pytest.mark.parametrize('share', [0.0, 0.1, 0.5])
def test_a_truncated_file_is_refused(tmp_path: Path, suffix: str, share: float) -> None:
    data = cv2.imencode(suffix, COLOUR)[1].tobytes()
    path = tmp_path / f'a{suffix}'
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(ImageError, match=f'^{path}: cannot be decoded as an image$'):
        read_image(path)


@pytest.mark.parametrize(
    'data', [b'', b'text', b'\x89PNG\r\n\x1a\n', bytes(1000), b'BM' + b'9' * 99]
)
def test_a_file_that_is_no_image_is_refused(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / 'a.png'
    path.write_bytes(data)
    with pytest.raises(ImageError, match=f'^{path}: cannot be decoded as an image$'):
        read_image(path)


def test_a_missing_file_and_a_directory_are_image_errors(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r'nothing\.png: No such file or directory'):
        read_image(tmp_path / 'nothing.png')
    with pytest.raises(ImageError, match='Is a directory'):
        read_image(tmp_path)
