# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Bundles: what is written is read back, and whatever is wrong is a `BundleError` that says so."""

from __future__ import annotations

from collections.abc import Iterator
import copy
import hashlib
import io
import json
import os
from pathlib import Path
import re
import shutil
import struct
from typing import Any
import zipfile

import builders
from builders import edit_meta, FILES, make_bundle, read_meta, replace_file, STATISTICS_FILE
from hypothesis import example, given, HealthCheck, settings
from hypothesis import strategies as st
import numpy as np
import pytest

from adet_core.bundle import (
    copy_bundle,
    GOLDEN_FILE,
    Manifest,
    META_FILE,
    open_bundle,
    WEIGHTS_FILE,
    write_bundle,
)
from adet_core.bundle.arrays import read_arrays
from adet_core.errors import BundleError

COPY_AGAIN = r'copy the bundle again from the PC \(adet deploy RUN_DIR\)'
fuzz = settings(max_examples=120, suppress_health_check=[HealthCheck.function_scoped_fixture])


def test_a_bundle_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    arrays = builders.statistics(seed=5)
    written = make_bundle(tmp_path / 'a' / 'b', arrays=arrays, weights=b'\x00\xff' * 500, seed=5)

    bundle = open_bundle(tmp_path / 'a' / 'b', model='padim')

    manifest = bundle.manifest
    assert {**vars(manifest), 'files': {}} == {**vars(builders.manifest()), 'files': {}}
    assert manifest.files.keys() == FILES - {META_FILE}
    assert manifest.files[WEIGHTS_FILE].size == 1000
    assert bundle.weights() == b'\x00\xff' * 500
    assert bundle.statistics().keys() == arrays.keys()
    for name, array in bundle.statistics().items():
        np.testing.assert_array_equal(array, arrays[name])
        assert array.dtype == np.float32
    for read, given_ in zip(bundle.golden(), builders.golden(arrays, 5), strict=True):
        np.testing.assert_array_equal(read, given_)
    meta = (tmp_path / 'a' / 'b' / META_FILE).read_bytes()
    assert bundle.bundle_id == hashlib.sha256(meta).hexdigest()[:12] == written.bundle_id
    assert bundle.info.statistics_file == STATISTICS_FILE


def test_arrays_in_fortran_order_are_read_back(tmp_path: Path) -> None:
    arrays = {
        **builders.statistics(),
        'mean': np.asfortranarray(builders.statistics()['mean']),
    }
    bundle = make_bundle(tmp_path, arrays=arrays)
    np.testing.assert_array_equal(bundle.statistics()['mean'], arrays['mean'])


def test_writing_leaves_the_other_files_of_the_folder_alone(tmp_path: Path) -> None:
    (tmp_path / 'engine').mkdir()
    (tmp_path / 'engine' / 'model.plan').write_text('plan')
    (tmp_path / 'notes.txt').write_text('mine')
    make_bundle(tmp_path)
    make_bundle(tmp_path, seed=1)
    assert {path.name for path in tmp_path.iterdir()} == {*FILES, 'engine', 'notes.txt'}
    assert (tmp_path / 'engine' / 'model.plan').read_text() == 'plan'
    assert (tmp_path / 'notes.txt').read_text() == 'mine'


@pytest.mark.parametrize(
    'change',
    [
        {'weights': b'weightz'},
        {'seed': 1},
        {'category': 'lid'},
        {'arrays': {**builders.statistics(), 'inv_covariance': np.ones(3, np.float32)}},
        {'metrics': {}},
        {'created': '2026-01-02T03:04:06+00:00'},
    ],
    ids=lambda change: next(iter(change)),
)
def test_the_id_changes_with_any_content(tmp_path: Path, change: dict[str, Any]) -> None:
    first, same = make_bundle(tmp_path / 'a'), make_bundle(tmp_path / 'b')
    other = make_bundle(tmp_path / 'c', **change)
    assert first.bundle_id == same.bundle_id
    assert other.bundle_id != first.bundle_id


