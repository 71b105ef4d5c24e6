# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""From an image of any size to the graph's inputs, and back."""

from __future__ import annotations

from dataclasses import replace
import json
from pathlib import Path
from typing import Any
import weakref

import builders
import cv2
import numpy as np
import pytest

from adet_core.bundle import AREA_FILE, Manifest, open_bundle
from adet_core.errors import BundleError, ConfigError, ImageError
from adet_core.geometry import BATCH, Box, Geometry, ImageSpec, read_area, TileSpec
from adet_core.image import Image, preprocess
from adet_core.inference.detector import Detector
from adet_core.prediction import Prediction

RNG = np.random.default_rng(5)


def spec(height: int = 64, width: int = 64, **more: Any) -> ImageSpec:
    return ImageSpec(height=height, width=width, mean=(0.5,) * 3, std=(0.25,) * 3, **more)


def tiled(
    source: tuple[int, int] = (320, 192), tile: int = 64, overlap: float = 0.25, **more: Any
) -> ImageSpec:
    return spec(source=source, tiles=TileSpec(width=tile, overlap=overlap), **more)


def noise(height: int, width: int, encoding: str = 'rgb8') -> Image:
    return Image(RNG.integers(0, 256, (height, width, 3), np.uint8), encoding)


def red(inputs: np.ndarray) -> Prediction:
    """A graph without context: its map is the red channel, its score something else."""
    maps = inputs[..., 0].astype(np.float32)
    return Prediction(np.full(len(inputs), 1000, np.float32), maps)


# ---- a whole image is what it was


def test_a_whole_image_is_one_input_and_the_graph_has_the_last_word() -> None:
    geometry, image = Geometry.whole((64, 48)), noise(90, 130, 'bgr8')
    canvas, placement = geometry.place(image)
    np.testing.assert_array_equal(canvas, preprocess(image, (64, 48)))
    assert np.shares_memory(next(geometry.batches(canvas)), canvas)
    found = geometry.predict(red, canvas)
    assert found.scores.tolist() == [1000]
    np.testing.assert_array_equal(found.maps[0], canvas[..., 0])
    assert placement.to_source(found.maps[0]).base is not None
    assert placement.to_source(found.maps[0]).shape == (64, 48)


def test_a_tile_as_large_as_the_image_is_the_whole_image() -> None:
    geometry = Geometry(tiled((128, 128), 128))
    assert geometry.is_plain
    assert geometry.size == (64, 64)


# ---- fit


@pytest.mark.parametrize(
    ('size', 'box'), [((30, 120), (0, 24, 64, 16)), ((120, 30), (24, 0, 16, 64))]
)
def test_a_letterbox_keeps_proportions(size: tuple[int, int], box: tuple[int, ...]) -> None:
    geometry, image = Geometry(spec(fit='letterbox')), noise(*size)
    canvas, placement = geometry.place(image)
    x, y, width, height = box
    assert placement.placed == Box(x=x, y=y, width=width, height=height)
    np.testing.assert_array_equal(
        canvas[placement.placed.slices], preprocess(image, (height, width))
    )
    outside = np.ones((64, 64), bool)
    outside[placement.placed.slices] = False
    # Half of 255, the mean of the normalisation, to the even number.
    assert (canvas[outside] == 128).all()
    # The map in the frame of the image has none of the filling.
    assert placement.to_source(canvas[..., 0].astype(np.float32)).shape == (height, width)


def test_what_is_cropped_is_minus_infinity_in_the_frame_of_the_image() -> None:
    geometry, image = Geometry(spec(fit='crop')), noise(128, 256)
    canvas, placement = geometry.place(image)
    assert placement.taken == Box(x=64, y=0, width=128, height=128)
    centre = Image(image.pixels[:, 64:192], 'rgb8')
    np.testing.assert_array_equal(canvas, preprocess(centre, (64, 64)))
    found = placement.to_source(np.ones((64, 64), np.float32))
    assert found.shape == (64, 128)
    assert (found[:, 32:96] == 1).all()
    assert np.isneginf(found[:, :32]).all()
    assert np.isneginf(found[:, 96:]).all()


