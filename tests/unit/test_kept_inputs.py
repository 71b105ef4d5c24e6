# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""What a bundle's statistics became for its graph is kept for the next start."""

from __future__ import annotations

import json
from pathlib import Path
import subprocess
import sys
from typing import Any

import builders
from builders import SIZE
import numpy as np
import pytest
from transformed import gaussians, graph_with, level_bundle, level_graph, LEVELS

from adet_core.bundle import Bundle, open_bundle, TransformRecord
from adet_core.inference import kept_inputs
from adet_core.inference.detector import Detector

RECORD = TransformRecord(name='gaussian_levels', parameters=LEVELS.parameters)
IMAGE = np.zeros((SIZE, SIZE, 3), np.uint8)


@pytest.fixture(autouse=True)
def _of_any_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is kept here need not be smaller than the statistics; the key is of this test."""
    monkeypatch.setattr(kept_inputs, '_SHARE', 10.0)
    monkeypatch.setenv('XDG_STATE_HOME', str(tmp_path / 'state'))


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    made = level_bundle(tmp_path / 'PaDiM')
    builders.make_engine(made, level_graph(), statistics_transform=RECORD)
    return made


def _score(bundle: Bundle, **options: Any) -> float:
    options = {'backend': 'onnxruntime', 'threads': 1, **options}
    return float(Detector.load(bundle.folder, **options).run([IMAGE]).scores[0])


def _expected(seed: int) -> Any:
    return pytest.approx(sum(a.sum(dtype=float) for a in LEVELS(gaussians(seed)).values()), 1e-4)


def _damage(bundle: Bundle) -> None:
    """Whoever reads the statistics now is told so."""
    path = bundle.folder / builders.STATISTICS_FILE
    path.write_bytes(bytes(path.stat().st_size))


def test_the_next_start_reads_no_statistics(bundle: Bundle) -> None:
    assert _score(bundle) == _expected(0)
    _damage(bundle)
    assert _score(bundle) == _expected(0)


def test_the_next_start_does_without_onnx(bundle: Bundle) -> None:
    code = (
        'import sys; from pathlib import Path; from adet_core.inference.detector import Detector;'
        f'Detector.load(Path({str(bundle.folder)!r}), backend="onnxruntime", threads=1);'
        'print("onnx" in sys.modules)'
    )
    command = [sys.executable, '-c', code]
    told = [subprocess.check_output(command, text=True).strip() for _ in range(2)]
    assert told == ['True', 'False']


def test_other_statistics_are_read_again(bundle: Bundle) -> None:
    assert _score(bundle) == _expected(0)
    builders.replace_file(
        bundle.folder, builders.STATISTICS_FILE, builders.npz(dict(gaussians(1)))
    )
    other = open_bundle(bundle.folder)
    builders.make_engine(other, level_graph(), statistics_transform=RECORD)
    for _ in range(2):
        assert _score(other) == _expected(1)


def test_what_was_edited_or_came_from_elsewhere_is_made_again(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert _score(bundle) == _expected(0)
    kept = bundle.folder / 'engine' / 'inputs.bin'
    right = kept.read_bytes()
    kept.write_bytes(right[:-4] + b'\0\0\x80\x3f')
    assert _score(bundle) == _expected(0)
    assert kept.read_bytes() == right
    # The seal says nothing of the order of keys.
    path = kept.with_name('inputs.json')
    path.write_text(json.dumps(json.loads(path.read_text()), sort_keys=True))
    assert _score(bundle) == _expected(0)
    monkeypatch.setenv('XDG_STATE_HOME', str(tmp_path / 'another machine'))
    record = kept.with_name('inputs.json').read_bytes()
    assert _score(bundle) == _expected(0)
    assert kept.with_name('inputs.json').read_bytes() != record


def test_what_a_detector_loads_beside_another_is_kept(bundle: Bundle) -> None:
    # As further categories and retrained statistics are.
    beside = Detector.load(bundle.folder, backend='onnxruntime', threads=1, build=False)
    assert _score(bundle, beside=[beside]) == _expected(0)
    _damage(bundle)
    assert _score(bundle, beside=[beside]) == _expected(0)


def test_no_inputs_are_kept_where_nothing_may_be_made(bundle: Bundle) -> None:
    assert _score(bundle, build=False) == _expected(0)
    assert not (bundle.folder / 'engine' / 'inputs.bin').exists()


def test_a_folder_that_cannot_be_written_is_no_fault(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr('os.fsync', full)
    for _ in range(2):
        assert _score(bundle) == _expected(0)


def test_what_is_about_as_large_as_the_statistics_is_not_kept(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kept_inputs, '_SHARE', 0.01)
    assert _score(bundle) == _expected(0)
    assert not (bundle.folder / 'engine' / 'inputs.bin').exists()


def test_a_constant_of_the_graph_is_kept_with_it(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    basis = rng.normal(size=(6, 3)).astype(np.float32)
    bank = rng.normal(50, size=(20, 6)).astype(np.float32)
    shapes: dict[str, list[Any]] = {'centre': [1, 6], 'bank': ['K', 6], 'search': [4, 'K']}
    graph = graph_with(shapes, constants={'directions': basis})
    record = TransformRecord(
        name='bank_search', parameters={'channels': 6}, constants={'basis': 'directions'}
    )
    folder = tmp_path / 'PatchCore'
    builders.make_bundle(folder)
    builders.replace_file(folder, builders.STATISTICS_FILE, builders.npz({'memory_bank': bank}))
    bundle = open_bundle(folder)
    builders.make_engine(bundle, graph, statistics_transform=record)
    first = _score(bundle)
    (folder / 'engine' / 'inputs.bin').unlink()
    # Transformed again, without the graph.
    assert _score(bundle) == first
    centred = bank - bank.mean(axis=0)
    halves = -0.5 * (centred**2).sum()
    total = bank.mean(axis=0).sum() + centred.sum() + (centred @ basis).sum() + halves
    assert first == pytest.approx(total, rel=1e-4)


def test_the_inputs_of_one_tile_do_not_hold_those_of_others() -> None:
    made = [LEVELS(gaussians(seed)) for seed in (0, 1)]
    found = kept_inputs._from_kept(kept_inputs._to_kept(made))
    for one, other in zip(found, made, strict=True):
        assert one.keys() == other.keys()
        assert all(np.array_equal(one[name], other[name]) for name in other)
        assert all(array.base is None for array in one.values())
