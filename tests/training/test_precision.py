# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""`adet export` in lower precision and with engines: what it says, keeps and refuses."""

from __future__ import annotations

import json

import pytest

from adet_core.bundle import copy_bundle, open_bundle, read_record
from adet_core.cli import main
from adet_core.errors import BackendError, ConfigError, ExportError
from adet_core.inference.tensorrt import find_library
from adet_training.dataset import load_category
from adet_training.export import check_parity, export

pytestmark = pytest.mark.training


@pytest.fixture
def bundle(deployed, tmp_path):
    """A bundle to export."""
    return copy_bundle(open_bundle(deployed.bundle), tmp_path / 'PaDiM')


def test_an_export_in_int8_says_how_well_it_does(learn, data_root, capsys):
    # The depthwise convolutions of the default backbone do not bear int8.
    bundle = learn({'backbone': 'resnet18'}, backbone_weights='random').bundle
    words = ['export', str(bundle.folder), '--precision', 'int8', '--data-root', str(data_root)]
    assert main([*words, '--workspace', '64', '--onnx-only', '--json']) == 0
    result = json.loads(capsys.readouterr().out)
    assert result['precision'] == 'int8'
    assert result['plan'] is None
    assert 0 <= result['image_auroc_fp32'] <= 1
    assert abs(result['image_auroc'] - result['image_auroc_fp32']) < 0.1
    record = read_record(bundle)
    assert (record.precision, record.options.workspace_mib) == ('int8', 64)
    assert record.parity.flips == 0


@pytest.mark.parametrize('lower', ['quicker', 'slower'])
def test_auto_takes_int8_only_where_it_is_quicker(learn, data_root, capsys, monkeypatch, lower):
    from adet_core.inference.choice import time_in_turns

    bundle = learn({'backbone': 'resnet18'}, backbone_weights='random').bundle

    def on_another_cpu(backends, images):
        turns = time_in_turns(backends, images)
        return {**turns, 'int8': [value * (lower == 'slower') * 2 for value in turns['fp32']]}

    monkeypatch.setattr('adet_training.auto_precision.time_in_turns', on_another_cpu)
    words = ['export', str(bundle.folder), '--precision', 'auto', '--data-root', str(data_root)]
    assert main([*words, '--onnx-only', '--json']) == 0
    result = json.loads(capsys.readouterr().out)
    chosen = 'int8' if lower == 'quicker' else 'fp32'
    assert (result['precision'], read_record(bundle).precision) == (chosen, chosen)
    assert result['precision_note'].startswith('measured on this machine: fp32 (onnxruntime')
    assert 'int8 ' in result['precision_note']


def test_auto_without_images_leaves_int8_out(bundle, tmp_path, capsys):
    words = ['export', str(bundle.folder), '--precision', 'auto', '--data-root', str(tmp_path)]
    assert main([*words, '--onnx-only']) == 0
    assert 'not int8: there are no images to calibrate it on' in capsys.readouterr().out
    assert read_record(bundle).precision == 'fp32'


def test_an_export_builds_an_engine_where_there_is_a_tensorrt(bundle, capsys):
    pytest.importorskip('tensorrt_rtx')
    assert main(['export', str(bundle.folder), '--precision', 'fp16']) == 0
    out = capsys.readouterr().out
    path = bundle.folder / 'engine' / 'model.plan'
    assert f'built {path}: ' in out
    assert 'no verdict changed farther than' in out
    assert path.stat().st_size > 10_000
    assert read_record(bundle).plan.precision == 'fp16'


def test_an_export_without_tensorrt_says_so(bundle, capsys, monkeypatch):
    monkeypatch.setattr('adet_core.inference.tensorrt.library._NAMES', ('no_such_tensorrt',))
    assert main(['export', str(bundle.folder)]) == 0
    assert 'no TensorRT engine: TensorRT is not installed' in capsys.readouterr().out
    assert not (bundle.folder / 'engine' / 'model.plan').exists()


def test_a_tensorrt_that_needs_a_gpu_leaves_the_engine_to_the_robot(bundle, capsys, monkeypatch):
    pytest.importorskip('tensorrt_rtx')

    def find():
        raise BackendError('no GPU can be used')

    monkeypatch.setattr('adet_training.cli.export.find_gpu', find)
    monkeypatch.setattr(
        'adet_training.cli.export.find_library',
        lambda: find_library()._replace(name='tensorrt'),
    )
    assert main(['export', str(bundle.folder)]) == 0
    assert 'no TensorRT engine: no GPU can be used' in capsys.readouterr().out
    assert not (bundle.folder / 'engine' / 'model.plan').exists()


def test_an_engine_that_cannot_be_built_leaves_the_graph(bundle, capsys):
    pytest.importorskip('tensorrt_rtx')
    assert main(['export', str(bundle.folder), '--dla', '0']) == 1
    error = capsys.readouterr().err
    assert (
        'error: a DLA core takes fp16, the graph is fp32; export it as fp16; the graph is' in error
    )
    assert read_record(bundle).options.dla_core == 0


def test_int8_needs_the_images_it_was_trained_on(bundle, tmp_path, capsys):
    words = ['export', str(bundle.folder), '--precision', 'int8', '--data-root', str(tmp_path)]
    assert main(words) == 1
    assert f'error: {tmp_path}/train/plate: no such folder' in capsys.readouterr().err
    with pytest.raises(ConfigError, match='int8 is calibrated on images'):
        export(bundle, precision='int8')


def test_a_precision_that_is_not_known_is_refused(bundle, capsys):
    with pytest.raises(ConfigError, match="precision is 'fp8', must be one of: fp32, fp16, int8"):
        export(bundle, precision='fp8')
    with pytest.raises(SystemExit):
        main(['export', str(bundle.folder), '--precision', 'fp8'])
    assert "invalid choice: 'fp8'" in capsys.readouterr().err


def test_a_graph_whose_verdicts_change_is_not_exported(bundle, monkeypatch):
    golden = bundle.golden()
    # Those of other images: good ones are called bad, and bad ones good.
    wrong = golden._replace(
        prediction=golden.prediction._replace(scores=golden.prediction.scores[::-1].copy())
    )
    monkeypatch.setattr('adet_core.bundle.Bundle.golden', lambda _: wrong)
    monkeypatch.setattr('adet_training.export.check_parity', check_lower)
    with pytest.raises(ExportError, match=r'4 verdicts changed, .* nothing was written'):
        export(bundle, precision='fp16')
    assert not (bundle.folder / 'engine').exists()


def test_a_precision_that_costs_accuracy_is_not_exported(bundle, data_root, monkeypatch):
    data = load_category(data_root, 'plate', bundle.geometry())
    aurocs = iter((0.99, 0.52))
    monkeypatch.setattr('adet_training.export._accuracy', lambda *_: next(aurocs))
    with pytest.raises(ExportError, match=r'from 0\.9900 in fp32 to 0\.5200 in fp16; nothing was'):
        export(bundle, precision='fp16', data=data)
    assert not (bundle.folder / 'engine').exists()


def check_lower(graph, bundle, precision='fp32', **options):
    """The check, for lower precision alone."""
    return check_parity(graph, bundle, precision, **options) if precision != 'fp32' else None