def test_a_mask_goes_where_its_image_goes() -> None:
    image = np.zeros((120, 240, 3), np.uint8)
    image[40:80, 100:160] = 255
    marked = image[..., 0] > 0
    for more in ({'fit': 'crop'}, {'fit': 'letterbox'}, {}):
        for scale in (1, 2):
            geometry = Geometry(spec(**more))
            canvas, placement = geometry.place(Image(image, 'rgb8'))
            mask = geometry.place_mask(np.kron(marked, np.ones((scale, scale), bool)), placement)
            shown = canvas[..., 0] > 130
            assert (mask ^ shown).sum() <= 0.1 * shown.sum()


def test_colours_that_neighbours_share_are_converted_before_the_cut() -> None:
    pixels = RNG.integers(0, 256, (64, 66, 2), np.uint8)
    image, roi = Image(pixels, 'yuv422_yuy2'), Box(x=1, y=0, width=65, height=64)
    geometry = Geometry(spec(source=(66, 64), roi=roi))
    whole = preprocess(image, (64, 66))
    expected = preprocess(Image(whole[:, 1:], 'rgb8'), (64, 64))
    np.testing.assert_array_equal(geometry.place(image)[0], expected)


# ---- tiles


def test_tiles_cover_the_canvas_with_the_overlap_asked_for() -> None:
    geometry = Geometry(tiled((300, 200), 100, 0.25))
    # 64 pixels of the graph are 100 of the image.
    assert geometry.size == (128, 192)
    rows, columns = ({one.y for one in geometry.tiles}, {one.x for one in geometry.tiles})
    for starts, length in ((sorted(rows), 128), (sorted(columns), 192)):
        assert starts[0] == 0
        assert starts[-1] == length - 64
        assert (np.diff(starts) <= 48).all()
    assert len(geometry.tiles) == 3 * 4


@pytest.mark.parametrize('overlap', [0.0, 0.1, 0.5])
def test_joined_tiles_have_no_seams(overlap: float) -> None:
    """Where neighbours agree the map is theirs, whatever lies on their borders."""
    geometry = Geometry(tiled((320, 192), 64, overlap))
    canvas = np.zeros((*geometry.size, 3), np.uint8)
    assert (geometry.predict(red, canvas).maps == 0).all()
    canvas[...] = 77
    plain = geometry.predict(red, canvas)
    np.testing.assert_allclose(plain.maps, 77, rtol=1e-6)
    # A defect across the corner of four tiles.
    corner = geometry.tiles[0]
    y, x = corner.height, corner.width
    canvas[y - 6 : y + 6, x - 4 : x + 9] = 200
    found = geometry.predict(red, canvas)
    np.testing.assert_allclose(found.maps[0], canvas[..., 0], rtol=1e-6)
    assert found.scores[0] == found.maps.max()


def test_a_tile_says_little_at_its_edge() -> None:
    """A network invents things where a tile ends; its neighbour sees what is there."""

    def invents(inputs: np.ndarray) -> Prediction:
        maps = np.zeros(inputs.shape[:3], np.float32)
        maps[:, :, :2] = maps[:, :, -2:] = 100
        return Prediction(maps.max(axis=(1, 2)), maps)

    geometry = Geometry(tiled((320, 64), 64, 0.25))
    found = geometry.predict(invents, np.zeros((*geometry.size, 3), np.uint8)).maps[0]
    assert found[:, 8:-8].max() < 30


def test_the_graph_gets_bounded_batches_of_tiles() -> None:
    counts = []

    def run(inputs: np.ndarray) -> Prediction:
        counts.append(len(inputs))
        return red(inputs)

    geometry = Geometry(tiled((320, 192), 64, 0.0))
    canvas = geometry.place(noise(192, 320))[0]
    np.testing.assert_array_equal(
        geometry.predict(run, canvas).maps[0], canvas[..., 0].astype(np.float32)
    )
    assert sum(counts) == 15
    assert max(counts) == BATCH


