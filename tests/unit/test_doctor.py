# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""``adet doctor`` and ``adet list``."""

from __future__ import annotations

import json
from pathlib import Path
import shutil
from types import SimpleNamespace
from typing import Any

from builders import make_bundle
import pytest

from adet_core.bundle import copy_bundle
from adet_core.cli import doctor, main

Out = pytest.CaptureFixture[str]


def test_the_doctor_names_what_is_missing_and_what_brings_it(
    capsys: Out, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, 'find_spec', lambda name: None if name == 'rclpy' else object())
    assert main(['doctor', '--json']) == 0
    result: dict[str, Any] = json.loads(capsys.readouterr().out)
    checks = {check['name']: check for check in result['checks']}
    assert checks['ROS 2']['state'] == 'missing'
    assert 'setup.bash' in checks['ROS 2']['remedy']
    assert {'adet', 'numpy', 'cv2', 'onnxruntime', 'GPU', 'shared memory', 'disk'} <= set(checks)
    assert result['missing'] >= 1
    doctor.show(result)
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith('missing  ROS 2') for line in lines)
    assert any('-> source the setup file' in line for line in lines)


@pytest.mark.parametrize(('free', 'state'), [(1e9, 'ok'), (1e6, 'warning')])
def test_little_room_is_a_warning(tmp_path: Path, free: float, state: str) -> None:
    (tmp_path / 'fastrtps_1').touch()
    found = doctor._shared_memory(tmp_path, lambda _: SimpleNamespace(free=free))
    assert (found.state, bool(found.remedy)) == (state, state == 'warning')
    assert '1 segments of DDS' in found.text
    found = doctor._disk(tmp_path / 'no' / 'models', lambda _: SimpleNamespace(free=10 * free))
    assert found.state == state
    assert str(tmp_path) in found.text
    assert doctor._shared_memory(tmp_path / 'none').state == 'ok'


def test_what_is_deployed_is_listed_with_its_run_and_what_is_wrong(
    tmp_path: Path, capsys: Out
) -> None:
    from adet_core.cli import list as list_command

    root = tmp_path / 'models'
    run = root / 'PaDiM' / 'plate' / '20261123_101500'
    bundle = make_bundle(run / 'pytorch')
    copy_bundle(bundle, root / 'PaDiM')
    (root / 'PaDiM' / 'plate' / '20261123_101600' / 'logs').mkdir(parents=True)
    (root / 'PaDiM' / 'plate' / '20261123_101700' / 'param').mkdir(parents=True)
    (root / 'VAE').mkdir()
    (root / 'VAE' / 'meta.json').write_text('{')
    assert main(['list', '--models-root', str(root), '--json']) == 0
    result = json.loads(capsys.readouterr().out)
    good, bad = result['deployed']
    assert (good['bundle_id'], good['category'], good['kept_sets']) == (
        bundle.bundle_id,
        'plate',
        [],
    )
    assert 'meta.json' in bad['error']
    assert good['run_dir'] == str(run)
    list_command.show(result)
    shown = capsys.readouterr().out
    assert f'padim for plate, bundle {bundle.bundle_id}' in shown
    assert f' in {run}\n    has no graph yet; next: adet export {root}/PaDiM\n' in shown
    assert shown.endswith(f'2 trainings: adet runs --models-root {root}\n')
    shutil.rmtree(run)
    assert main(['list', '--models-root', str(root)]) == 0
    assert 'in a run that is not here\n' in capsys.readouterr().out
    assert main(['list', '--models-root', str(tmp_path / 'none')]) == 1
    assert 'none: no such folder; adet train makes it' in capsys.readouterr().err
