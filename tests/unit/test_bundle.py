# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Bundles: what is written is read back, and whatever is wrong is a `BundleError` that says so."""

from __future__ import annotations

import copy
import hashlib
import io
import os
from pathlib import Path
import shutil
import struct
import tracemalloc
from typing import Any
import zipfile

import builders
from builders import edit_meta, FILES, make_bundle, replace_file, STATISTICS_FILE
from hypothesis import HealthCheck, settings
import numpy as np
import pytest

from adet_core.bundle import (
    copy_bundle,
    GOLDEN_FILE,
    Manifest,
    META_FILE,
    open_bundle,
    WEIGHTS_FILE,
    write_arrays,
    write_bundle,
)
from adet_core.bundle.manifest import STATISTICS_FILES
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
    for read, given_ in zip(
        bundle.golden().arrays().values(),
        builders.golden(arrays, 5).arrays().values(),
        strict=True,
    ):
        np.testing.assert_array_equal(read, given_)
    meta = (tmp_path / 'a' / 'b' / META_FILE).read_bytes()
    assert bundle.bundle_id == hashlib.sha256(meta).hexdigest()[:12] == written.bundle_id


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
    with pytest.raises(
        BundleError, match=r'meta\.json: \.incoming is a link, which a bundle may not hold'
    ):
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


@pytest.mark.parametrize('name', [GOLDEN_FILE, WEIGHTS_FILE])
def test_a_manifest_has_to_name_the_files_that_every_model_has(
    bundle_folder: Path, name: str
) -> None:
    edit_meta(bundle_folder, lambda values: values['files'].pop(name))
    with pytest.raises(BundleError, match=f"files does not name '{name}'"):
        open_bundle(bundle_folder)


@pytest.mark.parametrize('name', ['', 'PaDiM', '../padim', 'a b', 'a\n', 'x' * 41])
def test_a_model_has_to_have_a_models_name(bundle_folder: Path, name: str) -> None:
    edit_meta(bundle_folder, lambda values: values.update(model=name))
    with pytest.raises(BundleError, match=r"meta\.json: model .* is no model's name"):
        open_bundle(bundle_folder)


def test_a_model_of_somebody_elses_is_read_by_its_own_name(tmp_path: Path) -> None:
    make_bundle(tmp_path, model='reverse_distillation')
    assert open_bundle(tmp_path, model='reverse_distillation').manifest.model == (
        'reverse_distillation'
    )
    with pytest.raises(BundleError, match='holds a reverse_distillation bundle, expected padim'):
        open_bundle(tmp_path, model='padim')


@pytest.mark.parametrize('name', STATISTICS_FILES)
def test_statistics_may_lie_in_either_file_under_any_names(tmp_path: Path, name: str) -> None:
    arrays = {'one': np.arange(6, dtype=np.float32).reshape(2, 3), 'two': np.float32([7])}
    contents = builders.contents(builders.statistics())
    del contents[STATISTICS_FILE]
    contents[name] = lambda file: write_arrays(file, arrays)
    write_bundle(tmp_path, builders.manifest(), contents)
    read = open_bundle(tmp_path).statistics()
    assert list(read) == ['one', 'two']
    for key, array in arrays.items():
        np.testing.assert_array_equal(read[key], array)


def test_a_model_that_is_all_weights_has_no_statistics(tmp_path: Path) -> None:
    contents = builders.contents(builders.statistics())
    del contents[STATISTICS_FILE]
    write_bundle(tmp_path, builders.manifest(), contents)
    bundle = open_bundle(tmp_path)
    assert bundle.statistics() == {}
    builders.verify_all(bundle)


# ---- what can be wrong with the arrays


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
    data = builders.npz({'mean': evil, 'inv_covariance': np.ones(3, np.float32)})
    np.load(io.BytesIO(data), allow_pickle=True)['mean']  # it does work
    assert canary.exists()
    canary.unlink()
    replace_file(bundle_folder, STATISTICS_FILE, data)

    with pytest.raises(BundleError, match=r"stats\.npz: entry 'mean\.npy' claims .* object"):
        open_bundle(bundle_folder).statistics()

    assert not canary.exists()


