# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""What a retraining keeps of the images that the next one asks again, and whom it believes."""

from __future__ import annotations

from collections.abc import Iterator
import os
from pathlib import Path
from typing import Any

import builders
import numpy as np
from onnx import helper, TensorProto
import pytest

from adet_core.bundle import Bundle, keep_scores, open_feature_cache, read_engine, read_scores
from adet_core.bundle.gate_cache import FeatureCache, FEATURES_CACHE, SCORES_CACHE
from adet_core.errors import BackendError
from adet_core.inference import halves
from adet_core.inference.backend import bind_inputs
from adet_core.inference.onnxruntime import OnnxRuntimeBackend
from adet_core.inference.split_graph import split_graph
from adet_core.retraining.gate_graph import GateGraph
from adet_core.retraining.in_order import in_order

SECRET, LENGTH = b's' * 32, 100
KEYS = [bytes([number]) * 32 for number in range(8)]
RECORDS = [bytes([number + 100]) * LENGTH for number in range(8)]


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    made = builders.make_bundle(tmp_path / 'PaDiM')
    builders.make_engine(made)
    return made


def kept(bundle: Bundle, name: str = FEATURES_CACHE) -> Path:
    return bundle.folder / 'engine' / name


def filled(bundle: Bundle) -> None:
    with open_feature_cache(bundle, SECRET, LENGTH) as cache:
        for key, record in zip(KEYS, RECORDS, strict=True):
            cache.put(key, record)


def found(bundle: Bundle, secret: bytes = SECRET, length: int = LENGTH) -> list[bytes | None]:
    with open_feature_cache(bundle, secret, length) as cache:
        return [cache.get(key) for key in KEYS]


# ---- features


def test_records_are_there_for_the_next_process(bundle: Bundle) -> None:
    filled(bundle)
    assert found(bundle) == RECORDS


@pytest.mark.parametrize('other', [{'secret': b't' * 32}, {'length': LENGTH + 1}])
def test_records_of_another_graph_or_machine_are_none(bundle: Bundle, other: Any) -> None:
    filled(bundle)
    assert found(bundle, **other) == [None] * 8
    # They made room for what comes.
    assert kept(bundle).stat().st_size == 32


def test_a_record_that_somebody_changed_is_none(bundle: Bundle) -> None:
    filled(bundle)
    data = bytearray(kept(bundle).read_bytes())
    # One bit of the third record, and the last one is torn.
    data[32 + 2 * (64 + LENGTH) + 64] ^= 1
    kept(bundle).write_bytes(data[:-1])
    expected = [None if number in {2, 7} else record for number, record in enumerate(RECORDS)]
    assert found(bundle) == expected
    filled(bundle)
    assert found(bundle) == RECORDS


@pytest.mark.parametrize('content', [b'', b'no cache', os.urandom(5000)])
def test_a_file_that_is_no_cache_is_replaced(bundle: Bundle, content: bytes) -> None:
    kept(bundle).write_bytes(content)
    filled(bundle)
    assert found(bundle) == RECORDS


def test_a_link_is_not_followed(bundle: Bundle, tmp_path: Path) -> None:
    (tmp_path / 'precious').write_bytes(b'precious')
    kept(bundle).symlink_to(tmp_path / 'precious')
    filled(bundle)
    assert (tmp_path / 'precious').read_bytes() == b'precious'
    assert found(bundle) == [None] * 8


def test_a_second_process_has_a_cache_of_its_own(bundle: Bundle) -> None:
    with open_feature_cache(bundle, SECRET, LENGTH) as first:
        first.put(KEYS[0], RECORDS[0])
        with open_feature_cache(bundle, SECRET, LENGTH) as second:
            assert second.get(KEYS[0]) is None
            second.put(KEYS[1], RECORDS[1])
            assert second.get(KEYS[1]) == RECORDS[1]
    assert found(bundle)[:2] == [RECORDS[0], None]


def test_the_file_has_a_bound_and_keeps_what_is_asked(tmp_path: Path) -> None:
    limit = 32 + 4 * (64 + LENGTH)
    with (tmp_path / 'cache').open('w+b') as file:
        cache = FeatureCache(file, SECRET, LENGTH, limit)
        for key, record in zip(KEYS[:4], RECORDS, strict=False):
            cache.put(key, record)
    with (tmp_path / 'cache').open('r+b') as file:
        cache = FeatureCache(file, SECRET, LENGTH, limit)
        assert [cache.get(key) for key in KEYS[:3]] == RECORDS[:3]
        for _ in range(40):
            cache.put(KEYS[5], RECORDS[5])
        # Only the fourth made room, and nothing does for a sixth.
        for _ in range(40):
            cache.put(KEYS[6], RECORDS[6])
        places = [cache.get(key) for key in KEYS]
    assert places[:3] == RECORDS[:3]
    assert places[5] == RECORDS[5]
    assert [places[3], places[4], places[6]] == [None] * 3
    assert (tmp_path / 'cache').stat().st_size == limit


# ---- scores


