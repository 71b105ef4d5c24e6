# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Images: every encoding against numpy's own arithmetic, every file against what was drawn."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
import os
from pathlib import Path
import resource
import struct
import zlib

import cv2
import numpy as np
import pytest

from adet_core.errors import ConfigError, ImageError
from adet_core.image import (
    decode_image,
    decode_message,
    encoding_layout,
    ENCODINGS,
    Image,
    in_range,
    max_pixels,
    preprocess,
    read_image,
    set_max_megapixels,
    to_bgr,
    unpack_image,
)
from adet_core.image.header import read_header

RNG = np.random.default_rng(0)
COLOUR = RNG.integers(0, 256, (40, 50, 3), np.uint8)
ALPHA = RNG.integers(0, 256, (40, 50, 4), np.uint8)
GREY = RNG.integers(0, 256, (40, 50), np.uint8)
DEEP = RNG.integers(0, 65536, (40, 50), np.uint16)
FLOAT = RNG.uniform(-0.5, 1.5, (40, 50)).astype(np.float32)


def _grey_rgb(pixels: np.ndarray) -> np.ndarray:
    return np.repeat(pixels[..., None], 3, axis=2)


DEEP_COLOUR = RNG.integers(0, 65536, (40, 50, 4), np.uint16)
SCALED = np.rint(DEEP_COLOUR[..., :3].astype(np.float64) * 255 / 65535).astype(np.uint8)
PLAIN = {
    'mono8': (GREY, _grey_rgb(GREY)),
    '8UC1': (GREY, _grey_rgb(GREY)),
    '16UC1': (DEEP, _grey_rgb(np.rint(DEEP.astype(np.float64) * 255 / 65535))),
    '8UC3': (COLOUR, COLOUR[..., ::-1]),
    '8UC4': (ALPHA, ALPHA[..., 2::-1]),
    'rgb16': (np.ascontiguousarray(DEEP_COLOUR[..., :3]), SCALED),
    'bgr16': (np.ascontiguousarray(DEEP_COLOUR[..., :3]), SCALED[..., ::-1]),
    'rgba16': (DEEP_COLOUR, SCALED),
    'bgra16': (DEEP_COLOUR, SCALED[..., ::-1]),
    'mono16': (DEEP, _grey_rgb(np.rint(DEEP.astype(np.float64) * 255 / 65535))),
    '32FC1': (FLOAT, _grey_rgb(np.rint(np.clip(FLOAT.astype(np.float64), 0, 1) * 255))),
    'rgb8': (COLOUR, COLOUR),
    'bgr8': (COLOUR, COLOUR[..., ::-1]),
    'rgba8': (ALPHA, ALPHA[..., :3]),
    'bgra8': (ALPHA, ALPHA[..., 2::-1]),
}
MOSAICS = {
    f'bayer_{pattern}{bits}': pattern.upper()
    for pattern in ('rggb', 'bggr', 'gbrg', 'grbg')
    for bits in (8, 16)
}
# Y, U and V of two neighbours, in the order of their bytes.
PAIRS = {'yuv422': 'uyvy', 'uyvy': 'uyvy', 'yuv422_yuy2': 'yuyv', 'yuyv': 'yuyv'}
PLANES = {'nv12': 'uv', 'nv21': 'vu'}


def test_every_encoding_has_a_test() -> None:
    assert ENCODINGS.keys() == PLAIN.keys() | MOSAICS.keys() | PAIRS.keys() | PLANES.keys()


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
    deep = encoding.endswith('16')
    values = [levels[letter] * (257 if deep else 1) for letter in MOSAICS[encoding]]
    tile = np.array(values, np.uint16 if deep else np.uint8).reshape(2, 2)
    mosaic = np.tile(tile, (16, 16))
    preprocessed = preprocess(Image(mosaic, encoding), (32, 32))
    np.testing.assert_array_equal(preprocessed, np.full((32, 32, 3), colour, np.uint8))
    small = preprocess(Image(mosaic, encoding), (8, 8))
    np.testing.assert_array_equal(small, np.full((8, 8, 3), colour, np.uint8))


def _yuv_of(colour: tuple[int, int, int]) -> dict[str, int]:
    """ITU-R BT.601, of limited range."""
    red, green, blue = (value / 255 for value in colour)
    y = 0.299 * red + 0.587 * green + 0.114 * blue
    return {
        'y': round(16 + 219 * y),
        'u': round(128 + 112 / 0.886 * (blue - y)),
        'v': round(128 + 112 / 0.701 * (red - y)),
    }