ones = np.ones((64, 64, 3), np.float32)
BAD_STATISTICS = {
    'float64': (
        builders.npz({'mean': ones.astype(np.float64), 'inv_covariance': ones}),
        "array 'mean' is float64, expected float32",
    ),
    'other byte order': (
        builders.npz({'mean': ones.astype('>f4'), 'inv_covariance': ones}),
        "array 'mean' is >f4, expected float32",
    ),
    'text': (builders.npz({'mean': np.array(['a']), 'inv_covariance': ones}), 'claims'),
    'structure': (
        builders.npz({'mean': np.zeros(1, [('a', '<f4')]), 'inv_covariance': ones}),
        'claims',
    ),
    'huge shape': (builders.raw_npz(_header('(1000000, 1000000, 1000)')), 'claims'),
    'overflowing shape': (builders.raw_npz(_header('(4294967296, 4294967296)')), 'claims'),
    'negative shape': (builders.raw_npz(_header('(-1, -1)')), ''),
    'negative length': (builders.raw_npz(_header('(-1,)')), 'claims'),
    'boolean shape': (builders.raw_npz(_header('(True,)')), 'not a readable npz file'),
    'shape that is no tuple': (builders.raw_npz(_header('[1]')), ''),
    'too little data': (builders.raw_npz(_header('(2,)')), 'claims'),
    'too much data': (builders.raw_npz(_header('(1,)'), b'\0' * 8), 'claims'),
    'unclosed header': (builders.raw_npz(b"{'descr': ("), 'not a readable npz file'),
    'deep header': (builders.raw_npz(b'-' * 9000 + b'1'), 'not a readable npz file'),
    'header with an odd dtype': (
        builders.raw_npz(_header('(1,)', '(1,')),
        'not a readable npz file',
    ),
    'header with odd keys': (builders.raw_npz(b"{1: 2, 'a': 3}"), 'not a readable npz file'),
    'header that calls': (builders.raw_npz(b'__import__("os").abort()'), ''),
    'newer npy version': (
        builders.raw_npz(_header('(1,)'), magic=b'\x93NUMPY\x03\x00'),
        r'has npy version \(3, 0\)',
    ),
    'no npy': (builders.raw_npz(_header('(1,)'), magic=b'\x7fELF\x01\x01\x00\x00'), 'magic'),
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
    # As large as it claims to be, but not where the arrays lie.
    file.write(b'\0' * 9000)
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


def _overlapping(count: int, data: bytes) -> bytes:
    """An npz whose entries all name the same bytes."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, 'w') as archive:
        archive.writestr('mean.npy', data)
        for number in range(1, count):
            entry = copy.copy(archive.filelist[0])
            entry.filename = f'{number}.npy'
            archive.filelist.append(entry)
    return file.getvalue()


def test_arrays_together_are_no_larger_than_their_file(bundle_folder: Path) -> None:
    data = b'\x93NUMPY\x01\x00' + struct.pack('<H', len(_header('(9000,)'))) + _header('(9000,)')
    replace_file(bundle_folder, STATISTICS_FILE, _overlapping(3, data + b'\0' * 36000))
    message = r'/stats\.npz: claims 3 entries of \d+ bytes in all, the file has \d+; copy'
    with pytest.raises(BundleError, match=message):
        open_bundle(bundle_folder).statistics()


@pytest.mark.parametrize(
    ('count', 'reason'), [(1001, 'claims 1001 entries'), (60000, 'directory')]
)
def test_the_number_of_arrays_is_bounded(bundle_folder: Path, count: int, reason: str) -> None:
    replace_file(bundle_folder, STATISTICS_FILE, _overlapping(count, b''))
    bundle = open_bundle(bundle_folder)
    tracemalloc.start()
    with pytest.raises(BundleError, match=rf'/stats\.npz: .*{reason}.*; copy the bundle'):
        bundle.statistics()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20 << 20


def test_the_files_of_a_bundle_have_a_size_together(bundle_folder: Path) -> None:
    entry = {'sha256': '0' * 64, 'size': 16 << 30}
    edit_meta(bundle_folder, lambda values: values['files'].update(extra=entry))
    with pytest.raises(BundleError, match=r'meta\.json: files claims \d+ bytes in all, at most'):
        open_bundle(bundle_folder)


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
    arrays = {**builders.golden(builders.statistics()).arrays(), name: array}
    replace_file(bundle_folder, GOLDEN_FILE, builders.npz(arrays))
    with pytest.raises(BundleError, match=r"/golden\.npz: array '\w+' is \w+ \("):
        open_bundle(bundle_folder).golden()


@pytest.mark.parametrize('name', ['scores', 'maps'])
def test_golden_predictions_have_to_be_numbers(bundle_folder: Path, name: str) -> None:
    arrays = dict(builders.golden(builders.statistics()).arrays())
    arrays[name] = np.full_like(arrays[name], np.nan)
    replace_file(bundle_folder, GOLDEN_FILE, builders.npz(arrays))
    with pytest.raises(BundleError, match=rf"/golden\.npz: array '{name}' holds values that are"):
        open_bundle(bundle_folder).golden()


def test_golden_arrays_may_not_be_empty(bundle_folder: Path) -> None:
    arrays = {
        'images': np.zeros((0, 64, 64, 3), np.uint8),
        'scores': np.zeros(0, np.float32),
        'maps': np.zeros((0, 64, 64), np.float32),
    }
    replace_file(bundle_folder, GOLDEN_FILE, builders.npz(arrays))
    with pytest.raises(BundleError, match=r"/golden\.npz: array 'images' is uint8 \(0, "):
        open_bundle(bundle_folder).golden()


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