def test_a_manifest_that_is_not_json_cannot_be_written(tmp_path: Path) -> None:
    make_bundle(tmp_path)
    before = (tmp_path / META_FILE).read_bytes()
    with pytest.raises(ValueError, match='not JSON compliant'):
        make_bundle(tmp_path, metrics={'image_auroc': float('nan')})
    assert (tmp_path / META_FILE).read_bytes() == before
    assert {path.name for path in tmp_path.iterdir()} == FILES


def test_a_copy_has_the_same_bytes_and_id(bundle_folder: Path, tmp_path: Path) -> None:
    bundle = open_bundle(bundle_folder)
    copied = copy_bundle(bundle, tmp_path / 'robot' / 'PaDiM')
    assert copied.bundle_id == bundle.bundle_id
    assert {path.name for path in copied.folder.iterdir()} == FILES  # an engine is no part of it
    for name in FILES:
        assert (copied.folder / name).read_bytes() == (bundle_folder / name).read_bytes()


def test_a_bundle_can_be_copied_onto_itself(bundle_folder: Path) -> None:
    bundle = open_bundle(bundle_folder)
    assert copy_bundle(bundle, bundle_folder).bundle_id == bundle.bundle_id
    builders.verify_all(open_bundle(bundle_folder))


@pytest.mark.parametrize('name', sorted(FILES - {META_FILE}))
def test_copying_a_damaged_bundle_leaves_the_target_as_it_was(
    bundle_folder: Path, tmp_path: Path, name: str
) -> None:
    target = tmp_path / 'target'
    old = make_bundle(target, seed=9)
    bundle = open_bundle(bundle_folder)
    _flip_last_byte(bundle_folder / name)

    with pytest.raises(BundleError, match=f'{name}: checksum mismatch .*{COPY_AGAIN}'):
        copy_bundle(bundle, target)

    assert open_bundle(target).bundle_id == old.bundle_id
    assert {path.name for path in target.iterdir()} == FILES


def test_a_source_that_is_replaced_while_it_is_copied_is_an_error(
    bundle_folder: Path, tmp_path: Path
) -> None:
    bundle = open_bundle(bundle_folder)
    make_bundle(bundle_folder, weights=b'of another length')
    with pytest.raises(BundleError, match='was replaced since it was opened; try again'):
        copy_bundle(bundle, tmp_path / 'target')
    assert list((tmp_path / 'target').iterdir()) == []