def test_scores_are_kept_for_one_set_alone(bundle: Bundle) -> None:
    scores = {KEYS[0]: (1.5, 2.5), KEYS[1]: (-3.0, float('-inf'))}
    keep_scores(bundle, SECRET, scores)
    assert read_scores(bundle, SECRET) == scores
    assert read_scores(bundle, b't' * 32) == {}
    data = kept(bundle, SCORES_CACHE).read_bytes()
    for wrong in (data[:-1], data[:50] + b'\xff' + data[51:], b'', data + b'\0' * (1 << 20)):
        kept(bundle, SCORES_CACHE).write_bytes(wrong)
        assert read_scores(bundle, SECRET) == {}


# ---- the graph in two halves


def test_two_sets_share_what_the_backbone_makes_of_an_image(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[str] = []
    real = halves._run

    def counted(session: Any, names: list[str], values: dict[str, Any]) -> list[Any]:
        ran.append('second' if 'score' in names else 'first')
        return real(session, names, values)

    monkeypatch.setattr(halves, '_run', counted)
    images = np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3), np.uint8)
    sets = [[builders.statistics(seed)] for seed in (0, 1)]
    for first in (3, 0):
        ran.clear()
        with GateGraph(bundle, threads=1) as graph:
            graph.remember()
            for statistics in sets:
                bound = graph.bind(statistics)
                assert callable(bound.runs)
                said = bound.runs(images)
                whole = bind_inputs(OnnxRuntimeBackend(read_engine(bundle)), statistics)
                expected = whole(images)
                np.testing.assert_allclose(said.scores, expected.scores, rtol=1e-6)
                np.testing.assert_allclose(said.maps, expected.maps, rtol=1e-6)
                found = bound.whole().run(images)
                np.testing.assert_array_equal(found.scores, expected.scores)
        # The next retraining finds all of them.
        assert (ran.count('first'), ran.count('second')) == (first, 6)


def test_several_threads_may_ask_at_once(bundle: Bundle) -> None:
    images = np.random.default_rng(0).integers(0, 256, (40, 1, 64, 64, 3), np.uint8)
    with GateGraph(bundle, threads=4) as graph:
        graph.remember()
        run = graph.bind([builders.statistics(0)]).runs
        assert callable(run)
        assert graph.at_once == 4
        twice = [*images, *images]
        found = [one.scores[0] for one in in_order(run, twice, graph.at_once)]
    assert found[:40] == found[40:]
    expected = builders.expected_prediction(images[:, 0], builders.statistics(0)).scores
    np.testing.assert_allclose(found[:40], expected, rtol=1e-5)


def without_statistics() -> bytes:
    """A graph whose map is the image's first channel."""
    node, tensor = helper.make_node, helper.make_tensor_value_info
    made = helper.make_graph(
        [
            node('Cast', ['image'], ['float'], to=TensorProto.FLOAT),
            node('Slice', ['float', 'zero', 'one', 'three'], ['channel']),
            node('Transpose', ['channel'], ['anomaly_map'], perm=[0, 3, 1, 2]),
            node('ReduceMax', ['anomaly_map', 'axes'], ['score'], keepdims=0),
        ],
        'first_channel',
        [tensor('image', TensorProto.UINT8, ['N', 64, 64, 3])],
        [
            tensor('score', TensorProto.FLOAT, ['N', 1]),
            tensor('anomaly_map', TensorProto.FLOAT, ['N', 1, 64, 64]),
        ],
        [
            helper.make_tensor(name, TensorProto.INT64, [len(value)], value)
            for name, value in {'zero': [0], 'one': [1], 'three': [3], 'axes': [2, 3]}.items()
        ],
    )
    opsets = [helper.make_opsetid('', 18)]
    return bytes(helper.make_model(made, opset_imports=opsets, ir_version=9).SerializeToString())


def test_a_graph_without_statistics_stays_whole(bundle: Bundle) -> None:
    graph = builders.make_engine(bundle, without_statistics())
    assert split_graph(graph) is None
    gate = GateGraph(bundle, threads=2)
    assert gate.at_once == 1
    run = gate.bind([{}]).runs
    assert callable(run)
    assert run(np.zeros((1, 64, 64, 3), np.uint8)).scores.shape == (1,)


def test_what_is_no_graph_is_told(bundle: Bundle) -> None:
    builders.make_engine(bundle, b'no graph')
    with pytest.raises(BackendError, match='cannot load the graph'):
        GateGraph(bundle, threads=1)


# ---- work by several threads


def test_results_come_in_order_and_a_few_ahead() -> None:
    taken: list[int] = []

    def numbers() -> Iterator[int]:
        for number in range(30):
            taken.append(number)
            yield number

    results = in_order(lambda one: one * 2, numbers(), 2)
    assert next(results) == 0
    assert len(taken) <= 6
    assert list(results) == list(range(2, 60, 2))
    assert list(in_order(lambda one: one * 2, range(3), 1)) == [0, 2, 4]
    with pytest.raises(ZeroDivisionError):
        list(in_order(lambda one: 1 // one, [1, 0, 1], 3))