@pytest.mark.parametrize('colour', [(200, 100, 50), (255, 0, 0), (0, 0, 255), (90, 90, 90)])
@pytest.mark.parametrize('encoding', [*PAIRS, *PLANES])
def test_what_shares_its_colours_gets_them_back(
    encoding: str, colour: tuple[int, int, int]
) -> None:
    values = _yuv_of(colour)
    if encoding in PAIRS:
        four = [values[letter] for letter in PAIRS[encoding]]
        pixels = np.tile(np.array(four, np.uint8).reshape(1, 2, 2), (6, 4, 1))
    else:
        pair = np.array([values[letter] for letter in PLANES[encoding]], np.uint8)
        brightness = np.full((6, 8), values['y'], np.uint8)
        pixels = np.concatenate([brightness, np.tile(pair, (3, 4))])
    data = np.zeros((len(pixels), 20), np.uint8)
    row = pixels.reshape(len(pixels), -1)
    data[:, : row.shape[1]] = row
    image = unpack_image(
        memoryview(data).cast('B'), encoding, height=6, width=8, step=20, is_bigendian=False
    )
    assert image.size == (6, 8)
    found = preprocess(image, (6, 8)).astype(int)
    assert np.abs(found - np.array(colour)).max() <= 3


@pytest.mark.parametrize(('encoding', 'shape'), [('yuyv', (4, 5, 2)), ('nv12', (6, 5))])
def test_shared_colours_need_even_numbers_of_pixels(encoding: str, shape: tuple[int, ...]) -> None:
    with pytest.raises(ImageError, match=f'{encoding} image of 5x4: needs even numbers'):
        preprocess(Image(np.zeros(shape, np.uint8), encoding), (4, 4))


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


@pytest.mark.parametrize('encoding', ['yuv411', '', 'BGR8', 'bayer_rggb32', '8UC2'])
def test_an_unknown_encoding_is_refused_with_the_known_ones(encoding: str) -> None:
    message = f"encoding '{encoding}' is not supported; supported: mono8, 8UC1, mono16"
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


@pytest.mark.parametrize(
    ('dtype', 'channels'),
    [(np.float64, 1), (np.int16, 1), (np.int16, 3), (np.int32, 3), (np.float32, 3)],
)
def test_pixels_of_an_odd_type_are_refused(
    tmp_path: Path, dtype: type[np.generic], channels: int
) -> None:
    path = tmp_path / 'a.tiff'
    assert cv2.imwrite(str(path), (GREY if channels == 1 else COLOUR).astype(dtype))
    name = np.dtype(dtype).name + (' colour' if channels == 3 else '')
    with pytest.raises(ImageError, match=f'^{path}: has {name} pixels, which adet does not rea'):
        read_image(path)


