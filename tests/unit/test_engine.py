# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""The engine folder: used only with the very bundle it was made from."""

from __future__ import annotations

import json
import os
from pathlib import Path
import shutil
from typing import Any

import builders
from hypothesis import given, HealthCheck, settings
from hypothesis import strategies as st
import pytest

from adet_core.bundle import (
    Bundle,
    engine,
    EngineRecord,
    ExportedGraph,
    open_bundle,
    Parity,
    read_engine,
    write_engine,
)
from adet_core.errors import BundleError

EXPORT = 'make it with: adet export'


def _edit(folder: Path, edit: dict[str, Any]) -> None:
    path = folder / 'engine' / 'model.json'
    path.write_text(json.dumps({**json.loads(path.read_text()), **edit}))


def test_a_graph_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    bundle = builders.make_bundle(tmp_path)
    graph = builders.make_engine(bundle)
    assert read_engine(open_bundle(tmp_path)) == ExportedGraph(graph)
    assert graph == builders.make_graph()


def test_writing_tells_where_the_graph_is(tmp_path: Path) -> None:
    bundle = builders.make_bundle(tmp_path)
    parity = Parity(pictures=1, score_difference=0.0, map_difference=0.0, tolerance=1.0)
    record = EngineRecord(
        bundle_id=bundle.bundle_id,
        sha256='0' * 64,
        precision='fp32',
        opset=18,
        parity=parity,
        versions={},
    )
    path = write_engine(bundle, b'graph', record)
    assert path == tmp_path / 'engine' / 'model.onnx'
    assert path.read_bytes() == b'graph'


@pytest.mark.parametrize(
    ('score', 'pixel', 'holds'), [(0.1, 0.1, True), (0.11, 0, False), (0, 0.11, False)]
)
def test_parity_holds_within_the_tolerance(score: float, pixel: float, *, holds: bool) -> None:
    parity = Parity(pictures=1, score_difference=score, map_difference=pixel, tolerance=0.1)
    assert parity.holds is holds


@pytest.mark.timeout(20)
@pytest.mark.parametrize('name', ['model.onnx', 'model.json'])
@pytest.mark.parametrize('damage', ['missing', 'a link', 'a pipe', 'a directory'])
def test_a_file_that_is_not_right_is_refused(bundle_folder: Path, name: str, damage: str) -> None:
    path = bundle_folder / 'engine' / name
    elsewhere = path.rename(bundle_folder / 'elsewhere')
    if damage == 'a link':
        path.symlink_to(elsewhere)
    elif damage == 'a pipe':
        os.mkfifo(path)
    elif damage == 'a directory':
        path.mkdir()
    with pytest.raises(BundleError, match=rf'/engine/{name}: .+; {EXPORT} {bundle_folder}'):
        read_engine(open_bundle(bundle_folder))


def test_a_graph_as_long_as_it_likes_is_not_read(bundle_folder: Path) -> None:
    path = bundle_folder / 'engine' / 'model.onnx'
    os.truncate(path, 40 << 30)
    message = f'has {40 << 30} bytes, more than {2 << 30} are not read; {EXPORT}'
    with pytest.raises(BundleError, match=message):
        read_engine(open_bundle(bundle_folder))


def test_a_bundle_without_engine_says_how_to_make_one(tmp_path: Path) -> None:
    bundle = builders.make_bundle(tmp_path)
    with pytest.raises(BundleError, match=rf'model\.json: missing; {EXPORT} {tmp_path}'):
        read_engine(bundle)


def test_a_flipped_bit_of_the_graph_is_found(bundle_folder: Path) -> None:
    path = bundle_folder / 'engine' / 'model.onnx'
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(BundleError, match=rf'model\.onnx: checksum mismatch with .*; {EXPORT}'):
        read_engine(open_bundle(bundle_folder))


def test_the_engine_of_another_bundle_is_refused(bundle_folder: Path) -> None:
    old = open_bundle(bundle_folder).bundle_id
    new = builders.make_bundle(bundle_folder, category='lid')
    message = f'made from bundle {old}, this one is {new.bundle_id}; {EXPORT}'
    with pytest.raises(BundleError, match=message):
        read_engine(new)


@pytest.mark.parametrize(
    ('edit', 'message'),
    [
        ({'precision': 32}, "field 'precision' is 32, expected str"),
        ({'opset': True}, "field 'opset' is True, expected int"),
        ({'parity': None}, "field 'parity' is None"),
        ({'colour': 1}, "unknown field 'colour'"),
        ({'parity': {'pictures': 1}}, r"field 'parity\.score_difference' is missing"),
        ({'versions': {'onnx': 1}}, r"field 'versions\.onnx' is 1, expected str"),
        ({'opset': float('nan')}, 'not valid JSON'),
    ],
)
def test_a_record_that_is_not_right_is_refused(
    bundle_folder: Path, edit: dict[str, Any], message: str
) -> None:
    _edit(bundle_folder, edit)
    with pytest.raises(BundleError, match=rf'/engine/model\.json: .*{message}.*; {EXPORT}'):
        read_engine(open_bundle(bundle_folder))


def test_an_export_between_the_two_reads_is_no_error(
    bundle_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = open_bundle(bundle_folder)
    read, seen = engine._read, []

    def export_then_read(of: Bundle, name: str, limit: int) -> bytes:
        if seen == ['model.json']:
            builders.make_engine(bundle, b'newer graph')
        seen.append(name)
        return read(of, name, limit)

    monkeypatch.setattr(engine, '_read', export_then_read)
    assert read_engine(bundle).onnx == b'newer graph'
    assert len(seen) == 4


def test_a_large_record_is_refused(bundle_folder: Path) -> None:
    (bundle_folder / 'engine' / 'model.json').write_bytes(b' ' * (2 << 20))
    with pytest.raises(
        BundleError, match=r'model\.json: has \d+ bytes, more than 1048576 are not read'
    ):
        read_engine(open_bundle(bundle_folder))


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    edits=st.lists(st.tuples(st.floats(0, 1), st.binary(min_size=1, max_size=6)), max_size=4),
    cut=st.one_of(st.just(1.0), st.floats(0, 1)),
)
def test_random_bytes_in_the_record_give_bundle_errors(
    template: Path, tmp_path: Path, edits: list[tuple[float, bytes]], cut: float
) -> None:
    folder = tmp_path / 'fuzzed'
    if not folder.exists():
        shutil.copytree(template, folder)
    data = bytearray((template / 'engine' / 'model.json').read_bytes())
    for position, token in edits:
        start = int(position * len(data))
        data[start : start + len(token)] = token
    (folder / 'engine' / 'model.json').write_bytes(data[: int(cut * len(data))])
    bundle = open_bundle(folder)
    try:
        assert read_engine(bundle).onnx == builders.make_graph()
    except BundleError as error:
        assert str(error).endswith(f'{EXPORT} {folder}')  # noqa: PT017 - success is as good
