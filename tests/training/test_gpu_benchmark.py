# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""The benchmark for GPUs: what becomes of its steps, what they find, and how that is judged."""

from __future__ import annotations

import fcntl
import json
import shutil
import sys
import threading
from types import SimpleNamespace

from gpu_stand_in import stand_in
import numpy as np
import pytest

from adet_core.bundle import copy_bundle
from adet_core.errors import BackendError

pytestmark = pytest.mark.training


@pytest.fixture(autouse=True)
def benchmarks(monkeypatch, request):
    """Import the benchmarks as their folder's own modules."""
    monkeypatch.syspath_prepend(str(request.config.rootpath / 'benchmarks'))


@pytest.fixture
def run(tmp_path):
    """Run steps that are little programs; a program may write figures to the path ``FIGURES``."""
    from gpu import Runner
    from gpu_report import figures_path

    def run(programs, *, minutes=1.0, jobs=4):
        def launch(step):
            path = figures_path(tmp_path, step.name)
            path.parent.mkdir(exist_ok=True)
            program = f'from pathlib import Path\nFIGURES = Path({str(path)!r})\n'
            return [sys.executable, '-c', program + programs[step]]

        runner = Runner(tmp_path, launch, minutes=minutes)
        runner.run(list(programs), jobs=jobs)
        return runner.outcomes

    return run


def result(folder):
    return json.loads((folder / 'gpu.json').read_text())


def test_a_step_that_fails_costs_its_own_figures_alone(run, tmp_path):
    from gpu import Step

    found = run(
        {
            Step('data', 60): 'FIGURES.write_text(\'{"gpu": "H100"}\')',
            Step(
                'train:padim', 60, 'data'
            ): 'FIGURES.write_text("{}"); raise SystemExit("no GPU")',
            Step('engine:padim:fp32', 60, 'train:padim'): '',
            Step('train:vae', 60, 'data'): 'FIGURES.write_text(\'{"fit_seconds": 3}\')',
        }
    )
    assert {name: one['status'] for name, one in found.items()} == {
        'data': 'ok',
        'train:padim': 'failed',
        'engine:padim:fp32': 'skipped',
        'train:vae': 'ok',
    }
    assert found['train:padim']['error'] == 'no GPU'
    assert found['engine:padim:fp32']['error'] == 'train:padim has not succeeded'
    assert result(tmp_path)['steps'] == found
    assert result(tmp_path)['figures']['train.vae'] == {'fit_seconds': 3}
    assert 'no GPU' in (tmp_path / 'gpu.md').read_text()


def test_a_step_without_a_gpu_says_so_in_a_line(tmp_path, monkeypatch, capsys):
    import gpu
    import gpu_report
    import gpu_steps

    def refuse(_):
        raise BackendError('no GPU can be used: no NVIDIA driver (libcuda.so.1) is here')

    monkeypatch.setattr(gpu_steps, 'run_step', refuse)
    monkeypatch.setattr(sys, 'argv', ['gpu.py', '--out', str(tmp_path), '--step', 'data'])
    assert gpu.main() == 1
    said = capsys.readouterr().err
    assert said == 'error: no GPU can be used: no NVIDIA driver (libcuda.so.1) is here\n'
    outcomes = {'data': {'status': 'failed', 'seconds': 1.0, 'error': said.strip()}}
    text = gpu_report.tables({'steps': outcomes, 'figures': {}, 'aims': gpu_report.judge({})})
    assert text.startswith('no GPU\n')
    assert '| data | 1       | failed error: no GPU can be used' in text


def test_a_step_that_hangs_is_ended_and_keeps_what_it_has_found(run, tmp_path):
    from gpu import Step

    # Its child would hold the log open for ever.
    hangs = (
        'import subprocess, sys, time\n'
        'subprocess.Popen([sys.executable, "-c", "import time; time.sleep(1000)"])\n'
        'FIGURES.write_text(\'{"fit_seconds": 1}\')\n'
        'time.sleep(1000)'
    )
    found = run({Step('train:padim', 2): hangs, Step('train:vae', 60): ''})
    assert found['train:padim']['status'] == 'timed out'
    assert found['train:vae']['status'] == 'ok'
    assert result(tmp_path)['figures']['train.padim'] == {'fit_seconds': 1}


def test_a_later_run_builds_on_an_earlier_one(run, tmp_path):
    from gpu import Step

    vae = Step('train:vae', 60)
    run({Step('data', 60): '', vae: 'FIGURES.write_text(\'{"fit_seconds": 3}\')'})
    run({vae: 'raise SystemExit(1)'})
    found = run({Step('train:padim', 60, 'data'): '', Step('measure:vae', 60, 'train:vae'): ''})
    statuses = {name: one['status'] for name, one in found.items()}
    assert statuses.pop('data') == statuses.pop('train:padim') == 'ok'
    assert statuses == {'train:vae': 'failed', 'measure:vae': 'skipped'}
    assert result(tmp_path) == {'steps': found, 'figures': {}, 'aims': result(tmp_path)['aims']}