def test_maps_of_tiles_are_not_kept_until_all_have_been_run() -> None:
    made: list[weakref.ref[np.ndarray]] = []

    def run(inputs: np.ndarray) -> Prediction:
        # That of the batch before is let go of with the next one.
        assert sum(one() is not None for one in made) <= 1
        found = red(inputs)
        made.append(weakref.ref(found.maps))
        return found

    geometry = Geometry(tiled((320, 192), 64, 0.0))
    geometry.predict(run, geometry.place(noise(192, 320))[0])
    assert len(made) == 8


def test_the_whole_image_may_be_one_more_input() -> None:
    plan = tiled((320, 192), 64, 0.0)
    assert plan.tiles is not None
    geometry = Geometry(replace(plan, tiles=replace(plan.tiles, whole=True)))
    assert geometry.inputs == len(geometry.tiles) + 1
    canvas = geometry.place(noise(192, 320))[0]
    inputs = geometry.views(canvas)
    np.testing.assert_array_equal(
        inputs[-1], cv2.resize(canvas, (64, 64), interpolation=cv2.INTER_AREA)
    )
    maps = np.zeros((len(inputs), 64, 64), np.float32)
    maps[-1] = 5
    assert geometry.join([Prediction(maps.max(axis=(1, 2)), maps)]).scores[0] == 5


# ---- the inspected area


def test_only_tiles_of_the_area_are_run_and_nothing_else_counts() -> None:
    plan = tiled((320, 192), 64, 0.0)
    inspected = np.zeros((192, 320), bool)
    inspected[70:100, 70:90] = True
    geometry = Geometry(plan, inspected)
    assert geometry.tiles == (Box(x=64, y=64, width=64, height=64),)
    canvas = np.full((192, 320, 3), 250, np.uint8)
    canvas[inspected] = 9
    found = geometry.predict(red, canvas)
    assert found.scores[0] == 9
    assert (found.maps[0][inspected] == 9).all()
    assert np.isneginf(found.maps[0][~inspected]).all()


def test_the_area_counts_without_tiles_too() -> None:
    inspected = np.zeros((64, 64), bool)
    inspected[:, :10] = True
    geometry = Geometry(spec(source=(64, 64), roi=Box(x=0, y=0, width=64, height=64)), inspected)
    canvas = np.full((64, 64, 3), 250, np.uint8)
    canvas[:, :10] = 9
    assert geometry.predict(red, canvas).scores[0] == 9


def test_the_region_scales_with_the_camera() -> None:
    geometry = Geometry(spec(source=(200, 100), roi=Box(x=50, y=20, width=100, height=60)))
    assert geometry.placement((100, 200)).taken == Box(x=50, y=20, width=100, height=60)
    assert geometry.placement((200, 400)).taken == Box(x=100, y=40, width=200, height=120)
    # Rounding of a camera's size is no other proportion.
    geometry.placement((201, 400))
    message = '^the image has 200x200 pixels, the region of interest is set for images of 200x100'
    with pytest.raises(ImageError, match=message):
        geometry.placement((200, 200))


def test_a_camera_that_sees_less_detail_is_refused() -> None:
    geometry = Geometry(tiled((400, 300), 128))
    geometry.placement((300, 400))
    geometry.placement((600, 800))
    # Half the size is what the tiles were brought to.
    geometry.placement((150, 200))
    with pytest.raises(ImageError, match='the image has 160x120 pixels, too few for tiles'):
        geometry.placement((120, 160))
    with pytest.raises(ImageError, match='the image has 400x400 pixels, the grid of tiles'):
        geometry.placement((400, 400))
    Geometry(tiled((400, 300), 128, fit='crop')).placement((400, 400))


# ---- what is no geometry