@pytest.mark.parametrize('white', [100, 255, 1023, 4095, 65535])
@pytest.mark.parametrize('kind', ['P2', 'P3', 'P5', 'P6'])
def test_the_white_of_a_pgm_or_ppm_file_is_white(tmp_path: Path, kind: str, white: int) -> None:
    channels = 3 if kind in {'P3', 'P6'} else 1
    levels = [0, white // 2, white, white // 3] * channels
    if kind in {'P2', 'P3'}:
        body = f'{" ".join(map(str, levels))}\n'.encode()
    else:
        body = np.array(levels, '>u2' if white > 255 else np.uint8).tobytes()
    path = tmp_path / 'a.ppm'
    path.write_bytes(f'{kind}\n# a comment\n2 2\n{white}\n'.encode() + body)
    image = read_image(path)
    assert image.encoding == ('bgr8' if channels == 3 else 'mono16' if white > 255 else 'mono8')
    found = preprocess(image, (2, 2)).astype(int)
    expected = np.rint(np.array(levels) * (255 / white))
    if channels == 1:
        expected = np.repeat(expected, 3)
    assert np.abs(found.ravel() - expected).max() <= 1


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
    'data', [b'', b'text', b'\x89PNG\r\n\x1a\n', bytes(1000), b'BM' + bytes(99)]
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


# ---- hostile files


def _png_chunk(kind: bytes, data: bytes, length: int | None = None) -> bytes:
    size = len(data) if length is None else length
    return struct.pack('>I', size) + kind + data + struct.pack('>I', zlib.crc32(kind + data))


def _png(width: int, height: int, *chunks: bytes) -> bytes:
    header = _png_chunk(b'IHDR', struct.pack('>IIBBBBB', width, height, 8, 0, 0, 0, 0))
    return b'\x89PNG\r\n\x1a\n' + header + b''.join(chunks) + _png_chunk(b'IEND', b'')


@contextmanager
def _memory_limited(more: int) -> Iterator[None]:
    """Let the process take so many bytes more than it has."""
    pages = int(Path('/proc/self/statm').read_text().split()[0])
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + more, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


SUFFIXES = ['.png', '.jpg', '.bmp', '.tiff', '.webp', '.pgm', '.ppm']


@pytest.mark.parametrize('shape', [(30, 50), (30, 50, 3), (1, 1), (300, 7)])
@pytest.mark.parametrize('suffix', SUFFIXES)
def test_the_header_tells_the_size(suffix: str, shape: tuple[int, ...]) -> None:
    if (suffix == '.pgm' and len(shape) == 3) or (suffix == '.ppm' and len(shape) == 2):
        pytest.skip('this format has the other number of channels')
    for options in ([], [cv2.IMWRITE_WEBP_QUALITY, 101 if suffix == '.webp' else 100]):
        data = cv2.imencode(suffix, np.zeros(shape, np.uint8), options)[1].tobytes()
        header = read_header(data)
        assert header is not None
        assert (header.height, header.width, header.pixels) == (*shape[:2], shape[0] * shape[1])


@pytest.mark.parametrize('suffix', [suffix for suffix in SUFFIXES if suffix != '.pgm'])
def test_a_header_cut_anywhere_is_no_header(suffix: str) -> None:
    data = cv2.imencode(suffix, np.zeros((9, 9, 3), np.uint8))[1].tobytes()
    for length in range(30):
        header = read_header(data[:length])
        assert header is None or (header.height, header.width) == (9, 9)


def test_more_pixels_than_the_limit_are_refused_before_they_are_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / 'a.png'
    path.write_bytes(_png(30_000, 30_000, _png_chunk(b'IDAT', zlib.compress(bytes(100)))))
    message = f'^{path}: 30000x30000 pixels are more than 200 megapixels; raise max_megapixels'
    with _memory_limited(100_000_000), pytest.raises(ImageError, match=message):
        read_image(path)
    monkeypatch.setenv('ADET_MAX_MEGAPIXELS', '0.001')
    path.write_bytes(cv2.imencode('.png', GREY)[1].tobytes())
    with pytest.raises(ImageError, match=r'50x40 pixels are more than 0\.001 megapixels'):
        read_image(path)
    data = memoryview(GREY).cast('B')
    with pytest.raises(ImageError, match=r'mono8 image: 50x40 pixels are more than 0\.001 mega'):
        unpack_image(data, 'mono8', height=40, width=50, step=50, is_bigendian=False)
    for word in ('', '0.002'):
        monkeypatch.setenv('ADET_MAX_MEGAPIXELS', word)
        assert read_image(path).size == (40, 50)
    for word in ('many', '0', '-1', 'nan', 'inf'):
        monkeypatch.setenv('ADET_MAX_MEGAPIXELS', word)
        with pytest.raises(ConfigError, match=f"^ADET_MAX_MEGAPIXELS is '{word}', expected"):
            read_image(path)
        if word != '0':
            with pytest.raises(ConfigError, match=f"^max_megapixels is '{word}', expected"):
                set_max_megapixels(word)
    # As an option or parameter has it; 0 leaves the environment's word alone.
    for given, limit in ((0.001, 1000), ('0', 1000), (0.0, 1000), ('5', 5_000_000)):
        set_max_megapixels(given)
        assert max_pixels() == limit


@pytest.mark.parametrize('kind', [b'IDAT', b'tEXt', b'fdAT'])
def test_a_png_chunk_longer_than_its_file_is_not_allocated(tmp_path: Path, kind: bytes) -> None:
    path = tmp_path / 'a.png'
    pixels = zlib.compress(bytes(9 * 10))
    path.write_bytes(_png(9, 9, _png_chunk(b'IDAT', pixels), _png_chunk(kind, b'x', 0x7FFFFFF0)))
    with _memory_limited(200_000_000), pytest.raises(ImageError, match='cannot be decoded'):
        read_image(path)


def test_a_tile_is_no_larger_than_an_image() -> None:
    entries = [(256, 4, 9), (257, 4, 9), (322, 4, 100_000), (323, 4, 100_000)]
    body = b''.join(struct.pack('<HHII', tag, kind, 1, value) for tag, kind, value in entries)
    data = b'II*\0' + struct.pack('<IH', 8, len(entries)) + body + bytes(4)
    with pytest.raises(ImageError, match='9x9 pixels are more than 200 megapixels'):
        decode_image(data, 'a.tif')


@pytest.mark.parametrize(
    'tail', [b'', bytes(50), b'\xff\xda', b'\xff\xd8\xff\xda' + bytes(9), b'a note\xff\xd9']
)
def test_what_comes_after_a_jpeg_does_not_matter(tail: bytes) -> None:
    data = cv2.imencode('.jpg', COLOUR)[1].tobytes()
    expected = decode_image(data, 'a.jpg').pixels
    np.testing.assert_array_equal(decode_image(data + tail, 'a.jpg').pixels, expected)


def test_a_thumbnail_in_a_jpeg_is_not_its_end() -> None:
    data = cv2.imencode('.jpg', COLOUR)[1].tobytes()
    thumbnail = cv2.imencode('.jpg', COLOUR[:8, :8])[1].tobytes()
    body = b'\xff\xe1' + struct.pack('>H', len(thumbnail) + 2) + thumbnail
    whole = data[:2] + body + data[2:]
    assert decode_image(whole, 'a.jpg').size == (40, 50)
    with pytest.raises(ImageError, match='cannot be decoded'):
        decode_image(whole[: len(whole) * 3 // 4], 'a.jpg')


@pytest.mark.timeout(20)
def test_only_regular_files_are_read(tmp_path: Path) -> None:
    pipe = tmp_path / 'pipe.png'
    os.mkfifo(pipe)
    device = tmp_path / 'zero.png'
    device.symlink_to('/dev/zero')
    for path in (pipe, device):
        with pytest.raises(ImageError, match=f'^{path}: is not a regular file$'):
            read_image(path)
    sparse = tmp_path / 'sparse.png'
    with sparse.open('wb') as file:
        file.truncate(7 * 2**30)
    with (
        _memory_limited(100_000_000),
        pytest.raises(ImageError, match='has 7516192768 bytes, more than 1201048576 are'),
    ):
        read_image(sparse)


@pytest.mark.parametrize(
    ('told', 'pixels', 'encoding'),
    [
        ('bayer_rggb8; png compressed bayer_rggb8', GREY, 'bayer_rggb8'),
        ('bayer_gbrg16; png compressed ', DEEP, 'bayer_gbrg16'),
        ('bayer_rggb8; jpeg compressed bgr8', COLOUR, 'bgr8'),
        ('rgb8; jpeg compressed bgr8', COLOUR, 'bgr8'),
        ('mono16; png compressed mono16', DEEP, 'mono16'),
        ('png', GREY, 'mono8'),
    ],
)
def test_a_compressed_mosaic_stays_one(told: str, pixels: np.ndarray, encoding: str) -> None:
    data = cv2.imencode('.png', pixels)[1].tobytes()
    image = decode_message(data, told, 'bag#7')
    assert image.encoding == encoding
    np.testing.assert_array_equal(image.pixels, pixels)
    with pytest.raises(ImageError, match=f'^bag#7 .{told}.: cannot be decoded as an image'):
        decode_message(data[:20], told, 'bag#7')


def test_depth_of_16_bits_is_read_behind_the_header_of_its_plugin() -> None:
    data = bytes(12) + cv2.imencode('.png', DEEP)[1].tobytes()
    image = decode_message(data, '16UC1; compressedDepth png', 'bag#7')
    assert image.encoding == 'mono16'
    np.testing.assert_array_equal(image.pixels, DEEP)
    with pytest.raises(ImageError, match='depth in floats is not read compressed; take the raw'):
        decode_message(data, '32FC1; compressedDepth png', 'bag#7')


def test_a_part_of_16_bits_is_shown_as_black_to_white() -> None:
    grey = np.array([[0, 300, 900, 1500, 40_000]], np.uint16)
    for encoding in ('16UC1', 'mono16'):
        shown = in_range(Image(grey, encoding), (300.0, 1500.0))
        assert shown.encoding == 'mono8'
        assert shown.pixels.tolist() == [[0, 0, 128, 255, 255]]
        # A near part is often to be white.
        turned = in_range(Image(grey, encoding), (1500.0, 300.0))
        assert turned.pixels.tolist() == [[255, 255, 128, 0, 0]]
    for image in (Image(grey, '16UC1'), Image(COLOUR, 'bgr8')):
        assert in_range(image, (0.0, 65535.0)) is image
    assert in_range(Image(COLOUR, 'bgr8'), (0.0, 9.0)).pixels is COLOUR