def test_without_time_nothing_is_started(run):
    from gpu import Step

    found = run({Step('data', 60): 'raise SystemExit(1)'}, minutes=0)
    assert found['data']['status'] == 'skipped'
    assert found['data']['error'] == 'no time was left'


def test_what_measures_waits_for_a_training(tmp_path):
    from gpu import Runner
    from gpu_report import GPU_LOCK

    runner = Runner(tmp_path, list, minutes=1)
    with (tmp_path / GPU_LOCK).open('w') as file:
        fcntl.flock(file, fcntl.LOCK_SH)
        waiting = threading.Thread(target=runner.wait_for_gpu)
        waiting.start()
        waiting.join(0.2)
        assert waiting.is_alive()
    waiting.join()


def test_every_step_has_a_name_that_the_steps_know():
    from gpu import measuring, preparing
    from gpu_steps import KINDS

    steps = [*preparing(['padim']), *measuring(['padim'])]
    assert {step.name.split(':')[0] for step in steps} == {*KINDS} - {'curve'}
    names = [step.name for step in steps]
    assert all(step.needs in ['', *names[: names.index(step.name)]] for step in steps)


class Steps:
    """Runs steps in this process.

    Attributes:
        folder: Of the benchmark.
    """

    def __init__(self, folder):
        self.folder = folder

    def __call__(self, name, *words):
        """Run a step with options; returns its figures."""
        from gpu import parse
        from gpu_report import figures_path
        from gpu_steps import run_step

        given = ['--out', str(self.folder), '--image-size', '64', '--seconds', '0']
        run_step(parse([*given, *words, '--step', name]))
        return json.loads(figures_path(self.folder, name).read_text())


@pytest.fixture
def step(tmp_path, deployed, monkeypatch):
    """Run a step here, on a GPU that is none, with the drawn images of the tests."""
    pytest.importorskip('tensorrt_rtx')
    import gpu_steps

    stand_in(monkeypatch)
    for name in ('find_gpu', 'find_library'):
        found = getattr(sys.modules['adet_core.inference.tensorrt'], name)
        monkeypatch.setattr(gpu_steps, name, found)
    # What a step sets is not to outlive the test.
    for name in ('ADET_CUDA', 'ADET_CUDA_STREAMS', 'ADET_CUDA_GRAPHS'):
        monkeypatch.setenv(name, '')
    monkeypatch.setattr(gpu_steps, 'BATCH', 2)
    # Each round takes as long as the graph takes on the processor.
    monkeypatch.setattr(gpu_steps, '_WARM_UP_S', 0.0)
    monkeypatch.setattr(gpu_steps, '_FEWEST_ROUNDS', 2)
    shutil.copytree(deployed.data_root, tmp_path / 'gpu' / 'data')
    return Steps(tmp_path / 'gpu')


@pytest.fixture
def engine(step, deployed):
    """The small PaDiM with an engine in fp16."""
    from adet_core.bundle import open_bundle

    copy_bundle(open_bundle(deployed.bundle), step.folder / 'bundles' / 'trained' / 'PaDiM')
    return step('engine:padim:fp16')


def test_steps_measure_an_engine(step, engine):
    assert engine['drift'] > 0
    assert engine['flips'] == 0
    assert 0 <= engine['image_auroc'] <= 1
    found = step('measure:padim')
    assert [*found['batch_1']] == ['TensorRT fp16', 'torch fp32', 'torch fp16']
    assert found['batch_2']['TensorRT fp16']['ratio']['50'] == 1
    assert found['batch_1']['torch fp32']['rounds'] >= 2
    # On a processor nothing runs through CUDA.
    assert 'not built with CUDA' in found['failed']['ONNX Runtime fp32']
    found = step('variants:padim:cuda-python')
    assert len(found['batch_1']) == 4
    assert found['singly'].keys() == found['batch_1'].keys()


@pytest.mark.usefixtures('engine')
def test_a_swap_leaves_no_memory_behind(step):
    found = step('swap:padim', '--frames', '40', '--swaps', '4')
    assert found['frames'] == 40
    assert found['growth_mib']['device'] == 0
    assert found['longest_gap_ms']['swapping'] >= found['frame_ms'] > 0