@pytest.mark.parametrize(
    ('values', 'message'),
    [
        ({'fit': 'zoom'}, "impossible image fit: 'zoom'"),
        (
            {'tiles': TileSpec(width=64, overlap=0)},
            'image source beside roi, tiles or align: None',
        ),
        ({'source': (63, 90), 'tiles': TileSpec(width=64, overlap=0)}, 'larger than the image'),
        ({'source': (90, 63), 'tiles': TileSpec(width=64, overlap=0)}, 'larger than the image'),
        ({'source': (0, 90), 'roi': Box(x=0, y=0, width=1, height=1)}, 'impossible image source'),
        (
            {'source': (90, 90), 'roi': Box(x=40, y=0, width=51, height=9)},
            'roi in images of 90x90',
        ),
        ({'source': (60000, 60000), 'tiles': TileSpec(width=64, overlap=0)}, 'impossible canvas'),
        ({'source': (12000, 12000), 'tiles': TileSpec(width=64, overlap=0.5)}, 'number of tiles'),
    ],
)
def test_an_impossible_geometry_is_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        spec(**values)


@pytest.mark.parametrize(
    ('make', 'message'),
    [
        (lambda: TileSpec(width=7, overlap=0), 'impossible width of a tile: 7'),
        (lambda: TileSpec(width=64, overlap=0.8), r'impossible overlap of tiles: 0\.8'),
        (lambda: Box(x=-1, y=0, width=1, height=1), 'impossible rectangle: -1,0,1,1'),
        (lambda: Box(x=0, y=0, width=0, height=1), 'impossible rectangle: 0,0,0,1'),
        (lambda: Geometry(spec(), np.ones((9, 9), bool)), 'does not fit a canvas'),
        (lambda: Geometry(spec(), np.zeros((64, 64), bool)), 'does not fit a canvas'),
    ],
)
def test_an_impossible_part_of_it_is_refused(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


# ---- the region of interest, as people give it


def written(folder: Path, value: Any) -> str:
    path = folder / 'roi.json'
    path.write_text(value if isinstance(value, str) else json.dumps(value))
    return str(path)


def test_a_rectangle_is_text_or_json(tmp_path: Path) -> None:
    box = Box(x=10, y=20, width=30, height=40)
    assert read_area('10,20,30,40', (100, 80)) == (box, None)
    assert read_area(written(tmp_path, {'rectangle': [10, 20, 30, 40]}), (100, 80)) == (box, None)


def test_polygons_and_what_is_ignored(tmp_path: Path) -> None:
    values = {
        'polygons': [[[10, 10], [59, 10], [59, 89], [10, 89]], [[70, 70], [79, 70], [79, 79]]],
        'ignore': [[[20, 20], [29, 20], [29, 29], [20, 29]]],
    }
    area = read_area(written(tmp_path, values), (100, 80))
    assert area.box == Box(x=10, y=10, width=70, height=80)
    assert area.mask is not None
    assert area.mask.sum() == 50 * 80 - 10 * 10 + 55
    assert not area.mask[20:30, 20:30].any()
    # The rest of the image, where only something is ignored.
    area = read_area(written(tmp_path, {'ignore': values['ignore']}), (100, 80))
    assert area.mask is not None
    assert area.mask.sum() == 80 * 100 - 100


def test_a_mask_image_is_the_region(tmp_path: Path) -> None:
    mask = np.zeros((100, 80), np.uint8)
    cv2.circle(mask, (40, 50), 20, 255, -1)
    path = tmp_path / 'roi.png'
    cv2.imwrite(str(path), mask)
    area = read_area(path, (100, 80))
    assert area.box == Box(x=20, y=30, width=41, height=41)
    np.testing.assert_array_equal(area.mask, mask > 0)


POLYGON = [[1, 1], [9, 1], [9, 9]]


@pytest.mark.parametrize(
    ('value', 'message'),
    [
        ('{', r'roi\.json: not valid JSON .*expected \{"rectangle"'),
        ([], r'roi\.json: expected \{"rectangle"'),
        ({'circle': 1}, r'roi\.json: expected \{"rectangle"'),
        ({'rectangle': [0, 0, 5, 5], 'polygons': [POLYGON]}, 'a rectangle and polygons; give one'),
        ({'rectangle': [0, 0, 5]}, 'rectangle: expected x,y,width,height'),
        ({'rectangle': [0, 0, 0, 5]}, 'rectangle: expected x,y,width,height'),
        ({'rectangle': [0, 0, 81, 5]}, '0,0,81,5 reaches outside of the images of 80x100 pixels'),
        ({'polygons': 5}, 'polygons is 5, expected a list of polygons'),
        ({'polygons': [[[1, 1], [2, 2]]]}, 'has 2 points, a polygon has three or more'),
        ({'polygons': [['a', 'b']]}, 'is no polygon, a list of'),
        ({'polygons': [[[80, 1], [99, 1], [99, 9]]]}, 'lies outside of the images of 80x100'),
        ({'ignore': [[[0, 0], [80, 0], [80, 100], [0, 100]]]}, 'the region of interest is empty'),
        ({'polygons': []}, 'the region of interest is empty'),
    ],
)
def test_a_region_that_cannot_be_used_says_why(tmp_path: Path, value: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read_area(written(tmp_path, value), (100, 80))


@pytest.mark.parametrize(
    ('roi', 'message'),
    [
        (
            '1,2,3',
            'No such file or directory; --roi takes x,y,width,height, a JSON file or a mask',
        ),
        ('70,0,20,5', 'roi 70,0,20,5: 70,0,20,5 reaches outside of the images of 80x100 pixels'),
        ('0,0,0,5', 'roi 0,0,0,5: expected x,y,width,height in pixels'),
    ],
)
def test_a_rectangle_that_cannot_be_used_says_why(roi: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read_area(roi, (100, 80))


def test_a_mask_image_of_another_size_or_all_black_is_refused(tmp_path: Path) -> None:
    path = tmp_path / 'roi.png'
    cv2.imwrite(str(path), np.full((50, 40), 255, np.uint8))
    with pytest.raises(ConfigError, match='has 40x50 pixels, the images 80x100; draw it on one'):
        read_area(path, (100, 80))
    cv2.imwrite(str(path), np.zeros((100, 80), np.uint8))
    with pytest.raises(ConfigError, match='the region of interest is empty; mark what is to be'):
        read_area(path, (100, 80))


# ---- in a bundle


def test_a_manifest_keeps_the_geometry() -> None:
    image = tiled((320, 192), 64, 0.25, roi=Box(x=1, y=2, width=300, height=100), fit='crop')
    made = builders.manifest(image=image)
    assert Manifest.from_json(made.to_json()).image == image


def test_before_schema_5_fit_was_called_resize() -> None:
    values = json.loads(builders.manifest().to_json())
    values['schema_version'] = 4
    for name in ('fit', 'source', 'roi', 'tiles', 'align', 'light'):
        del values['image'][name]
    assert Manifest.from_json(json.dumps(values).encode()).image.fit == 'stretch'
    values['image']['resize'] = 'stretch'
    assert Manifest.from_json(json.dumps(values).encode()).image.fit == 'stretch'
    values['image']['resize'] = 'crop'
    with pytest.raises(ValueError, match="impossible image resize: 'crop'"):
        Manifest.from_json(json.dumps(values).encode())
    values['schema_version'] = 5
    with pytest.raises(ValueError, match=r"unknown field 'image\.resize'"):
        Manifest.from_json(json.dumps(values).encode())


def bits(inspected: np.ndarray) -> dict[str, dict[str, np.ndarray]]:
    return {AREA_FILE: {'inspected': np.packbits(inspected, axis=1)}}


def test_a_bundle_inspects_its_area_alone_and_answers_in_the_images_pixels(tmp_path: Path) -> None:
    """A graph of 64 pixels, tiles at half scale, the left half of a part ignored."""
    image = tiled((400, 200), 128, 0.25)
    inspected = np.zeros(image.canvas, bool)
    inspected[:, 100:] = True
    bundle = builders.make_bundle(
        tmp_path, arrays=builders.flat_statistics(), image=image, more=bits(inspected)
    )
    builders.make_engine(bundle)
    detector = Detector.load(tmp_path, backend='onnxruntime', threads=1)
    assert detector.geometry.inputs < Geometry(image).inputs
    part = np.full((200, 400, 3), 100, np.uint8)
    part[20:60, 20:60] = 255
    found = detector.inspect(Image(part, 'bgr8'))
    assert not found.is_anomalous
    # In the tiles' overlap.
    part[90:110, 290:310] = 255
    found = detector.inspect(Image(part, 'bgr8'))
    assert found.is_anomalous
    (region,) = found.regions
    assert abs(region.x - 290) <= 2
    assert abs(region.y - 90) <= 2
    assert abs(region.width - 20) <= 4
    assert abs(region.height - 20) <= 4
    assert found.anomaly_map.shape == (100, 200)
    assert np.isneginf(found.anomaly_map[:, :100]).all()
    assert detector.overlay(Image(part, 'bgr8'), found).shape == part.shape
    both = detector.run([detector.geometry.place(Image(part, 'bgr8'))[0]])
    assert both.scores[0] == found.score


def test_an_area_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    image = tiled((400, 200), 128, 0.25)
    wrong: list[tuple[dict[str, np.ndarray], str]] = [
        ({'inspected': np.zeros((100, 24), np.uint8)}, r"array 'inspected' is uint8 \(100, 24\)"),
        ({'inspected': np.zeros((100, 25), np.int8)}, r"array 'inspected' is int8 \(100, 25\)"),
        ({'inspected': np.zeros((100, 25), np.uint8)}, 'does not fit a canvas'),
        ({'other': np.zeros(1)}, r"holds the arrays \['other'\]"),
    ]
    for arrays, message in wrong:
        bundle = builders.make_bundle(tmp_path, image=image, more={AREA_FILE: arrays})
        with pytest.raises(BundleError, match=message):
            bundle.geometry()
    assert open_bundle(tmp_path).manifest.image == image


def own_tiles() -> ImageSpec:
    tiles = TileSpec(width=128, overlap=0.0, own_statistics=True)
    return spec(source=(256, 128), tiles=tiles)


def test_each_tile_is_compared_with_its_own_statistics(tmp_path: Path) -> None:
    """A part whose left half is dark and whose right half is bright."""
    of_halves = [builders.flat_statistics(level) for level in (30.0, 220.0)]
    arrays = {name: np.stack([half[name] for half in of_halves]) for name in of_halves[0]}
    bundle = builders.make_bundle(
        tmp_path,
        arrays=of_halves[0],
        image=own_tiles(),
        more={builders.STATISTICS_FILE: arrays},
    )
    builders.make_engine(bundle)
    assert [one['mean'].flat[0] for one in bundle.input_statistics()] == [30, 220]
    assert bundle.statistics()['mean'].flat[0] == 30
    detector = Detector.load(tmp_path, backend='onnxruntime', threads=1)
    part = np.full((128, 256, 3), 30, np.uint8)
    part[:, 128:] = 220
    good = detector.inspect(Image(part, 'bgr8'))
    assert not good.is_anomalous
    assert good.score <= 1
    swapped = detector.inspect(Image(part[:, ::-1].copy(), 'bgr8'))
    assert swapped.score == pytest.approx(190, abs=1)
    beside = Detector.load(tmp_path, backend='onnxruntime', threads=1, beside=[detector])
    assert beside.inspect(Image(part, 'bgr8')).score == good.score


def test_statistics_of_another_number_of_tiles_are_refused(tmp_path: Path) -> None:
    arrays = {name: np.stack([one] * 3) for name, one in builders.flat_statistics().items()}
    bundle = builders.make_bundle(
        tmp_path, image=own_tiles(), more={builders.STATISTICS_FILE: arrays}
    )
    with pytest.raises(BundleError, match=r"stats\.npz: array 'mean' is \(3, .* have 2 tiles; "):
        bundle.statistics()