def test_a_source_that_is_overwritten_while_it_is_copied_is_an_error(
    bundle_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = open_bundle(bundle_folder)
    copy_file = shutil.copyfileobj

    def overwrite_then_copy(source: Any, target: Any, size: int) -> None:
        with weights.open('r+b') as file:
            file.write(b'x')
        copy_file(source, target, size)

    weights = bundle_folder / WEIGHTS_FILE
    monkeypatch.setattr(shutil, 'copyfileobj', overwrite_then_copy)
    with pytest.raises(BundleError, match=f'{weights}: changed while it was copied; deploy again'):
        copy_bundle(bundle, tmp_path / 'target')
    assert list((tmp_path / 'target').iterdir()) == []


def test_a_disc_that_cannot_be_read_is_a_bundle_error(
    bundle_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: object) -> str:
        raise OSError(5, 'Input/output error')

    monkeypatch.setattr('adet_core.bundle.reader.hash_file', fail)
    with pytest.raises(BundleError, match=r'/model\.pth: Input/output error; copy the bundle'):
        open_bundle(bundle_folder).weights()


def test_a_full_disc_while_copying_is_not_blamed_on_the_bundle(
    bundle_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, 'No space left on device')

    bundle = open_bundle(bundle_folder)
    monkeypatch.setattr(shutil, 'copyfileobj', full)
    with pytest.raises(OSError, match='No space left on device'):
        copy_bundle(bundle, tmp_path / 'target')
    assert list((tmp_path / 'target').iterdir()) == []


# ---- what can be wrong with the files


def _flip_last_byte(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


def _truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 1)


def _link(path: Path) -> None:
    path.rename(path.with_name('elsewhere'))
    path.symlink_to('elsewhere')


def _fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def _directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


DAMAGES = {
    'missing': (Path.unlink, 'missing'),
    'truncated': (_truncate, r'has \d+ bytes, meta.json says \d+'),
    'a link': (_link, 'is a link, which a bundle may not hold'),
    'a pipe': (_fifo, 'not a regular file'),
    'a directory': (_directory, 'not a regular file'),
}


@pytest.mark.timeout(20)
@pytest.mark.parametrize('damage', DAMAGES)
@pytest.mark.parametrize('name', sorted(FILES - {META_FILE}))
def test_a_file_that_is_not_right_is_found_on_opening(
    bundle_folder: Path, name: str, damage: str
) -> None:
    inflict, reason = DAMAGES[damage]
    inflict(bundle_folder / name)
    with pytest.raises(BundleError, match=rf'/{name}: {reason}; {COPY_AGAIN}'):
        open_bundle(bundle_folder)


@pytest.mark.timeout(20)
@pytest.mark.parametrize('damage', ['missing', 'a link', 'a pipe', 'a directory'])
def test_a_meta_json_that_is_not_a_file_is_refused(bundle_folder: Path, damage: str) -> None:
    inflict, reason = DAMAGES[damage]
    inflict(bundle_folder / META_FILE)
    with pytest.raises(BundleError, match=rf'/meta\.json: {reason}; .*adet deploy RUN_DIR'):
        open_bundle(bundle_folder)


@pytest.mark.parametrize('name', sorted(FILES - {META_FILE}))
def test_one_flipped_bit_is_found_on_reading(bundle_folder: Path, name: str) -> None:
    _flip_last_byte(bundle_folder / name)
    bundle = open_bundle(bundle_folder)
    with pytest.raises(BundleError, match=f'/{name}: checksum mismatch .*{COPY_AGAIN}'):
        builders.verify_all(bundle)


@pytest.mark.parametrize('name', sorted(FILES - {META_FILE}))
def test_a_file_that_shrinks_after_opening_is_found_on_reading(
    bundle_folder: Path, name: str
) -> None:
    bundle = open_bundle(bundle_folder)
    _truncate(bundle_folder / name)
    with pytest.raises(BundleError, match=f'/{name}: has .* bytes'):
        builders.verify_all(bundle)


def test_a_folder_that_does_not_exist_is_a_bundle_error(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r'nowhere/meta\.json: missing; is this a bundle folder'):
        open_bundle(tmp_path / 'nowhere')


def test_a_file_in_place_of_the_folder_is_a_bundle_error(tmp_path: Path) -> None:
    (tmp_path / 'file').write_text('')
    with pytest.raises(BundleError, match=r'file/meta\.json: Not a directory'):
        open_bundle(tmp_path / 'file')


def test_a_link_in_place_of_the_commit_folder_leads_nowhere(
    bundle_folder: Path, tmp_path: Path
) -> None:
    make_bundle(tmp_path / 'elsewhere', category='not meant')
    (bundle_folder / '.incoming').symlink_to(tmp_path / 'elsewhere')
    with pytest.raises(BundleError, match=r'meta\.json: Not a directory'):
        open_bundle(bundle_folder)


@pytest.mark.parametrize(
    'name',
    [
        '../x',
        '/etc/passwd',
        'a/b',
        '..',
        '.',
        '',
        '.hidden',
        'a\0b',
        'a\nb',
        'é',
        'x' * 101,
        META_FILE,
        './model.pth',
        'C:\\x',
        'engine/model.onnx',
    ],
)
def test_files_may_only_have_plain_names(bundle_folder: Path, name: str) -> None:
    entry = {'sha256': '0' * 64, 'size': 1}
    edit_meta(bundle_folder, lambda values: values['files'].update({name: entry}))
    with pytest.raises(BundleError, match=r'meta\.json: impossible entry in files'):
        open_bundle(bundle_folder)


@pytest.mark.parametrize(
    'entry',
    [
        {'sha256': '0' * 63, 'size': 1},
        {'sha256': '0' * 64 + '\n', 'size': 1},
        {'sha256': 'A' * 64, 'size': 1},
        {'sha256': '0' * 64, 'size': -1},
        {'sha256': '0' * 64, 'size': 1 << 62},
    ],
)
def test_checksums_and_sizes_have_to_be_possible(
    bundle_folder: Path, entry: dict[str, Any]
) -> None:
    edit_meta(bundle_folder, lambda values: values['files'].update({'extra.bin': entry}))
    with pytest.raises(BundleError, match='impossible entry in files'):
        open_bundle(bundle_folder)


@pytest.mark.parametrize('name', sorted(FILES - {META_FILE}))
def test_a_manifest_has_to_name_the_files_of_its_model(bundle_folder: Path, name: str) -> None:
    edit_meta(bundle_folder, lambda values: values['files'].pop(name))
    with pytest.raises(BundleError, match=f"files does not name '{name}'"):
        open_bundle(bundle_folder)


# ---- what can be wrong with the arrays


def _npz(arrays: dict[str, Any], **options: Any) -> bytes:
    file = io.BytesIO()
    np.savez(file, **options, **arrays)
    return file.getvalue()


def _raw_npz(header: bytes, data: bytes = b'\0' * 4, magic: bytes = b'\x93NUMPY\x01\x00') -> bytes:
    """An npz with the right names, whose first array has a header of our own."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, 'w') as archive:
        for name in ('mean', 'inv_covariance'):
            entry = magic + struct.pack('<H', len(header)) + header + data
            archive.writestr(f'{name}.npy', entry)
    return file.getvalue()


def _header(shape: str, dtype: str = '<f4') -> bytes:
    return f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}}}\n".encode()


class _Canary:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def test_a_pickle_among_the_arrays_is_not_run(bundle_folder: Path, tmp_path: Path) -> None:
    canary = tmp_path / 'canary'
    evil = np.array([_Canary(canary)], dtype=object)
    data = _npz({'mean': evil, 'inv_covariance': np.ones(3, np.float32)})
    np.load(io.BytesIO(data), allow_pickle=True)['mean']  # it does work
    assert canary.exists()
    canary.unlink()
    replace_file(bundle_folder, STATISTICS_FILE, data)

    with pytest.raises(BundleError, match=r"stats\.npz: entry 'mean\.npy' claims .* object"):
        open_bundle(bundle_folder).statistics()

    assert not canary.exists()


ones = np.ones((64, 64, 3), np.float32)
BAD_STATISTICS = {
    'too few': (_npz({'mean': ones}), r"holds the arrays \['mean'\], expected"),
    'too many': (
        _npz({'mean': ones, 'inv_covariance': ones, 'x': ones}),
        r"holds the arrays \['inv_covariance', 'mean', 'x'\], expected",
    ),
    'other names': (_npz({'a': ones, 'b': ones}), 'holds the arrays'),
    'float64': (
        _npz({'mean': ones.astype(np.float64), 'inv_covariance': ones}),
        "array 'mean' is float64, expected float32",
    ),
    'other byte order': (
        _npz({'mean': ones.astype('>f4'), 'inv_covariance': ones}),
        "array 'mean' is >f4, expected float32",
    ),
    'text': (_npz({'mean': np.array(['a']), 'inv_covariance': ones}), 'claims'),
    'structure': (
        _npz({'mean': np.zeros(1, [('a', '<f4')]), 'inv_covariance': ones}),
        'claims',
    ),
    'huge shape': (_raw_npz(_header('(1000000, 1000000, 1000)')), 'claims'),
    'overflowing shape': (_raw_npz(_header('(4294967296, 4294967296)')), 'claims'),
    'negative shape': (_raw_npz(_header('(-1, -1)')), ''),
    'negative length': (_raw_npz(_header('(-1,)')), 'claims'),
    'boolean shape': (_raw_npz(_header('(True,)')), 'not a readable npz file'),
    'shape that is no tuple': (_raw_npz(_header('[1]')), ''),
    'too little data': (_raw_npz(_header('(2,)')), 'claims'),
    'too much data': (_raw_npz(_header('(1,)'), b'\0' * 8), 'claims'),
    'unclosed header': (_raw_npz(b"{'descr': ("), 'not a readable npz file'),
    'deep header': (_raw_npz(b'-' * 9000 + b'1'), 'not a readable npz file'),
    'header with an odd dtype': (_raw_npz(_header('(1,)', '(1,')), 'not a readable npz file'),
    'header with odd keys': (_raw_npz(b"{1: 2, 'a': 3}"), 'not a readable npz file'),
    'header that calls': (_raw_npz(b'__import__("os").abort()'), ''),
    'newer npy version': (
        _raw_npz(_header('(1,)'), magic=b'\x93NUMPY\x03\x00'),
        r'has npy version \(3, 0\)',
    ),
    'no npy': (_raw_npz(_header('(1,)'), magic=b'\x7fELF\x01\x01\x00\x00'), 'magic'),
    'no zip': (b'not a zip file at all', 'not a readable npz file'),
    'empty file': (b'', 'not a readable npz file'),
}


@pytest.mark.parametrize('case', BAD_STATISTICS)
def test_statistics_that_are_not_right_are_refused(bundle_folder: Path, case: str) -> None:
    data, reason = BAD_STATISTICS[case]
    replace_file(bundle_folder, STATISTICS_FILE, data)
    bundle = open_bundle(bundle_folder)
    with pytest.raises(BundleError, match=rf'(?s)/stats\.npz: .*{reason}.*; {COPY_AGAIN}'):
        bundle.statistics()


def test_arrays_that_end_before_their_directory_says_so_are_refused(bundle_folder: Path) -> None:
    file = io.BytesIO()
    with zipfile.ZipFile(file, 'w') as archive:
        for name in ('mean', 'inv_covariance'):
            header = _header('(1000,)')
            data = b'\x93NUMPY\x01\x00' + struct.pack('<H', len(header)) + header
            archive.writestr(f'{name}.npy', data)
            archive.filelist[-1].file_size += 4000  # a lie
    replace_file(bundle_folder, STATISTICS_FILE, file.getvalue())
    with pytest.raises(BundleError, match=r"stats\.npz: entry 'mean\.npy' is cut short"):
        open_bundle(bundle_folder).statistics()


def test_compressed_arrays_are_refused(bundle_folder: Path) -> None:
    file = io.BytesIO()
    np.savez_compressed(file, mean=np.zeros(1 << 20, np.float32), inv_covariance=ones)
    replace_file(bundle_folder, STATISTICS_FILE, file.getvalue())
    with pytest.raises(BundleError, match=r"'mean\.npy' is compressed, which adet never writes"):
        open_bundle(bundle_folder).statistics()


@pytest.mark.parametrize(
    ('name', 'array'),
    [
        ('images', np.zeros((2, 64, 64), np.uint8)),
        ('images', np.zeros((2, 64, 63, 3), np.uint8)),
        ('images', np.zeros((2, 64, 64, 3), np.float32)),
        ('images', np.zeros((3, 64, 64, 3), np.uint8)),
        ('scores', np.zeros((2, 1), np.float32)),
        ('scores', np.float32(1)),
        ('scores', np.zeros(2, np.float64)),
        ('maps', np.zeros((2, 1, 64, 64), np.float32)),
        ('maps', np.zeros((2, 64, 64), np.float16)),
    ],
)
def test_golden_arrays_have_to_fit(bundle_folder: Path, name: str, array: Any) -> None:
    arrays = {**builders.golden(builders.statistics())._asdict(), name: array}
    replace_file(bundle_folder, GOLDEN_FILE, _npz(arrays))
    with pytest.raises(BundleError, match=r"/golden\.npz: array '\w+' is \w+ \("):
        open_bundle(bundle_folder).golden()


def test_golden_arrays_may_not_be_empty(bundle_folder: Path) -> None:
    arrays = {
        'images': np.zeros((0, 64, 64, 3), np.uint8),
        'scores': np.zeros(0, np.float32),
        'maps': np.zeros((0, 64, 64), np.float32),
    }
    replace_file(bundle_folder, GOLDEN_FILE, _npz(arrays))
    with pytest.raises(BundleError, match=r"/golden\.npz: array 'images' is uint8 \(0, "):
        open_bundle(bundle_folder).golden()


# ---- what can be wrong with meta.json


def _places(values: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every field of a manifest, but nothing below those that may hold anything."""
    if place:
        yield place
    if place == ('hyper_parameters',):
        return
    items = values.items() if isinstance(values, dict) else ()
    items = enumerate(values) if isinstance(values, list) else items
    for key, value in items:
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
MAY_BE_ABSENT = {
    ('backbone', 'layers', 0),
    ('backbone', 'layers', 1),
    ('image', 'resize'),
    ('image_threshold', 'target_false_reject_rate'),
    ('image_threshold', 'detail'),
    ('pixel_threshold', 'target_false_reject_rate'),
    ('pixel_threshold', 'detail'),
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
    ('hyper_parameters',): ANY_DICTS,
    ('metrics',): ({},),
    ('versions',): ({},),
}


def _suits(value: Any, wrong: Any, place: tuple[Any, ...]) -> bool:
    """Whether ``wrong`` may stand in place of ``value``; checksums have a test of their own."""
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
        (('image', 'resize'), 'crop', "impossible image resize: 'crop'"),
        (('image', 'mean'), [0.5, 0.5], r"field 'image\.mean' has 2 values, expected 3"),
        (('score_range', 'maximum'), 0.0, 'impossible score range'),
        (('score_range', 'maximum'), -5, 'impossible score range'),
        (('image', 'height'), True, r"field 'image\.height' is True, expected int"),
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
        (('model',), 'yolo', "model 'yolo' is unknown to this adet .*padim.*; upgrade adet"),
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
    small = _npz({'mean': np.ones(4, np.float32), 'inv_covariance': np.ones(3, np.float32)})
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
    path.write_bytes(_raw_npz(header))
    with path.open('rb') as file:
        try:
            arrays = read_arrays(file, ('mean', 'inv_covariance'))
        except ValueError as error:
            assert str(error)  # noqa: PT017 - success is as good
        else:
            assert all(array.dtype.kind in 'biuf' for array in arrays.values())


def test_a_writer_that_fails_leaves_the_old_bundle(bundle_folder: Path) -> None:
    def fail(_: object) -> None:
        msg = 'cannot serialise'
        raise RuntimeError(msg)

    before = {path.name: path.read_bytes() for path in bundle_folder.iterdir() if path.is_file()}
    contents = builders.contents(builders.statistics(3))
    with pytest.raises(RuntimeError, match='cannot serialise'):
        write_bundle(bundle_folder, builders.manifest(), {**contents, 'late.bin': fail})
    after = {path.name: path.read_bytes() for path in bundle_folder.iterdir() if path.is_file()}
    assert after == before
    assert not list(bundle_folder.glob('.*'))


def test_the_manifest_survives_its_own_json() -> None:
    manifest = builders.manifest()
    assert Manifest.from_json(manifest.to_json()) == manifest