def test_an_aim_is_judged_by_what_was_found():
    from gpu_report import judge

    def met(figures):
        return {one['aim']: one['met'] for one in judge(figures)}

    fast, slow = ({'ratio': {'50': ratio}} for ratio in (4.0, 1.9))
    figures = {
        'measure.padim': {'batch_1': {'torch fp32': fast, 'torch.compile fp16': slow}},
        'measure.efficientad': {'batch_1': {'TensorRT fp16': {'ms': {'50': 2.3}}}},
        'swap.vae': {'longest_gap_ms': {'swapping': 5.0}, 'growth_mib': {'device': 9, 'host': 0}},
    }
    found = met(figures)
    assert found['padim, batch 1: at least 4 times as fast as torch fp32'] is True
    assert found['padim, batch 1: at least 2 times as fast as torch.compile fp16'] is False
    assert found['vae, batch 1: at least 4 times as fast as torch fp32'] is None
    assert found['efficientad, batch 1: less than 2.2 ms'] is False
    assert found['vae, swaps: the longest gap between results less than 33.3 ms'] is True
    assert found['vae, swaps: at most 8 MiB more on the device'] is False
    assert found['vae, swaps: at most 32 MiB more on the host'] is True
    assert set(met({}).values()) == {None}


def test_the_tables_show_what_was_found():
    from gpu_report import judge, tables

    spent = {'ms': {'50': 0.5, '95': 0.75}, 'ratio': {'25': 0.9, '50': 1.0, '75': 1.1}}
    figures = {
        'data': {'gpu': 'H100', 'versions': {'torch': '2.11'}},
        'engine.padim.fp16': {'drift': 0.00123, 'image_auroc': 0.98765, 'build_seconds': 12.3},
        'engine.padim.int8': {'refused': 'AUROC falls'},
        'measure.padim': {
            'batch_1': {'TensorRT fp16': spent},
            'batch_16': {'TensorRT fp16': {'ms': {'50': 4.0}}},
            'device_mib': {'TensorRT fp16': 100.4},
            'failed': {'ONNX Runtime fp32': 'no CUDA'},
        },
        'curve': {'points': [{'steps': 250, 'seconds': 9.6, 'image_auroc': 0.5}]},
    }
    steps = {'swap:padim': {'status': 'timed out', 'seconds': 60.0, 'error': 'Waiting'}}
    lines = tables({'figures': figures, 'steps': steps, 'aims': judge(figures)}).split('\n')
    rows = [[cell.strip() for cell in line.split('|')[1:-1]] for line in lines]
    assert lines[0] == 'H100; torch 2.11'
    row = ['padim', 'TensorRT fp16', '0.5', '0.75', '1 (0.9 to 1.1)', '4000', '100', '12.3']
    assert [*row, '0.00123', '0.9877'] in rows
    assert ['measure.padim', 'ONNX Runtime fp32', 'no CUDA'] in rows
    assert ['engine.padim.int8', '', 'AUROC falls'] in rows
    assert ['drawn images', '250', '10', '0.5'] in rows
    assert ['swap:padim', '60', 'timed out Waiting'] in rows
    # A table is of one width, for a terminal.
    assert len({len(line) for line in lines if line.startswith('| aim')}) == 1


def test_a_curve_tests_more_and_more_steps(step, few_images, monkeypatch):
    import gpu_curve

    monkeypatch.setattr(gpu_curve, '_FIRST', 1)
    # Another test distils; this one would take a minute for it.
    monkeypatch.setattr(gpu_curve, 'distill', lambda *_, **__: 0.5)
    words = ['--image-size', '256', '--curve-minutes', '0']
    found = step('curve:plate', '--data-root', str(few_images), *words)
    assert found['backbone'] == 'tf_efficientnet_lite0'
    assert found['distill_error'] == 0.5
    (point,) = found['points']
    assert point['steps'] == 1
    assert 0 <= point['image_auroc'] <= 1
    assert np.isfinite(point['seconds'])


def test_where_tensorrt_does_not_run_graphs_run_in_onnx_runtime(monkeypatch):
    # Imported anew, as it takes what finds the GPU by name.
    monkeypatch.delitem(sys.modules, 'gpu_steps', raising=False)
    stand_in(monkeypatch)
    from gpu_steps import _check_gpu, _find_ours

    gpu = sys.modules['adet_core.inference.tensorrt'].find_gpu()
    assert _find_ours()[:3] == ('tensorrt', 'TensorRT', '')
    monkeypatch.setattr(gpu, 'capability', '9.0')
    backend, label, reason, versions = _find_ours()
    assert (backend, label, versions) == ('onnxruntime', 'ONNX Runtime', {})
    assert 'does not run on Stand-in, of compute capability 9.0' in reason
    with pytest.raises(BackendError, match='this benchmark is of the GPU'):
        _check_gpu(SimpleNamespace(name='onnxruntime (CPU, no GPU)'))
