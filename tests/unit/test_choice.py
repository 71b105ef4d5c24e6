# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""``backend: auto`` on a CPU measures once, keeps what it found, and says so."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
import json
from pathlib import Path
import re
import shutil
import time
from typing import Any

from builders import make_bundle, make_engine
import numpy as np
import pytest

from adet_core.bundle import Bundle, open_bundle, read_engine
from adet_core.cli import main
from adet_core.errors import BackendError
from adet_core.inference import backend as registry
from adet_core.inference import choice
from adet_core.inference.backend import BackendRequest, open_backend
from adet_core.inference.detector import Detector
from adet_core.inference.machine import alone
from adet_core.inference.onnxruntime import OnnxRuntimeBackend
from adet_core.prediction import Prediction

SLOW_S = 0.03


class Machine:
    """A machine with three backends, which count how often they are opened.

    Attributes:
        opened: Their names in order.
        slow: Names of those that take their time.
        wrong: Names of those that predict something else.
        broken: Names of those that cannot be opened.
    """

    def __init__(self) -> None:
        self.opened: list[str] = []
        self.slow: set[str] = set()
        self.wrong: set[str] = set()
        self.broken: set[str] = set()

    def open(self, name: str, request: BackendRequest) -> OnnxRuntimeBackend:
        self.opened.append(name)
        if name in self.broken:
            raise BackendError('it is broken')
        machine = self

        class Counted(OnnxRuntimeBackend):
            def run(self, images: np.ndarray) -> Prediction:
                time.sleep(SLOW_S if name in machine.slow else 0)
                scores, maps = super().run(images)
                # Less than the trial of two images notices.
                return Prediction(scores * (1.02 if name in machine.wrong else 1), maps)

        return Counted(request.graph, threads=1)


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Machine:
    made = Machine()
    names = ('onnxruntime', 'onnxruntime_plain', 'openvino')
    monkeypatch.setattr(registry, 'MEASURED', names)
    monkeypatch.setattr(choice, '_ROUNDS', (3, 3))
    monkeypatch.setattr(choice, '_library', lambda name: f'{name} 1.0')
    monkeypatch.setattr(choice, '_candidates', lambda _: list(names))
    monkeypatch.setattr(choice, 'has_cuda', lambda: False)
    for name in names:
        monkeypatch.setitem(globals(), f'open_{name}', _opener(made, name))
    places = {name: f'{__name__}:open_{name}' for name in names}
    monkeypatch.setattr(registry, 'BACKENDS', places)
    monkeypatch.setenv('XDG_STATE_HOME', str(tmp_path / 'state'))
    return made


def _opener(machine: Machine, name: str) -> Any:
    return lambda request: machine.open(name, request)


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    made = make_bundle(tmp_path / 'PaDiM')
    make_engine(made)
    return made


def request_of(bundle: Bundle, **settings: Any) -> BackendRequest:
    return BackendRequest(bundle=bundle, graph=read_engine(bundle), threads=1, **settings)


def test_the_quickest_is_taken_and_not_measured_again(machine: Machine, bundle: Bundle) -> None:
    machine.slow = {'onnxruntime', 'onnxruntime_plain'}
    first = open_backend('auto', request_of(bundle))
    assert first.choice == 'openvino'
    assert first.reason.startswith('measured here: onnxruntime ')
    assert machine.opened == ['onnxruntime', 'onnxruntime_plain', 'openvino']
    # It would be another one now.
    machine.slow, machine.opened = {'openvino'}, []
    again = open_backend('auto', request_of(bundle))
    assert (again.choice, again.reason) == (first.choice, first.reason)
    assert machine.opened == ['openvino']


def test_other_threads_or_another_graph_are_measured_anew(
    machine: Machine, bundle: Bundle
) -> None:
    open_backend('auto', request_of(bundle))
    machine.opened = []
    open_backend('auto', replace(request_of(bundle), threads=2))
    assert len(machine.opened) == 3
    make_engine(bundle, read_engine(bundle).onnx + b'\x72\x00')
    machine.opened = []
    open_backend('auto', request_of(bundle))
    assert len(machine.opened) == 3


def test_who_is_hardly_quicker_is_not_taken() -> None:
    times = {'onnxruntime': [1.0, 2.0, 1.0], 'openvino': [0.96, 1.93, 0.5]}
    assert choice.quickest(times) == 'onnxruntime'
    times['openvino'] = [0.9, 1.8, 5.0]
    assert choice.quickest(times) == 'openvino'


@pytest.mark.parametrize(
    ('fault', 'told'),
    [('broken', 'not openvino: it is broken'), ('wrong', 'not openvino: .*differs from the tr')],
)
def test_what_fails_is_left_out_and_named(
    machine: Machine, bundle: Bundle, monkeypatch: pytest.MonkeyPatch, fault: str, told: str
) -> None:
    setattr(machine, fault, {'openvino'})
    machine.slow = {'onnxruntime', 'onnxruntime_plain'}
    # As OpenVINO does by itself.
    monkeypatch.setattr(choice, '_UNCHECKED', ('onnxruntime', 'onnxruntime_plain', 'openvino'))
    opened = open_backend('auto', request_of(bundle))
    assert opened.choice == 'onnxruntime'
    assert re.search(told, opened.reason)


