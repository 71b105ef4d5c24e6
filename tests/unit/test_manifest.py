# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""``meta.json``: every field that is wrong, and random damage, is a `BundleError` or harmless."""

from __future__ import annotations

from collections.abc import Iterator
import copy
import json
import math
from pathlib import Path
import re
import shutil
from typing import Any

import builders
from builders import edit_meta, FILES, read_meta, replace_file, STATISTICS_FILE
from hypothesis import example, given, HealthCheck, settings
from hypothesis import strategies as st
import numpy as np
import pytest

from adet_core.bundle import (
    META_FILE,
    open_bundle,
    Threshold,
)
from adet_core.bundle.arrays import read_arrays
from adet_core.bundle.decode import parse_json
from adet_core.bundle.manifest import SCHEMA_VERSION
from adet_core.errors import BundleError

COPY_AGAIN = r'copy the bundle again from the PC \(adet deploy RUN_DIR\)'
fuzz = settings(max_examples=120, suppress_health_check=[HealthCheck.function_scoped_fixture])


# ---- what can be wrong with meta.json


def _places(values: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every field of a manifest, but nothing below those that may hold anything."""
    if place:
        yield place
    if place == ('hyper_parameters',):
        return
    items = dict(enumerate(values)) if isinstance(values, list) else values
    for key, value in items.items() if isinstance(items, dict) else ():
        yield from _places(value, (*place, key))


def _at(values: Any, place: tuple[Any, ...]) -> Any:
    for key in place:
        values = values[key]
    return values


def _sample_meta() -> dict[str, Any]:
    values: dict[str, Any] = json.loads(builders.manifest().to_json())
    entry = {'sha256': '0' * 64, 'size': 1}
    return {**values, 'files': dict.fromkeys(sorted(FILES - {META_FILE}), entry)}


PLACES = list(_places(_sample_meta()))
NEW_IN_2 = ('confidence', 'false_reject_bound', 'uncertain_from')
MAY_BE_ABSENT = {
    ('backbone', 'layers', 0),
    ('backbone', 'layers', 1),
    ('files', STATISTICS_FILE),
    ('image', 'fit'),
    ('image', 'source'),
    ('image', 'roi'),
    ('image', 'tiles'),
    ('image', 'align'),
    ('image', 'light'),
    ('image_threshold', 'target_false_reject_rate'),
    ('image_threshold', 'detail'),
    ('pixel_threshold', 'target_false_reject_rate'),
    ('pixel_threshold', 'detail'),
    *((kind, name) for kind in ('image_threshold', 'pixel_threshold') for name in NEW_IN_2),
    # New in 3.
    ('score_range', 'normals'),
    ('score_range', 'normals', 0),
    ('score_range', 'normals', 1),
    # New in 4.
    ('score_range', 'anomalies'),
    ('score_range', 'anomalies', 0),
    ('score_range', 'made_up'),
    ('score_range', 'made_up', 'faint'),
    ('score_range', 'made_up', 'faint', 0),
    ('metrics', 'image_auroc'),
    ('versions', 'numpy'),
}
WRONG_VALUES = (5, -1.5, 'text', True, None, [], ['text'], {}, {'a': {}}, 10**400)


NUMBERS = (5, -1.5)
ANY_DICTS = ({}, {'a': {}})
# What else may stand in a place than a value of the type that is there.
ALSO_RIGHT: dict[tuple[Any, ...], tuple[Any, ...]] = {
    ('backbone',): (None,),
    ('backbone', 'layers'): ([], ['text']),
    ('image_threshold', 'target_false_reject_rate'): (*NUMBERS, None),
    ('pixel_threshold', 'target_false_reject_rate'): (*NUMBERS, None),
    **{
        (kind, name): (*NUMBERS, None)
        for kind in ('image_threshold', 'pixel_threshold')
        for name in NEW_IN_2
    },
    # A threshold must stay above its uncertain band, which begins at 52.
    ('image_threshold', 'value'): (),
    ('hyper_parameters',): ANY_DICTS,
    ('score_range', 'made_up'): ({},),
    ('metrics',): ({},),
    ('versions',): ({},),
}


def _suits(value: Any, wrong: Any, place: tuple[Any, ...]) -> bool:
    """Whether ``wrong`` may stand in place of ``value``; checksums have a test of their own."""
    if place == ('image', 'light') and wrong in NUMBERS and not isinstance(wrong, bool):
        return 0 < wrong <= 255
    if place in ALSO_RIGHT:
        return wrong in ALSO_RIGHT[place] and not isinstance(wrong, bool)
    if isinstance(value, float):
        return wrong in NUMBERS and not isinstance(wrong, bool)
    is_checksum = place[0] == 'files' and place[-1] == 'sha256'
    return type(value) is type(wrong) is not dict and not is_checksum


def _dotted(place: tuple[Any, ...]) -> str:
    return '.'.join(map(str, place))


@pytest.mark.parametrize('place', PLACES, ids=_dotted)
def test_a_field_of_another_type_is_refused(bundle_folder: Path, place: tuple[Any, ...]) -> None:
    meta = read_meta(bundle_folder)
    refused = 0
    for wrong in WRONG_VALUES:
        if _suits(_at(meta, place), wrong, place):
            continue
        values = copy.deepcopy(meta)
        _at(values, place[:-1])[place[-1]] = wrong
        (bundle_folder / META_FILE).write_text(json.dumps(values))
        with pytest.raises(BundleError, match=r'/meta\.json: ') as caught:
            open_bundle(bundle_folder)
        assert len(str(caught.value)) < 1000
        refused += 1
    assert refused >= 5


@pytest.mark.parametrize('place', [place for place in PLACES if place not in MAY_BE_ABSENT])
def test_a_missing_field_is_refused(bundle_folder: Path, place: tuple[Any, ...]) -> None:
    edit_meta(bundle_folder, lambda values: _at(values, place[:-1]).pop(place[-1]))
    with pytest.raises(BundleError, match=r'/meta\.json: '):
        open_bundle(bundle_folder)


@pytest.mark.parametrize('place', sorted(MAY_BE_ABSENT))
def test_an_optional_field_may_be_missing(bundle_folder: Path, place: tuple[Any, ...]) -> None:
    edit_meta(bundle_folder, lambda values: _at(values, place[:-1]).pop(place[-1]))
    builders.verify_all(open_bundle(bundle_folder))


def test_a_model_without_backbone_may_say_so(bundle_folder: Path) -> None:
    edit_meta(bundle_folder, lambda values: values.update(backbone=None))
    assert open_bundle(bundle_folder).manifest.backbone is None


@pytest.mark.parametrize(
    ('place', 'value', 'message'),
    [
        (('image', 'height'), 31, 'impossible image size'),
        (('image', 'width'), 8193, 'impossible image size'),
        (('image', 'std', 1), 0, 'impossible image std'),
        (('image', 'fit'), 'zoom', "impossible image fit: 'zoom'"),
        (('image', 'mean'), [0.5, 0.5], r"field 'image\.mean' has 2 values, expected 3"),
        (('score_range', 'maximum'), 0.0, 'impossible score range'),
        (('score_range', 'maximum'), -5, 'impossible score range'),
        (('image', 'height'), True, r"field 'image\.height' is True, expected int"),
        (('image_threshold', 'uncertain_from'), 60, r'impossible uncertain_from below 60\.0: 60'),
        (('image_threshold', 'uncertain_from'), 61, r'impossible uncertain_from below 60\.0: 61'),
        (('image_threshold', 'value'), False, r"'image_threshold\.value' is False, expected int"),
        (('image_threshold', 'value'), 10**400, r"field 'image_threshold\.value' .* too large"),
        (('metrics', 'image_auroc'), 'good', r"'metrics\.image_auroc' is 'good', expected int or"),
        (('backbone', 'layers', 1), 7, r"field 'backbone\.layers\[1\]' is 7, expected str"),
        (('schema_version',), True, "field 'schema_version' is True, expected int"),
        (('schema_version',), '1', r"schema_version is '1', this adet reads 1 to \d+; upgrade"),
        (('schema_version',), 0, r'schema_version is 0, .*upgrade adet, or train'),
        (('schema_version',), 999, r'schema_version is 999, .*upgrade adet, or train'),
        (('colour',), 'red', "unknown field 'colour'"),
        (('image', 'depth'), 3, r"unknown field 'image\.depth'"),
        (('files', 'model.pth', 'mode'), 0, r"unknown field 'files\.model\.pth\.mode'"),
        (('model',), 'YOLO', "model 'YOLO' is no model's name"),
        (('model',), '../padim', r"model '\.\./padim' is no model's name"),
    ],
)
def test_the_message_names_the_field(
    bundle_folder: Path, place: tuple[Any, ...], value: Any, message: str
) -> None:
    def edit(values: dict[str, Any]) -> None:
        _at(values, place[:-1])[place[-1]] = value

    edit_meta(bundle_folder, edit)
    with pytest.raises(BundleError, match=rf'/meta\.json: .*{message}'):
        open_bundle(bundle_folder)


def test_a_bundle_of_version_1_is_still_read(bundle_folder: Path) -> None:
    def edit(values: dict[str, Any]) -> None:
        values['schema_version'] = 1
        for kind in ('image_threshold', 'pixel_threshold'):
            for name in NEW_IN_2:
                del values[kind][name]
        del values['score_range']['normals']

    edit_meta(bundle_folder, edit)
    read = open_bundle(bundle_folder).manifest
    for threshold in (read.image_threshold, read.pixel_threshold):
        assert [getattr(threshold, name) for name in NEW_IN_2] == [None] * 3
    assert read.image_threshold.value == builders.IMAGE_THRESHOLD
    assert read.score_range.normals == ()
    # Written again it has the new fields, so it must not claim to be the old version.
    assert json.loads(read.to_json())['schema_version'] == SCHEMA_VERSION == 5


@pytest.mark.parametrize('start', [math.nan, math.inf, -math.inf, 5.0, 5.5])
def test_a_band_that_does_not_end_at_the_threshold_is_refused(start: float) -> None:
    with pytest.raises(ValueError, match=r'impossible uncertain_from below 5\.0'):
        Threshold(value=5.0, method='f1_optimal', normals=1, anomalies=1, uncertain_from=start)


def test_another_model_than_the_one_asked_for_is_refused(bundle_folder: Path) -> None:
    message = 'holds a padim bundle, expected patchcore; name the right folder or model'
    with pytest.raises(BundleError, match=message):
        open_bundle(bundle_folder, model='patchcore')


@pytest.mark.parametrize('number', ['NaN', 'Infinity', '-Infinity', '1e999', '-1e999'])
@pytest.mark.parametrize('field', ['"value": 60.0', '"image_auroc": 0.75', '"n_features": 24'])
def test_a_number_that_is_not_finite_is_refused(
    bundle_folder: Path, number: str, field: str
) -> None:
    path = bundle_folder / META_FILE
    text = path.read_text()
    assert field in text
    path.write_text(text.replace(field, f'{field.partition(":")[0]}: {number}'))
    with pytest.raises(
        BundleError, match=rf'/meta\.json: not valid JSON \({number} is not a fini'
    ):
        open_bundle(bundle_folder)


@pytest.mark.parametrize(
    ('data', 'message'),
    [
        (b'', 'not valid JSON'),
        (b'{}', 'schema_version is None'),
        (b'[]', 'schema_version is None'),
        (b'null', 'schema_version is None'),
        (b'{"schema_version": 1}', "field 'model' is missing"),
        (b'\xff\xfe\xfd', 'not valid JSON'),
        (b'{"schema_version": 1' + b'0' * 5000 + b'}', 'not valid JSON'),
        (b'[' * 200_000, 'not valid JSON'),
        (b'{"a":' * 100_000, 'not valid JSON'),
        (b' ' * (2 << 20), 'larger than 1048576 bytes; this is not an adet bundle'),
        (b'"' + b'x' * (1 << 20), 'larger than'),
    ],
    ids=str,
)
def test_a_meta_json_that_is_none_is_refused(
    bundle_folder: Path, data: bytes, message: str
) -> None:
    (bundle_folder / META_FILE).write_bytes(data)
    with pytest.raises(BundleError, match=rf'/meta\.json: {message}') as caught:
        open_bundle(bundle_folder)
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize('field', ['schema_version', 'category', 'image', 'hyper_parameters'])
@pytest.mark.parametrize('depth', [10, 100, 500, 900, 950, *range(960, 1000, 3), 5000])
def test_deep_nesting_is_refused_or_passed_over(
    bundle_folder: Path, field: str, depth: int
) -> None:
    meta = (bundle_folder / META_FILE).read_text()
    nested = '[' * depth + ']' * depth
    values = {**json.loads(meta), field: '@'}
    (bundle_folder / META_FILE).write_text(json.dumps(values).replace('"@"', nested))
    with pytest.raises(BundleError, match=r'/meta\.json: ') as caught:
        open_bundle(bundle_folder)
    assert len(str(caught.value)) < 1000


# ---- random damage: success or a BundleError, never anything else


def _try(folder: Path) -> None:
    try:
        builders.verify_all(open_bundle(folder))
    except BundleError as error:
        assert re.fullmatch(f'{folder}/.+: .+', str(error))  # noqa: PT017 - success is as good


def _mutate(data: bytes, edits: list[tuple[float, bytes]], cut: float) -> bytes:
    changed = bytearray(data)
    for position, token in edits:
        start = int(position * len(changed))
        changed[start : start + len(token)] = token
    return bytes(changed[: int(cut * len(changed))])


TOKENS = st.one_of(
    st.binary(min_size=1, max_size=4),
    st.sampled_from([b'NaN', b'1e999', b'null', b'true', b'[]', b'{}', b'"', b'-', b'\\ud800']),
)
EDITS = st.lists(st.tuples(st.floats(0, 1), TOKENS), max_size=4)
CUTS = st.one_of(st.just(1.0), st.floats(0, 1))


@fuzz
@given(edits=EDITS, cut=CUTS)
def test_random_bytes_in_meta_json_give_bundle_errors(
    template: Path, tmp_path: Path, edits: list[tuple[float, bytes]], cut: float
) -> None:
    folder = tmp_path / 'fuzzed'
    if not folder.exists():
        shutil.copytree(template, folder)
    data = (template / META_FILE).read_bytes()
    (folder / META_FILE).write_bytes(_mutate(data, edits, cut))
    _try(folder)


JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from([10**400, -(10**400)])
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)


@fuzz
@given(place=st.sampled_from(PLACES), value=JSON_VALUES)
@example(place=('category',), value='\ud800')
def test_random_values_in_meta_json_give_bundle_errors(
    template: Path, tmp_path: Path, place: tuple[Any, ...], value: Any
) -> None:
    folder = tmp_path / 'fuzzed'
    if not folder.exists():
        shutil.copytree(template, folder)
    values = read_meta(template)
    _at(values, place[:-1])[place[-1]] = value
    (folder / META_FILE).write_text(json.dumps(values))
    _try(folder)


@fuzz
@given(edits=EDITS, cut=CUTS)
def test_random_bytes_in_arrays_give_bundle_errors(
    template: Path, tmp_path: Path, edits: list[tuple[float, bytes]], cut: float
) -> None:
    folder = tmp_path / 'fuzzed'
    if not folder.exists():
        shutil.copytree(template, folder)
    small = builders.npz(
        {'mean': np.ones(4, np.float32), 'inv_covariance': np.ones(3, np.float32)}
    )
    replace_file(folder, STATISTICS_FILE, _mutate(small, edits, cut))
    _try(folder)


@fuzz
@given(
    header=st.one_of(
        st.text(max_size=60).map(lambda text: text.encode(errors='replace')),
        st.builds(
            lambda descr, shape: f"{{'descr': {descr}, 'fortran_order': 0, 'shape': {shape}}}",
            st.one_of(st.text("'<f4,()[]1O|", max_size=8), st.just("'<f4'")),
            st.one_of(st.text('()-1,[]e', max_size=8), st.just('(1,)')),
        ).map(str.encode),
    )
)
def test_random_headers_of_arrays_give_value_errors(tmp_path: Path, header: bytes) -> None:
    path = tmp_path / 'a.npz'
    path.write_bytes(builders.raw_npz(header))
    with path.open('rb') as file:
        try:
            arrays = read_arrays(file, ('mean', 'inv_covariance'))
        except ValueError as error:
            assert str(error)  # noqa: PT017 - success is as good
        else:
            assert all(array.dtype.kind in 'biuf' for array in arrays.values())


@pytest.mark.parametrize(
    'text', [b'{"a": "\\ud800"}', b'{"a": ["\\uDC80"]}', b'{"a": "\xed\xa0\x80"}']
)
def test_text_that_cannot_be_encoded_is_refused(text: bytes) -> None:
    with pytest.raises(ValueError, match='not valid JSON'):
        parse_json(text)


def test_characters_beyond_sixteen_bits_are_read() -> None:
    assert parse_json(b'{"a": "\\ud83d\\ude00"}') == {'a': '\U0001f600'}