def test_nothing_works(machine: Machine, bundle: Bundle) -> None:
    machine.broken = {'onnxruntime', 'onnxruntime_plain', 'openvino'}
    with pytest.raises(BackendError, match=r'^it is broken; it is broken'):
        open_backend('auto', request_of(bundle))


def test_the_chosen_one_may_break_later(machine: Machine, bundle: Bundle) -> None:
    machine.slow = {'onnxruntime', 'onnxruntime_plain'}
    open_backend('auto', request_of(bundle))
    machine.broken = {'openvino'}
    opened = open_backend('auto', request_of(bundle))
    assert opened.choice == 'onnxruntime'
    assert opened.reason == 'not openvino, the quickest: it is broken'


@pytest.mark.parametrize(
    'reason', ['nothing may be built here', 'another process measures', 'cannot be written']
)
def test_where_it_cannot_be_measured_the_default_runs(
    machine: Machine, bundle: Bundle, monkeypatch: pytest.MonkeyPatch, reason: str
) -> None:
    machine.slow = {'onnxruntime', 'onnxruntime_plain'}
    monkeypatch.setattr(choice, '_WAIT_S', 0.0)
    monkeypatch.setattr(choice, 'is_writable', lambda _: reason != 'cannot be written')
    with _busy(reason == 'another process measures'):
        request = request_of(bundle, build=reason != 'nothing may be built here')
        opened = open_backend('auto', request)
    assert opened.choice == 'onnxruntime'
    assert opened.reason.startswith('not measured: ')
    assert reason in opened.reason
    assert machine.opened == ['onnxruntime']
    assert not (bundle.folder / 'engine' / 'choice.json').exists()


@contextmanager
def _busy(is_busy: bool) -> Iterator[None]:
    if not is_busy:
        yield
        return
    with alone(0) as problem:
        assert problem == ''
        yield


@pytest.mark.parametrize('change', ['machine', 'record', 'damage'])
def test_what_another_machine_found_is_not_believed(
    machine: Machine, bundle: Bundle, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, change: str
) -> None:
    machine.slow = {'onnxruntime_plain', 'openvino'}
    open_backend('auto', request_of(bundle))
    path = bundle.folder / 'engine' / 'choice.json'
    if change == 'machine':
        monkeypatch.setenv('XDG_STATE_HOME', str(tmp_path / 'another'))
    elif change == 'record':
        record = json.loads(path.read_text())
        record['record']['details']['backend'] = 'openvino'
        path.write_text(json.dumps(record))
    else:
        path.write_text('{')
    machine.opened = []
    open_backend('auto', request_of(bundle))
    assert len(machine.opened) == 3


def test_a_fixed_name_is_obeyed(machine: Machine, bundle: Bundle) -> None:
    machine.slow = {'onnxruntime'}
    opened = open_backend('onnxruntime', request_of(bundle))
    assert (opened.choice, opened.reason) == ('onnxruntime', '')
    assert machine.opened == ['onnxruntime']


def test_a_swap_measures_nothing(machine: Machine, bundle: Bundle, tmp_path: Path) -> None:
    machine.slow = {'onnxruntime', 'onnxruntime_plain'}
    running = Detector.load(bundle.folder, threads=1)
    other = make_bundle(tmp_path / 'other', seed=1)
    make_engine(other, read_engine(bundle).onnx + b'\x72\x00')
    machine.opened = []
    swapped = Detector.load(other.folder, threads=1, beside=[running])
    assert swapped.backend_choice == 'openvino'
    assert machine.opened == ['openvino']


def test_the_list_tells_what_was_measured(
    machine: Machine, bundle: Bundle, capsys: pytest.CaptureFixture[str]
) -> None:
    machine.slow = {'onnxruntime', 'onnxruntime_plain'}
    open_backend('auto', request_of(bundle))
    assert main(['list', '--models-root', str(bundle.folder.parent)]) == 0
    assert 'backend: auto is openvino here, measured: onnxruntime ' in capsys.readouterr().out


def test_the_rewritten_graph_is_kept(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    from adet_core.inference import onnxruntime

    graph = read_engine(bundle).onnx
    given = []

    def rewrite(data: bytes) -> bytes:
        given.append(data)
        # Another spelling of the same model.
        return data + b'\x72\x00'

    monkeypatch.setattr(onnxruntime, '_with_winograd', rewrite)
    for _ in range(2):
        assert onnxruntime.kept_rewrite(request_of(bundle)) == graph + b'\x72\x00'
    assert given == [graph]
    (bundle.folder / 'engine' / 'tiled.bin').write_bytes(b'damaged')
    assert onnxruntime.kept_rewrite(request_of(bundle)) == graph + b'\x72\x00'
    assert len(given) == 2
    copy = open_bundle(shutil.copytree(bundle.folder, bundle.folder.parent / 'copy'))
    monkeypatch.setenv('XDG_STATE_HOME', str(bundle.folder.parent / 'another machine'))
    onnxruntime.kept_rewrite(request_of(copy))
    assert len(given) == 3
